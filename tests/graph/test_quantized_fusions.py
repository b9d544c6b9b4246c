"""ONNX Runtime's own quantized operators: its kernels' values, and the slope of these."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from tests.graph.test_quantized_operators import Array, Lowered
from unitscope.errors import ModelRejected
from unitscope.graph.lowering import MICROSOFT

Inputs = Sequence[Array | None]

_RNG = np.random.default_rng(11)


def u8(*shape: int) -> Array:
    """Numbers with room to move by 16 without leaving the grid."""
    return _RNG.integers(60, 196, shape).astype(np.uint8)


def i8(*shape: int) -> Array:
    return _RNG.integers(-100, 100, shape).astype(np.int8)


def f32(*shape: int) -> Array:
    return _RNG.standard_normal(shape).astype(np.float32)


def of(dtype: Any, *numbers: float) -> Array:
    """One number, or a vector of several."""
    return np.array(numbers if len(numbers) > 1 else numbers[0], dtype)


def s(*scales: float) -> Array:
    return of(np.float32, *scales)


def z8(*zero_points: int) -> Array:
    return of(np.int8, *zero_points)


Z0, Z, Z2 = (np.array(number, np.uint8) for number in (0, 128, 120))
X4 = u8(2, 3, 6, 6)
POOL = {"kernel_shape": [2, 2], "strides": [2, 2]}
CASES: dict[str, tuple[str, Inputs, dict[str, Any]]] = {
    "add": ("QLinearAdd", [X4, s(0.02), Z, u8(3, 1, 1), s(0.03), Z2, s(0.05), Z], {}),
    "mul": ("QLinearMul", [X4, s(0.02), Z, u8(3, 1, 1), s(0.02), Z, s(0.04), Z2], {}),
    "sigmoid": ("QLinearSigmoid", [X4, s(0.02), Z, s(1 / 256), Z0], {}),
    "sigmoid_int8": ("QLinearSigmoid", [i8(2, 5), s(0.02), z8(3), s(1 / 256), z8(-128)], {}),
    "leaky_relu": ("QLinearLeakyRelu", [X4, s(0.02), Z, s(0.015), Z2], {"alpha": 0.2}),
    "softmax": ("QLinearSoftmax", [u8(3, 5), s(0.02), Z, s(1 / 256), Z0], {"opset": 13}),
    "softmax_of_old": (
        "QLinearSoftmax",
        [u8(2, 2, 2), s(0.02), Z, s(1 / 256), Z0],
        {"opset": 11, "axis": 1},
    ),
    "concat": (
        "QLinearConcat", [s(0.03), Z, X4, s(0.02), Z2, u8(2, 1, 6, 6), s(0.03), Z], {"axis": 1},
    ),
    "average_pool": ("QLinearAveragePool", [X4, s(0.02), Z, s(0.015), Z2], POOL),
    "average_pool_nhwc": (
        "QLinearAveragePool",
        [u8(2, 6, 6, 3), s(0.02), Z, s(0.015), Z2],
        POOL | {"channels_last": 1, "pads": [1, 0, 0, 1], "count_include_pad": 1},
    ),
    "global_average_pool": ("QLinearGlobalAveragePool", [X4, s(0.02), Z, s(0.005), Z2], {}),
    "global_average_pool_nhwc": (
        "QLinearGlobalAveragePool", [X4, s(0.02), Z, s(0.005), Z2], {"channels_last": 1},
    ),
    "where": (
        "QLinearWhere",
        [u8(2, 4), s(0.02), Z, u8(1, 4), s(0.01), Z2, s(0.021), Z],
        {"condition": np.array([[True, False, True, True]])},
    ),
    "conv_nhwc": (
        "QLinearConv",
        [u8(1, 5, 5, 4), s(0.02), Z, i8(2, 2, 3, 3), s(0.01, 0.02), z8(0, 0),
         s(0.12), Z2, of(np.int32, 300, -200)],
        {"channels_last": 1, "group": 2, "pads": [1, 0, 1, 1], "strides": [2, 1]},
    ),
    "gemm": (
        "QGemm",
        [u8(2, 6), s(0.02), Z, i8(4, 6), s(0.01, 0.02, 0.01, 0.03), z8(0, 0, 0, 0),
         of(np.int32, 10, 200, -500, 0), s(0.1), Z2],
        {"transB": 1, "alpha": 0.5},
    ),
    "gemm_to_float": ("QGemm", [u8(6, 2), s(0.02), Z, u8(6, 4), s(0.01), Z2], {"transA": 1}),
    "matmul_to_float": (
        "MatMulIntegerToFloat",
        [u8(2, 3, 6), i8(6, 4), s(0.02), s(0.01, 0.02, 0.01, 0.03), Z,
         z8(1, 2, 0, -3), f32(4)],
        {},
    ),
    "dynamic_matmul": (
        "DynamicQuantizeMatMul",
        [f32(2, 3, 6), i8(6, 4), s(0.01, 0.02, 0.01, 0.03), z8(1, 2, 0, -3),
         f32(4)],
        {},
    ),
    "attention": (
        "QAttention",
        [u8(2, 3, 4), i8(4, 12), f32(12), s(0.02), s(0.01), None, Z, z8(3)],
        {"num_heads": 2},
    ),
}  # fmt: skip


def packed(bits: int, numbers: Array) -> Array:
    """Bytes of whole numbers `[N, K]`, the first in the lowest bits."""
    per_byte = 8 // bits
    padded = np.pad(numbers, ((0, 0), (0, -numbers.shape[1] % per_byte)))
    parts = padded.reshape(len(numbers), -1, per_byte) << np.arange(0, 8, bits)
    return np.asarray(parts.sum(-1), np.uint8)


def n_bits(bits: int, zero_points: str, columns: int = 40) -> tuple[str, Inputs, dict[str, Any]]:
    """Three blocks of 16, the last one not full."""
    numbers = _RNG.integers(0, 2**bits, (5, 48))
    zeros = {
        "none": None,
        "packed": packed(bits, _RNG.integers(0, 2**bits, (5, 3))).ravel(),
        "float": _RNG.uniform(0, 2**bits, (5, 3)).astype(np.float32),
    }[zero_points]
    weights = packed(bits, numbers).reshape(5, 3, -1)
    scales = _RNG.uniform(0.01, 0.05, 15).astype(np.float32)
    attributes = {"K": columns, "N": 5, "bits": bits, "block_size": 16}
    return "MatMulNBits", [f32(2, 3, columns), weights, scales, zeros, None, f32(5)], attributes


CASES |= {
    f"{bits}_bits_{zeros}": n_bits(bits, zeros)
    for bits in (2, 4, 8) for zeros in ("none", "packed", "float")
    if (bits, zeros) != (8, "float")
}  # fmt: skip


def model_of(name: str) -> onnx.ModelProto:
    operator, inputs, attributes = CASES[name]
    attributes = dict(attributes)
    condition = attributes.pop("condition", None)
    inputs = list(inputs) if condition is None else [condition, *inputs]
    first = 2 if operator == "QLinearConcat" else 0 if condition is None else 1
    names = ["" if x is None else "x" if i == first else f"w{i}" for i, x in enumerate(inputs)]
    x = np.asarray(inputs[first])
    node = helper.make_node(operator, names, ["y"], "node", domain=MICROSOFT, **attributes)
    graph = helper.make_graph(
        [node],
        "case",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(x.dtype), x.shape)],
        [onnx.ValueInfoProto(name="y")],
        [
            numpy_helper.from_array(np.asarray(item), name)
            for name, item in zip(names, inputs, strict=True)
            if name not in ("", "x")
        ],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid(MICROSOFT, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def point_of(name: str) -> Array:
    operator, inputs, _ = CASES[name]
    return np.asarray(inputs[2 if operator == "QLinearConcat" else 0])


@pytest.mark.parametrize("name", CASES)
def test_value_and_slope_are_those_of_the_kernel(name: str) -> None:
    """Its slope is taken over steps that are long against the rounding."""
    model, x = model_of(name), point_of(name)
    session = ort.InferenceSession(model.SerializeToString())
    (y,) = session.run(None, {"x": x})
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", helper.np_dtype_to_tensor_dtype(y.dtype), y.shape)
    )
    lowered, whole = Lowered(model), np.issubdtype(y.dtype, np.integer)
    value, _ = lowered(x, np.zeros(y.shape))
    np.testing.assert_allclose(value, y.astype(np.float32), atol=1.01 if whole else 0.05)
    step = 16 if x.dtype != np.float32 else 0.2
    rng = np.random.default_rng(0)
    for _ in range(3):
        direction = rng.choice([-1, 1], x.shape)
        ahead, behind = (
            session.run(None, {"x": (x + sign * step * direction).astype(x.dtype)})[0]
            for sign in (1, -1)
        )
        change = (ahead.astype(np.float64) - behind) / (2 * step)
        _, slope = lowered(x, change)
        assert np.sum(slope * direction) == pytest.approx(np.sum(change**2), rel=0.1)


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"bits": 3}, "numbers of 3 bits"),
        ({"block_size": 32}, "expected 5 × 32"),
        ({"block_size": 0}, "block_size=0"),
        ({"K": 80}, "expected 5 × 40"),
        ({"weight_prepacked": 1}, "another order"),
    ],
)
def test_weights_that_are_packed_otherwise_are_refused(change: dict[str, int], why: str) -> None:
    model = model_of("4_bits_none")
    (node,) = model.graph.node
    kept = [attribute for attribute in node.attribute if attribute.name not in change]
    del node.attribute[:]
    node.attribute.extend(kept)
    node.attribute.extend(helper.make_attribute(name, value) for name, value in change.items())
    model.graph.output[0].CopyFrom(
        helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, ["N", "T", "K"])
    )
    with pytest.raises(ModelRejected, match=f"'node' .com.microsoft::MatMulNBits.*{why}"):
        Lowered(model)
