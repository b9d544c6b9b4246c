"""What a model does to its input by itself."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import helper

from tests.models import SIZE, model_of
from unitscope.graph.model import load
from unitscope.graph.normalization import Normalization, find_normalization

MEAN = np.reshape([0.485, 0.456, 0.406], (1, 3, 1, 1)).astype(np.float32)
STD = np.reshape([0.229, 0.224, 0.225], (1, 3, 1, 1)).astype(np.float32)


def found(*steps: tuple[str, np.ndarray, bool]) -> Normalization | None:
    """Of a model that takes `steps` (operator, constant, image first?) before it flattens."""
    nodes, weights, current = [], {}, "image"
    for index, (operator, content, first) in enumerate(steps):
        weights[f"c{index}"] = content
        operands = [current, f"c{index}"] if first else [f"c{index}", current]
        current = f"x{index}"
        nodes.append(helper.make_node(operator, operands, [current]))
    nodes.append(helper.make_node("Shape", [current], ["shape"]))
    nodes.append(helper.make_node("Flatten", [current], ["output"]))
    return find_normalization(load(model_of(nodes, weights, output=("N", 3 * SIZE**2))), "image")


def scalar(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@pytest.mark.parametrize(
    ("steps", "scale", "shift", "span"),
    [
        ([("Sub", MEAN, True), ("Div", STD, True)], 1 / STD, -MEAN / STD, 1.0),
        ([("Mul", scalar(1 / 255), False)], 1 / 255, 0, 255.0),
        ([("Div", scalar(127.5), True), ("Add", scalar(-1), True)], 1 / 127.5, -1, 255.0),
        ([("Sub", 255 * MEAN, True)], 1, -255 * MEAN, 255.0),
        ([("Sub", scalar(1), False)], -1, 1, 1.0),
        ([("Mul", scalar(2), True), ("Sub", scalar(1), True)], 2, -1, 1.0),
    ],
)
def test_scalings_and_shifts_are_composed(
    steps: list[tuple[str, np.ndarray, bool]],
    scale: np.ndarray | float,
    shift: np.ndarray | float,
    span: float,
) -> None:
    normalization = found(*steps)
    assert normalization is not None and normalization.span == span
    for found_values, wanted in ((normalization.scale, scale), (normalization.shift, shift)):
        values = np.array(found_values)
        expected = np.broadcast_to(np.ravel(wanted), values.shape)
        np.testing.assert_allclose(values, expected, rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize(
    "steps", [[], [("Div", scalar(1), False)], [("Mul", np.ones((3, 1, 2), np.float32), True)]]
)
def test_anything_else_is_none(steps: list[tuple[str, np.ndarray, bool]]) -> None:
    assert found(*steps) is None
