"""Products of quantized tensors: float products between two grids, whose sums are whole numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MICROSOFT, Lowerings, Results
from unitscope.graph.lowerings import nhwc
from unitscope.graph.lowerings.attention import attention
from unitscope.graph.lowerings.quantized import (
    Grid,
    dequantize,
    grid_of,
    marked,
    quantize,
    requantize,
)
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Ints = Sequence[int]


@lowerings.form("QLinearConv")
@lowerings.form("QLinearConv", domain=MICROSOFT)
def qlinear_conv(
    op: Emitter, x: Value, x_scale: Value, x_zero_point: Value, w: Value, w_scale: Value,
    w_zero_point: Value, y_scale: Value, y_zero_point: Value, B: Value | None = None,
    *, channels_last: int = 0, auto_pad: str = "NOTSET", dilations: Ints | None, group: int = 1,
    kernel_shape: Ints | None, pads: Ints | None, strides: Ints | None,
) -> Value:  # fmt: skip
    """y = Conv(x, w, B), B on the grid of scale s_x · s_w; ONNX Runtime's own may be NHWC"""
    first = dequantize(op, x, grid_of(x, x_scale, x_zero_point))
    bias = None if B is None else _bias(op, B, x_scale, w_scale)
    y = op.Conv(
        nhwc.channels_first(op, first) if channels_last else first,
        dequantize(op, w, grid_of(w, w_scale, w_zero_point)), bias, auto_pad=auto_pad,
        dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return requantize(op, nhwc.channels_last(op, y) if channels_last else y, y_scale, y_zero_point)


@lowerings.form("ConvInteger")
def conv_integer(
    op: Emitter, x: Value, w: Value, x_zero_point: Value | None = None,
    w_zero_point: Value | None = None,
    *, auto_pad: str = "NOTSET", dilations: Ints | None, group: int = 1,
    kernel_shape: Ints | None, pads: Ints | None, strides: Ints | None,
) -> Value:  # fmt: skip
    """y = Conv(x − z_x, w − z_w)"""
    y = op.Conv(
        _shifted(op, x, x_zero_point), _shifted(op, w, w_zero_point), auto_pad=auto_pad,
        dilations=dilations, group=group, kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    return marked(op, y)


@lowerings.form("MatMulInteger")
def matmul_integer(
    op: Emitter, A: Value, B: Value, a_zero_point: Value | None = None,
    b_zero_point: Value | None = None,
) -> Value:  # fmt: skip
    """Y = (A − z_a) (B − z_b), zero points by row of A and by column of B"""
    y = op.MatMul(_shifted(op, A, a_zero_point, axis=-2), _shifted(op, B, b_zero_point, axis=-1))
    return marked(op, y)


@lowerings.form("QLinearMatMul")
def qlinear_matmul(
    op: Emitter, a: Value, a_scale: Value, a_zero_point: Value, b: Value, b_scale: Value,
    b_zero_point: Value, y_scale: Value, y_zero_point: Value,
) -> Value:  # fmt: skip
    """y = a b, grids by row of a and y and by column of b"""
    left = dequantize(op, a, grid_of(a, a_scale, a_zero_point, axis=-2))
    right = dequantize(op, b, grid_of(b, b_scale, b_zero_point, axis=-1))
    y = op.MatMul(left, right)
    grid = grid_of(y, y_scale, y_zero_point, axis=-2)
    return quantize(op, y, grid, y_zero_point.dtype)


@lowerings.form("QGemm", domain=MICROSOFT)
def qgemm(
    op: Emitter, A: Value, a_scale: Value, a_zero_point: Value, B: Value, b_scale: Value,
    b_zero_point: Value, C: Value | None = None, y_scale: Value | None = None,
    y_zero_point: Value | None = None, *, transA: int = 0, transB: int = 0, alpha: float = 1.0,
) -> Value:  # fmt: skip
    """Y = α (A' B' + C), C on the grid of scale s_a · s_b"""
    a = dequantize(op, A, grid_of(A, a_scale, a_zero_point))
    b = dequantize(op, B, grid_of(B, b_scale, b_zero_point, axis=0 if transB else 1))
    bias = None if C is None else _bias(op, C, a_scale, b_scale)
    y = op.Gemm(a, b, bias, alpha=alpha, beta=alpha, transA=transA, transB=transB)
    return y if y_scale is None else requantize(op, y, y_scale, y_zero_point)


@lowerings.form("MatMulIntegerToFloat", domain=MICROSOFT)
def matmul_integer_to_float(
    op: Emitter, A: Value, B: Value, a_scale: Value, b_scale: Value,
    a_zero_point: Value | None = None, b_zero_point: Value | None = None,
    bias: Value | None = None,
) -> Value:  # fmt: skip
    """Y = A B + bias, by column of B"""
    a = dequantize(op, A, grid_of(A, a_scale, a_zero_point, axis=-2))
    b = dequantize(op, B, grid_of(B, b_scale, b_zero_point, axis=-1))
    return _plus(op, op.MatMul(a, b), bias)


@lowerings.form("DynamicQuantizeMatMul", domain=MICROSOFT)
def dynamic_quantize_matmul(
    op: Emitter, A: Value, B: Value, b_scale: Value, b_zero_point: Value | None = None,
    bias: Value | None = None,
) -> Value:  # fmt: skip
    """Y = A B + bias, A being float"""
    b = dequantize(op, B, grid_of(B, b_scale, b_zero_point, axis=-1))
    return _plus(op, op.MatMul(A, b), bias)


@lowerings.form("QAttention", domain=MICROSOFT, harmless=("mask_filter_value",))
def qattention(
    op: Emitter, x: Value, weight: Value, bias: Value, x_scale: Value,
    weight_scale: Value, mask_index: Value | None = None, x_zero_point: Value | None = None,
    weight_zero_point: Value | None = None, past: Value | None = None,
    *, num_heads: int, scale: float | None = None,
) -> Results:  # fmt: skip
    """output = Attention(x, weight, bias), by column of the weight"""
    real = dequantize(op, x, grid_of(x, x_scale, x_zero_point))
    w = dequantize(op, weight, grid_of(weight, weight_scale, weight_zero_point, axis=-1))
    return attention(op, real, w, bias, mask_index, past, num_heads=num_heads, scale=scale)


@lowerings.form("MatMulNBits", domain=MICROSOFT, harmless=("accuracy_level",))
def matmul_n_bits(
    op: Emitter, A: Value, B: Value, scales: Value, zero_points: Value | None = None,
    g_idx: Value | None = None, bias: Value | None = None,
    *, K: int, N: int, bits: int = 4, block_size: int, weight_prepacked: int = 0,
) -> Value:  # fmt: skip
    """Y = A Bᵀ + bias, B `[N, K]` packed in blocks along K, each on a grid of its own"""
    if g_idx is not None or weight_prepacked:
        raise Uncovered("weights in another order")
    if not (K and N and block_size) or min(K, N, block_size) < 0:
        raise Uncovered(f"K={K}, N={N} and block_size={block_size}")
    blocks = -(-K // block_size)
    numbers = _unpacked(_constant(B), bits, N, blocks * block_size).reshape(N, blocks, block_size)
    steps = _sized(_constant(scales), N, blocks)
    zeros = np.float32(2 ** (bits - 1)) * np.ones((N, blocks), np.float32)
    if zero_points is not None:
        given = _constant(zero_points)
        whole = not zero_points.is_float
        zeros = _unpacked(given, bits, N, blocks) if whole else _sized(given, N, blocks)
    weight = ((numbers - zeros[..., None]) * steps[..., None]).reshape(N, -1)[:, :K]
    return _plus(op, op.MatMul(A, op.const(np.ascontiguousarray(weight.T), A.dtype)), bias)


def _bias(op: Emitter, bias: Value, by_input: Value, by_weight: Value) -> Value:
    """A bias in the unit of the sum that it is added to."""
    one, other = (grid_of(bias, scale, None, axis=-1) for scale in (by_input, by_weight))
    return dequantize(op, bias, Grid(one.scale * other.scale, one.zero_point))


def _shifted(op: Emitter, q: Value, zero_point: Value | None, axis: int = 0) -> Value:
    """q − z"""
    return dequantize(op, q, grid_of(q, op.const(1, np.float32), zero_point, axis=axis))


def _plus(op: Emitter, y: Value, bias: Value | None) -> Value:
    return y if bias is None else op.Add(y, bias)


def _constant(packed: Value) -> np.ndarray:
    if packed.const is None:
        raise Uncovered(f"packed weights that are computed at run time ({packed.name!r})")
    return packed.const


def _sized(numbers: np.ndarray, rows: int, columns: int) -> np.ndarray:
    if numbers.size != rows * columns:
        raise Uncovered(f"{numbers.size} numbers, expected {rows} × {columns}")
    return numbers.reshape(rows, columns)


def _unpacked(packed: np.ndarray, bits: int, rows: int, columns: int) -> np.ndarray:
    """`[rows, columns]` whole numbers of `bits` bits, the lowest bits of a byte first.

    Every row begins a new byte.
    """
    if bits not in (2, 4, 8) or packed.dtype != np.uint8:
        raise Uncovered(f"numbers of {bits} bits in {packed.dtype.name}")
    shifts = np.arange(0, 8, bits, dtype=np.uint8)
    stored = _sized(packed, rows, -(-columns * bits // 8))
    numbers = (stored[..., None] >> shifts) & np.uint8(2**bits - 1)
    return numbers.reshape(rows, -1)[:, :columns].astype(np.float32)
