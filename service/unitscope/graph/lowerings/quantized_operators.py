"""Operators on quantized tensors: each is its float namesake between two grids."""

from __future__ import annotations

from collections.abc import Sequence

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MICROSOFT, Lowerings
from unitscope.graph.lowerings import nhwc
from unitscope.graph.lowerings.quantized import dequantize, grid_of, requantize
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Ints = Sequence[int]

_COERCING = 13
"""Before this opset, Softmax normalised all axes from its axis on."""


@lowerings.form("QLinearAdd", domain=MICROSOFT)
def qlinear_add(
    op: Emitter, A: Value, A_scale: Value, A_zero_point: Value | None, B: Value, B_scale: Value,
    B_zero_point: Value | None, C_scale: Value, C_zero_point: Value | None = None,
) -> Value:  # fmt: skip
    """C = A + B"""
    a = dequantize(op, A, grid_of(A, A_scale, A_zero_point))
    b = dequantize(op, B, grid_of(B, B_scale, B_zero_point))
    return requantize(op, op.Add(a, b), C_scale, C_zero_point)


@lowerings.form("QLinearMul", domain=MICROSOFT)
def qlinear_mul(
    op: Emitter, A: Value, A_scale: Value, A_zero_point: Value | None, B: Value, B_scale: Value,
    B_zero_point: Value | None, C_scale: Value, C_zero_point: Value | None = None,
) -> Value:  # fmt: skip
    """C = A · B"""
    a = dequantize(op, A, grid_of(A, A_scale, A_zero_point))
    b = dequantize(op, B, grid_of(B, B_scale, B_zero_point))
    return requantize(op, op.Mul(a, b), C_scale, C_zero_point)


@lowerings.form("QLinearWhere", domain=MICROSOFT)
def qlinear_where(
    op: Emitter, condition: Value, X: Value, x_scale: Value, x_zero_point: Value | None, Y: Value,
    y_scale: Value, y_zero_point: Value | None, z_scale: Value, z_zero_point: Value,
) -> Value:  # fmt: skip
    """Z = X where the condition holds, else Y"""
    x = dequantize(op, X, grid_of(X, x_scale, x_zero_point))
    y = dequantize(op, Y, grid_of(Y, y_scale, y_zero_point))
    return requantize(op, op.Where(condition, x, y), z_scale, z_zero_point)


@lowerings.form("QLinearConcat", domain=MICROSOFT)
def qlinear_concat(
    op: Emitter, Y_scale: Value, Y_zero_point: Value, *inputs: Value, axis: int
) -> Value:
    """Y = the inputs one after another, each with a scale and a zero point of its own"""
    if len(inputs) % 3:
        raise Uncovered(f"{len(inputs)} inputs, expected three for each tensor")
    triples = zip(inputs[::3], inputs[1::3], inputs[2::3], strict=True)
    parts = [dequantize(op, x, grid_of(x, scale, zero)) for x, scale, zero in triples]
    return requantize(op, op.Concat(*parts, axis=axis), Y_scale, Y_zero_point)


@lowerings.form("QLinearSigmoid", domain=MICROSOFT)
def qlinear_sigmoid(
    op: Emitter, X: Value, X_scale: Value, X_zero_point: Value | None, Y_scale: Value,
    Y_zero_point: Value | None = None,
) -> Value:  # fmt: skip
    """Y = σ(X)"""
    y = op.Sigmoid(dequantize(op, X, grid_of(X, X_scale, X_zero_point)))
    return requantize(op, y, Y_scale, Y_zero_point)


@lowerings.form("QLinearLeakyRelu", domain=MICROSOFT)
def qlinear_leaky_relu(
    op: Emitter, X: Value, X_scale: Value, X_zero_point: Value | None, Y_scale: Value,
    Y_zero_point: Value | None = None, *, alpha: float = 0.01,
) -> Value:  # fmt: skip
    """Y = X where X > 0, else α X"""
    y = op.LeakyRelu(dequantize(op, X, grid_of(X, X_scale, X_zero_point)), alpha=alpha)
    return requantize(op, y, Y_scale, Y_zero_point)


@lowerings.form("QLinearSoftmax", domain=MICROSOFT)
def qlinear_softmax(
    op: Emitter, X: Value, X_scale: Value, x_zero_point: Value | None, y_scale: Value,
    y_zero_point: Value, *, axis: int | None, opset: int,
) -> Value:  # fmt: skip
    """Y = Softmax(X) as `opset` defines it"""
    x = dequantize(op, X, grid_of(X, X_scale, x_zero_point))
    if opset >= _COERCING:
        y = op.Softmax(x, axis=-1 if axis is None else axis)
    else:
        flat = op.Flatten(x, axis=1 if axis is None else axis)
        y = op.reshape_like(op.Softmax(flat, axis=1), x)
    return requantize(op, y, y_scale, y_zero_point)


@lowerings.form("QLinearReduceMean", domain=MICROSOFT)
def qlinear_reduce_mean(
    op: Emitter, data: Value, data_scale: Value, data_zero_point: Value | None,
    reduced_scale: Value, reduced_zero_point: Value | None = None,
    *, axes: Ints | None, keepdims: int = 1,
) -> Value:  # fmt: skip
    """reduced = the mean of the data over the axes"""
    real = dequantize(op, data, grid_of(data, data_scale, data_zero_point))
    y = op.ReduceMean(real, axes, keepdims=keepdims)
    return requantize(op, y, reduced_scale, reduced_zero_point)


@lowerings.form("QLinearAveragePool", domain=MICROSOFT)
def qlinear_average_pool(
    op: Emitter, X: Value, x_scale: Value, x_zero_point: Value | None, y_scale: Value,
    y_zero_point: Value | None = None,
    *, channels_last: int = 0, auto_pad: str = "NOTSET", ceil_mode: int = 0,
    count_include_pad: int = 0, kernel_shape: Ints, pads: Ints | None, strides: Ints | None,
) -> Value:  # fmt: skip
    """Y = the means of the windows of X"""
    x = dequantize(op, X, grid_of(X, x_scale, x_zero_point))
    y = op.AveragePool(
        nhwc.channels_first(op, x) if channels_last else x,
        auto_pad=auto_pad, ceil_mode=ceil_mode, count_include_pad=count_include_pad,
        kernel_shape=kernel_shape, pads=pads, strides=strides,
    )  # fmt: skip
    y = nhwc.channels_last(op, y) if channels_last else y
    return requantize(op, y, y_scale, y_zero_point)


@lowerings.form("QLinearGlobalAveragePool", domain=MICROSOFT)
def qlinear_global_average_pool(
    op: Emitter, X: Value, x_scale: Value, x_zero_point: Value, y_scale: Value,
    y_zero_point: Value, *, channels_last: int = 0,
) -> Value:  # fmt: skip
    """Y = the mean of every channel of X"""
    x = dequantize(op, X, grid_of(X, x_scale, x_zero_point))
    y = op.GlobalAveragePool(nhwc.channels_first(op, x) if channels_last else x)
    return requantize(op, nhwc.channels_last(op, y) if channels_last else y, y_scale, y_zero_point)
