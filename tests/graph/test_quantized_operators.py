"""Each quantized operator: what its integer kernel computes, up to rounding; what is saturated."""

from __future__ import annotations

import functools
import re
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.model import load

Array = np.ndarray[Any, Any]
OPERATORS = {
    "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear", "QLinearConv", "QLinearMatMul",
    "ConvInteger", "MatMulInteger",
}  # fmt: skip


class Lowered:
    """A model lowered onto its first input, in floats, and the gradient of its first output."""

    def __init__(self, model: onnx.ModelProto) -> None:
        loaded = load(model)
        op = emitter_for(loaded)
        (declared,) = loaded.graph.input
        shape = tuple(dim.dim_value for dim in declared.type.tensor_type.shape.dim)
        x = op.graph.add_input(declared.name, np.float32, shape)
        tensors = lower(op, loaded, {declared.name: x}, keep=RULES.__contains__)
        names = [value.name for value in loaded.graph.output]
        self.outputs = [tensors[name] for name in names]
        cotangent = op.graph.add_input("cotangent", np.float32, self.outputs[0].shape or ())
        slope = differentiate(op, output=self.outputs[0], wrt=x, cotangent=cotangent, rules=RULES)
        shown = [op.emit("Identity", [v], outputs=[f"{i}!"])[0] for i, v in enumerate(self.outputs)]
        self._session = ort.InferenceSession(op.graph.to_model([*shown, slope]).SerializeToString())

    def __call__(self, x: Array, cotangent: Array | None = None) -> list[Array]:
        """The outputs, and last the gradient."""
        image, given = self._session.get_inputs()
        if cotangent is None:
            cotangent = np.ones(self.outputs[0].static_shape or (), np.float32)
        feeds = {image.name: x.astype(np.float32), given.name: cotangent.astype(np.float32)}
        return [np.asarray(found) for found in self._session.run(None, feeds)]


@functools.cache
def onnx_cases() -> dict[str, Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy warns while ONNX computes its own examples
        cases: dict[str, Any] = {case.name: case for case in collect_testcases(None)}
    return {
        name: case
        for name, case in cases.items()
        if len(case.model.graph.node) == 1 and case.model.graph.node[0].op_type in OPERATORS
    }


def frozen(model: onnx.ModelProto, inputs: list[Array]) -> onnx.ModelProto:
    """The model with all inputs but the first as weights."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    names = [value.name for value in model.graph.input]
    changed.graph.initializer.extend(
        numpy_helper.from_array(np.asarray(content), name)
        for name, content in zip(names[1:], inputs[1:], strict=True)
    )
    del changed.graph.input[1:]
    return changed


def content(item: Any) -> Array:
    """Numbers of less than a byte come as messages."""
    return numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)


@pytest.mark.parametrize("name", onnx_cases())
def test_the_cases_of_onnx(name: str) -> None:
    case = onnx_cases()[name]
    inputs, expected = ([content(item) for item in items] for items in case.data_sets[0])
    model = frozen(case.model, inputs)
    if re.search("_quantizelinear_.*(e4m3|e5m2|e2m1)", name):
        with pytest.raises(ModelRejected, match="numbers quantized to float"):
            Lowered(model)
        return
    found = Lowered(model)(np.asarray(inputs[0]))
    if name.startswith("test_dynamicquantizelinear"):
        y, scale, zero_point = (item.astype(np.float32) for item in expected)
        assert np.abs((found[0] - found[2]) * found[1] - (y - zero_point) * scale).max() <= scale
        return
    step = 1e-5 if expected[0].dtype.name.startswith("float") else 1.0
    np.testing.assert_allclose(found[0], expected[0].astype(np.float32), rtol=1e-5, atol=step)
    assert np.isfinite(found[-1]).all() and found[-1].any()


def model_of(
    nodes: list[onnx.NodeProto], weights: Mapping[str, Any], shape: tuple[int, ...]
) -> onnx.ModelProto:
    """A model from the floats `x` to the floats `y` of the same rank."""
    open_shape = [f"size_{axis}" for axis in range(len(shape))]
    graph = helper.make_graph(
        nodes,
        "quantized",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, open_shape)],
        [numpy_helper.from_array(np.asarray(item), name) for name, item in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def quantizers(x: str) -> list[onnx.NodeProto]:
    """From `x` to `y` by way of whole numbers."""
    return [
        helper.make_node("QuantizeLinear", [x, "scale", "zero"], ["q"], "quantizer"),
        helper.make_node("DequantizeLinear", ["q", "scale", "zero"], ["y"], "back"),
    ]


GRID = {"scale": np.float32(0.1), "zero": np.uint8(0)}


@pytest.mark.parametrize("kind", [np.uint8, np.int8])
@pytest.mark.parametrize("zero", [0, 7])
@pytest.mark.parametrize("scale", [[0.5], [0.5, 1, 2]])
def test_what_is_saturated_has_no_gradient(kind: Any, zero: int, scale: list[float]) -> None:
    """From half a step beyond the limits on, where rounding does not lead back."""
    scales, zeros = np.array(scale, np.float32), np.full(len(scale), zero, kind)
    info = np.iinfo(kind)
    low, high = float(info.min - zero), float(info.max - zero)
    q = np.array([low - 30, low - 0.6, low - 0.4, low + 9.2, high + 0.4, high + 0.6, high + 30])
    x = q[:, None].astype(np.float32) * scales
    y, slope = Lowered(model_of(quantizers("x"), {"scale": scales, "zero": zeros}, x.shape))(x)
    np.testing.assert_array_equal(
        slope, np.broadcast_to([[0], [0], [1], [1], [1], [0], [0]], x.shape)
    )
    assert np.abs(y - x.clip(low * scales, high * scales)).max() <= np.max(scales) / 2


def test_a_quantizer_that_stands_for_a_relu_is_one() -> None:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 3, 6, 6)).astype(np.float32)
    cotangent = rng.standard_normal((2, 4, 4, 4)).astype(np.float32)
    conv = helper.make_node("Conv", ["x", "w"], ["c"])
    weights = {"w": rng.standard_normal((4, 3, 3, 3)).astype(np.float32)}
    relu = Lowered(model_of([conv, helper.make_node("Relu", ["c"], ["y"])], weights, x.shape))
    quantized = Lowered(model_of([conv, *quantizers("c")], weights | GRID, x.shape))
    for found, expected in zip(quantized(x, cotangent), relu(x, cotangent), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_numbers_that_come_from_no_quantizer_are_refused() -> None:
    cast = helper.make_node("Cast", ["x"], ["q"], to=TensorProto.UINT8)
    with pytest.raises(ModelRejected, match=r"'back' \(DequantizeLinear\).*no quantizer"):
        Lowered(model_of([cast, quantizers("x")[1]], GRID, (2, 3)))


def test_a_scale_that_is_computed_is_refused() -> None:
    top = helper.make_node("ReduceMax", ["x"], ["scale"], keepdims=0)
    with pytest.raises(ModelRejected, match=r"'quantizer'.*a scale that is computed at run time"):
        Lowered(model_of([top, *quantizers("x")], {"zero": np.uint8(0)}, (2, 3)))


@pytest.mark.parametrize("count", [2, 4])
def test_scales_that_do_not_fit_are_refused(count: int) -> None:
    grid = {"scale": np.ones(count, np.float32), "zero": np.zeros(count, np.uint8)}
    with pytest.raises(ModelRejected, match=r"'quantizer'.*scales of shape"):
        Lowered(model_of(quantizers("x"), grid, (2, 3)))


@pytest.mark.parametrize("scale", [0, -1, np.nan])
def test_a_scale_that_is_not_positive_is_refused(scale: float) -> None:
    grid = {"scale": np.float32(scale), "zero": np.uint8(0)}
    with pytest.raises(ModelRejected, match=r"'quantizer'.*not positive"):
        Lowered(model_of(quantizers("x"), grid, (2, 3)))


BETWEEN: dict[str, tuple[str, list[str], dict[str, Any]]] = {
    "pad": ("Pad", ["q", "pads", "zero"], {"pads": np.array([0, 0, 1, 1])}),
    "clip": ("Clip", ["q", "low", "high"], {"low": np.uint8(20), "high": np.uint8(60)}),
    "max": ("Max", ["q", "low"], {"low": np.uint8(20)}),
    "concat": ("Concat", ["q", "more"], {"more": np.array([[1], [2]], np.uint8)}),
    "where": ("Where", ["on", "q", "zero"], {"on": np.array([True, False, True])}),
}


@pytest.mark.parametrize("name", BETWEEN)
def test_constants_between_quantizers_are_whole_numbers_too(name: str) -> None:
    operator, inputs, weights = BETWEEN[name]
    quantizer, back = quantizers("x")
    back.input[0] = "p"
    node = helper.make_node(operator, inputs, ["p"], "between")
    if operator == "Concat":
        node.attribute.append(helper.make_attribute("axis", 1))
    model = model_of([quantizer, node, back], GRID | weights, (2, 3))
    x = np.random.default_rng(0).uniform(1, 9, (2, 3)).astype(np.float32)
    (expected,) = ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})
    y, slope = Lowered(model)(x)
    assert np.abs(y - expected).max() <= GRID["scale"]
    assert set(slope.ravel()) <= {0, 1} and slope.any()


def test_whole_numbers_keep_their_gradient_through_wider_ones() -> None:
    nodes = [
        quantizers("x")[0],
        helper.make_node("Cast", ["q"], ["wide"], to=TensorProto.INT32),
        helper.make_node("Sub", ["wide", "three"], ["shifted"]),
        helper.make_node("Cast", ["shifted"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["real", "scale"], ["scaled"]),
        helper.make_node("Add", ["scaled", "x"], ["y"]),
    ]
    x = np.full((2, 3), 1.23, np.float32)
    y, slope = Lowered(model_of(nodes, GRID | {"three": np.int32(3)}, x.shape))(x)
    np.testing.assert_allclose(y, 2 * x - 0.3, rtol=1e-5)
    np.testing.assert_allclose(slope, 2)


def test_a_cast_that_may_wrap_around_is_refused() -> None:
    nodes = [
        quantizers("x")[0],
        helper.make_node("Cast", ["q"], ["narrow"], "narrowing", to=TensorProto.INT8),
        helper.make_node("Cast", ["narrow"], ["y"], to=TensorProto.FLOAT),
    ]
    with pytest.raises(ModelRejected, match=r"'narrowing' \(Cast\).*fewer bits"):
        Lowered(model_of(nodes, GRID, (2, 3)))
