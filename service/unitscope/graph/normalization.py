"""Normalization that a model does by itself: the first scalings and shifts of its input."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx

from unitscope.graph.model import Model

_PASSED = {"Cast", "Identity", "Transpose", "Dropout"}
_PIXEL_SPAN = 255.0
_LARGEST_NORMALIZED = 20.0
"""No network is trained on normalized values beyond: larger ones show what the input spans."""


@dataclass(frozen=True, slots=True)
class Normalization:
    """The model computes ``scale · input + shift`` first, per channel or for all."""

    scale: tuple[float, ...]
    shift: tuple[float, ...]

    @property
    def span(self) -> float:
        """The largest value of a picture that it is made for: 255 or 1."""
        reached = _PIXEL_SPAN * max(map(abs, self.scale))
        shifted = max(map(abs, self.shift)) > _LARGEST_NORMALIZED
        return _PIXEL_SPAN if reached <= _LARGEST_NORMALIZED or shifted else 1.0


def find_normalization(model: Model, image: str) -> Normalization | None:
    """What happens to the input `image` before anything else does, None if nothing."""
    scale, shift = np.ones(1), np.zeros(1)
    current, found = image, False
    while (node := _only_consumer(model, current)) is not None:
        if node.op_type not in _PASSED:
            step = _affine(model, node, current)
            if step is None:
                break
            scale, shift, found = step[0] * scale, step[0] * shift + step[1], True
        current = node.output[0]
    return Normalization(tuple(scale.tolist()), tuple(shift.tolist())) if found else None


def _only_consumer(model: Model, tensor: str) -> onnx.NodeProto | None:
    users = [n for n in model.graph.node if tensor in n.input and n.op_type != "Shape"]
    return users[0] if len(users) == 1 else None


def _affine(
    model: Model, node: onnx.NodeProto, tensor: str
) -> tuple[np.ndarray, np.ndarray] | None:
    """Factor and summand of an Add, Sub, Mul or Div with a constant for each channel or for all."""
    if node.op_type not in ("Add", "Sub", "Mul", "Div") or list(node.input).count(tensor) != 1:
        return None
    first = node.input[0] == tensor
    content = model.weights.get(node.input[1 if first else 0])
    if content is None or content.size > max(content.shape, default=1):
        return None
    value = content.astype(np.float64).ravel()
    one, zero = np.ones_like(value), np.zeros_like(value)
    if node.op_type == "Add":
        return one, value
    if node.op_type == "Sub":
        return (one, -value) if first else (-one, value)
    if node.op_type == "Mul":
        return value, zero
    return (one / value, zero) if first and np.all(value) else None
