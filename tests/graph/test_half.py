"""Half precision: it spreads to what it meets, and stops where it would not do."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.models import model_of
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.half import HalfEmitter
from unitscope.graph.ir import Graph, Value
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.model import load
from unitscope.graph.target import Target

HALF = Target(half=True)


def begun(*shape: int) -> tuple[HalfEmitter, Value, Value]:
    """An emitter, an input in single precision, and the same in half."""
    op = HalfEmitter(Graph(18, HALF))
    x = op.graph.add_input("x", np.float32, shape)
    return op, x, op.Cast(x, to=TensorProto.FLOAT16)


def run(op: Emitter, value: Value, x: np.ndarray) -> np.ndarray:
    model = op.graph.to_model([value])
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x})[0])


def test_weights_follow_what_they_meet_and_are_rounded_once() -> None:
    op, x, half = begun(2, 3)
    weight = op.const(np.full((3, 4), 1 / 3, np.float32))
    first, second = op.MatMul(half, weight), op.MatMul(op.Neg(half), weight)
    assert first.dtype == second.dtype == np.float16
    used = [node.inputs[1] for node in op.graph.nodes if node.op_type == "MatMul"]
    assert used[0] is used[1] and used[0] is not weight
    assert op.MatMul(x, weight).dtype == np.float32


def test_what_has_a_type_of_its_own_keeps_it() -> None:
    op, _, half = begun(1, 1, 2, 2)
    scales = op.const(np.array([1, 1, 2, 2], np.float32))
    larger = op.Resize(half, None, scales, mode="nearest")
    assert larger.dtype == np.float16 and larger.shape == (1, 1, 4, 4)
    assert op.graph.nodes[-1].inputs[2] is scales


def test_a_mask_beyond_the_range_is_the_largest_number() -> None:
    op, _, half = begun(2)
    masked = op.Add(half, op.const(np.array([0.0, -1e9], np.float32)))
    assert run(op, masked, np.zeros(2, np.float32)).tolist() == [0.0, -65504.0]


def test_a_chain_that_would_overflow_is_computed_in_single_precision() -> None:
    op, _, half = begun(1, 4)
    size = op.Sqrt(op.ReduceMean(op.Pow(half, 2.0), [1], keepdims=1))
    squares = [node for node in op.graph.nodes if node.op_type == "ReduceMean"]
    assert squares[0].inputs[0] is not None and squares[0].inputs[0].dtype == np.float32
    assert size.dtype == np.float16
    x = np.array([[255.0, -255.0, 250.0, -250.0]], np.float32)  # their squares add up to 2.6e5
    assert run(op, size, x) == pytest.approx(252.5, rel=1e-3)


def test_what_is_computed_in_single_precision_takes_weights_as_they_are() -> None:
    op, _, half = begun(2, 4)
    scale = op.const(np.full(4, 1 / 3, np.float32))
    y, mean, _ = op.emit("LayerNormalization", [half, scale], outputs=["y", "", "deviation"])
    node = next(node for node in op.graph.nodes if node.op_type == "LayerNormalization")
    assert node.inputs[1] is scale and node.outputs[1] is None
    assert (y.name, y.dtype.name) == ("y", "float16") and not mean
    x = np.arange(8, dtype=np.float32).reshape(2, 4)
    expected = (x - x.mean(1, keepdims=True)) / x.std(1, keepdims=True) / 3
    assert run(op, y, x) == pytest.approx(expected, abs=1e-3)


def test_the_way_back_is_in_half_precision_from_cast_to_cast() -> None:
    op, x, half = begun(1, 3)
    y = op.Relu(op.MatMul(half, np.eye(3, dtype=np.float32)))
    single = op.Cast(y, to=TensorProto.FLOAT)
    cotangent = op.const(np.array([[1.0, 2.0, 3.0]], np.float32))
    dx = differentiate(op, output=single, wrt=x, cotangent=cotangent, rules=RULES)
    assert dx.dtype == np.float32
    assert run(op, dx, np.array([[1.0, -1.0, 2.0]], np.float32)).tolist() == [[1.0, 0.0, 3.0]]


def test_a_relu6_that_is_rounded_has_the_gradient_of_one_that_is_not() -> None:
    op, x, half = begun(1, 6)
    y = op.Cast(op.Clip(half, 0.0, 6.0), to=TensorProto.FLOAT)
    cotangent = op.const(np.ones((1, 6), np.float32))
    dx = differentiate(op, output=y, wrt=x, cotangent=cotangent, rules=RULES)
    found = run(op, dx, np.array([[-1.0, 0.0, 1 / 3, 5.7, 6.0, 7.0]], np.float32))
    assert found.tolist() == [[0.0, 0.0, 1.0, 1.0, 0.0, 0.0]]


def test_a_model_that_casts_to_single_precision_stays_in_half() -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["wide"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["output"]),
    ]
    model = load(model_of(nodes, {"weight": np.ones((432, 5), np.float32)}))
    op = emitter_for(model, HALF)
    image = op.graph.add_input("x", np.float16, (1, 3, 12, 12))
    tensors = lower(op, model, {"image": image}, keep=RULES.__contains__)
    assert tensors["wide"].dtype == tensors["output"].dtype == np.float16
