"""What peer and benchmark tell each other."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, Any]
GradientTask = Callable[[], Any]
"""Computes the gradient by the pictures as anything that NumPy reads, or None if it shows none."""
Tasks = Mapping[str, GradientTask]


@dataclass(frozen=True, slots=True)
class Case:
    """The gradient that is asked for: of the logits, weighted by `cotangent`, by `pictures`.

    `model`: its name in `zoo.py`. `path`: its file. `pictures`: `[N, C, H, W]` as the model takes
    them. `cotangent`: `[N, classes]`.
    """

    model: str
    path: str
    pictures: Array
    cotangent: Array
    threads: int


@dataclass(frozen=True, slots=True)
class Ready:
    """The peer can be asked. `version`: of its package."""

    version: str


@dataclass(frozen=True, slots=True)
class Prepared:
    """A task stands. `seconds`: it took, its first run included. `gradient`: as `pictures`."""

    seconds: float
    gradient: Array | None


@dataclass(frozen=True, slots=True)
class Refused:
    """The peer cannot do it."""

    reason: str
