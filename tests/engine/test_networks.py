"""No dead pictures: every kind of network, with weights that nobody trained."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.networks import NETWORKS
from unitscope.engine.engine import Engine
from unitscope.engine.picture import decode
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest


@pytest.mark.parametrize("kind", NETWORKS)
def test_the_default_draws_something_for_units_at_every_depth(kind: str, tmp_path: Path) -> None:
    onnx.save(NETWORKS[kind](0), tmp_path / f"{kind}.onnx")
    repository = Repository(tmp_path)
    layers = [
        layer for layer in repository.get(kind).layers if layer.kind in ("activation", "linear")
    ]
    chosen = dict.fromkeys(["", layers[len(layers) // 3].tensor, layers[len(layers) // 2].tensor])
    with Engine(repository) as engine:
        tickets = [
            engine.submit(MaximizeRequest(unit=unit, model=kind, layer=layer, steps=128))
            for layer in chosen
            for unit in range(3)
        ]
        for result in (ticket.result() for ticket in tickets):
            metrics = result.metrics
            assert metrics.activation_end > metrics.activation_start
            assert np.asarray(decode(result.image, 3)).std() > 8, metrics.tensor
