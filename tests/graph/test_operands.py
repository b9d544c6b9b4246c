"""Convolutions whose weight does not fit: ONNX infers a shape for them, no runtime runs them."""

from __future__ import annotations

import numpy as np
import pytest

from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph


@pytest.mark.parametrize(
    ("operator", "weight", "bias", "group"),
    [
        ("Conv", (4, 3, 3, 3), 4, 0),
        ("Conv", (4, 3, 3, 3), 4, -1),
        ("Conv", (4, 2, 3, 3), 4, 1),
        ("Conv", (4, 3, 3, 3), 4, 2),
        ("Conv", (4, 1, 3, 3), 4, 6),
        ("Conv", (4, 3, 3, 3), 5, 1),
        ("ConvTranspose", (5, 2, 3, 3), 2, 1),
        ("ConvTranspose", (6, 2, 3, 3), 3, 1),
        ("ConvTranspose", (6, 2, 3, 3), 8, 3),
    ],
)
def test_a_weight_that_does_not_fit(
    operator: str, weight: tuple[int, ...], bias: int, group: int
) -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float32, ("N", 3 if operator == "Conv" else 6, 8, "W"))
    parameters = (np.zeros(shape, np.float32) for shape in (weight, bias))
    with pytest.raises(ModelRejected, match=rf"\({operator}\): .*groups"):
        op.emit(operator, [x, *parameters], {"group": group})


@pytest.mark.parametrize(
    ("operator", "weight", "bias", "group"),
    [
        ("Conv", (4, 6, 3, 3), 4, 1),
        ("Conv", (4, 3, 3, 3), 4, 2),
        ("ConvTranspose", (6, 2, 3, 3), 6, 3),
    ],
)
def test_one_that_fits(operator: str, weight: tuple[int, ...], bias: int, group: int) -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float32, ("N", 6, 8, "W"))
    parameters = (np.zeros(shape, np.float32) for shape in (weight, bias))
    (y,) = op.emit(operator, [x, *parameters], {"group": group})
    assert y.shape is not None and y.shape[1] == bias
