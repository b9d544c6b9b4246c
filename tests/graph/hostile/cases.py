"""All hostile files by number: those made by hand first, then random mutations."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path

import onnx

from tests.graph.hostile.bombs import BOMBS
from tests.graph.hostile.elsewhere import (
    ELSEWHERE,
    Prepare,
    endless,
    of_a_branch,
    of_a_function,
    of_a_weight,
)
from tests.graph.hostile.mutations import mutated

MUTATIONS = 500

Case = Callable[[Path], str]
"""Writes a model to a path and says which."""
Place = Callable[[Prepare, Path], onnx.ModelProto]


def _bomb(make: Callable[[], onnx.ModelProto], path: Path) -> str:
    path.write_bytes(make().SerializeToString())
    return make.__name__


def _elsewhere(place: Place, prepare: Prepare, path: Path) -> str:
    path.write_bytes(place(prepare, path.parent).SerializeToString())
    return f"{prepare.__name__} {place.__name__}"


def _mutation(seed: int, path: Path) -> str:
    name, content = mutated(seed)
    path.write_bytes(content)
    return name


BY_HAND: list[Case] = [
    *(partial(_bomb, make) for make in BOMBS),
    *(
        partial(_elsewhere, place, prepare)
        for place in (of_a_weight, of_a_branch, of_a_function)
        for prepare in (*ELSEWHERE, endless)
    ),
]
CASES: list[Case] = [*BY_HAND, *(partial(_mutation, seed) for seed in range(MUTATIONS))]
