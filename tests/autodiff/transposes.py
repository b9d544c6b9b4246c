"""One operator's gradient on ONNX Runtime, and what makes it the transpose of a linear operator."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

Array = np.ndarray[Any, np.dtype[np.float32]]

OPEN: list[Sequence[int]] = [(), (0,), (0, 2, 3)]
"""Axes whose size only the run tells."""


def gradient(
    operator: str,
    x: Array,
    weights: Sequence[np.ndarray[Any, Any]] = (),
    *,
    opened: Sequence[int] = (),
    opset: int = 18,
    threads: int = 0,
    **attributes: Any,
) -> tuple[Array, Array, Array]:
    """The output of the operator, a cotangent and the gradient, by ONNX Runtime."""
    op = Emitter(Graph(opset))
    shape = [f"d{axis}" if axis in opened else size for axis, size in enumerate(x.shape)]
    image = op.graph.add_input("x", np.float32, shape)
    (output, *_) = op.emit(operator, [image, *weights], attributes)
    cotangent = op.graph.add_input("dy", np.float32, output.shape or ())
    dx = differentiate(op, output=output, wrt=image, cotangent=cotangent, rules=RULES)
    assert dx.shape == image.shape
    y = run(op, [output], {"x": x}, threads)[0]
    dy: Array = np.asarray(np.random.default_rng(1).standard_normal(y.shape), np.float32)
    return y, dy, run(op, [dx], {"x": x, "dy": dy}, threads)[0]


def run(op: Emitter, outputs: list[Any], feeds: dict[str, Array], threads: int = 0) -> list[Array]:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    inputs = [value for value in op.graph.inputs if value.name in feeds]
    model = op.graph.to_model(outputs, inputs=inputs).SerializeToString()
    return [np.asarray(result) for result in ort.InferenceSession(model, options).run(None, feeds)]


def assert_transpose(x: Array, y: Array, dy: Array, dx: Array) -> None:
    assert dx.shape == x.shape
    forth, back = np.vdot(dy, y), np.vdot(dx, x)
    size = np.linalg.norm(dy) * np.linalg.norm(y)
    assert float(forth) == pytest.approx(float(back), abs=1e-5 * float(size))
