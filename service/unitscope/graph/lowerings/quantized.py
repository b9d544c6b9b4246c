"""Quantizers: whole numbers are carried as the floats that they were rounded from.

A quantized tensor q stands for the real tensor (q − z) · s. Here q keeps its unit and its limits
and loses only its rounding, so that it has a gradient (straight through, Bengio et al. 2013) and
moves through whatever stands between two quantizers. The limits are part of the function: ONNX
Runtime drops a Relu before a quantizer whose smallest number means 0.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Node, Value
from unitscope.graph.lowering import MICROSOFT, Lowerings
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

_RECTIFIED = {
    "Conv", "ConvTranspose", "Gemm", "MatMul", "Add", "Sum", "BatchNormalization", "Relu", "Clip",
    "MaxPool", "Concat",
}  # fmt: skip
"""What a Relu follows, or has gone before: a quantizer of these may be one."""
_MOVING = {
    "Identity", "Flatten", "MaxPool", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze",
}  # fmt: skip
"""Operators that hand out no number but those they take."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What the numbers of a quantized tensor mean: q stands for (q − zero_point) · scale.

    Both are floats in shapes that broadcast against the tensor.
    """

    scale: np.ndarray = field(repr=False)
    zero_point: np.ndarray = field(repr=False)

    @property
    def is_uniform(self) -> bool:
        """True if all elements of the tensor share one scale and one zero point."""
        return self.scale.size == 1 == self.zero_point.size


def grid_of(
    tensor: Value,
    scale: Value,
    zero_point: Value | None,
    *,
    axis: int = 0,
    block_size: int = 0,
) -> Grid:
    """The grid of `tensor`; `axis` and `block_size` as QuantizeLinear defines them."""
    carried = tensor.is_float and tensor.dtype.itemsize > 1  # 8 bits are no type to compute in
    dtype = tensor.dtype if carried else scale.dtype
    scales = _constant(scale, "scale").astype(dtype)
    zeros = np.zeros((), dtype)
    if zero_point is not None:
        zeros = _constant(zero_point, "zero point").astype(dtype)
    spread = (_spread(parameter, tensor, axis, block_size) for parameter in (scales, zeros))
    return Grid(*spread)


def quantize(op: Emitter, real: Value, grid: Grid, kind: Any, *, rectified: bool = True) -> Value:
    """q = clip(real / s + z, low, high), low and high the limits of the element type `kind`

    A limit is passed by half a step before rounding meets it. Only where the lower limit means 0
    and may stand for a Relu (`rectified`) is it exact: a half step of everything that is off would
    be a bias. Uniform grids clip the real number, for `dequantize` to find. Constants are rounded.
    """
    if not (grid.scale > 0).all():
        raise Uncovered("a scale that is not positive")
    low, high = limits(kind)
    if real.const is not None:
        return op.Clip(op.Add(op.Round(op.Div(real, grid.scale)), grid.zero_point), low, high)
    low -= 0.0 if rectified and bool((grid.zero_point == low).all()) else 0.5
    high += 0.5
    if not grid.is_uniform:
        q = op.Add(op.Div(real, grid.scale), grid.zero_point)
        return marked(op, op.Clip(q, low, high))
    bounds = [np.asarray((limit - grid.zero_point) * grid.scale) for limit in (low, high)]
    clipped = real if _is_within(op, real, *bounds) else op.Clip(real, *bounds)
    return marked(op, op.Add(op.Div(clipped, grid.scale), grid.zero_point))


def marked(op: Emitter, q: Value) -> Value:
    """`q`, known to carry whole numbers."""
    op.graph.whole.add(q)
    return q


def dequantize(op: Emitter, q: Value, grid: Grid) -> Value:
    """(q − z) · s; what has just been quantized on the same grid is found again"""
    if q.const is not None:
        return op.const((q.const.astype(grid.scale.dtype) - grid.zero_point) * grid.scale)
    if not q.is_float:
        raise Uncovered(f"the whole numbers of {q.name!r}, which come from no quantizer")
    before = _quantized_from(op, q, grid)
    if before is not None:
        return before
    shifted = op.Sub(q, grid.zero_point) if grid.zero_point.any() else q
    return op.Mul(shifted, grid.scale) if (grid.scale != 1).any() else shifted


def requantize(op: Emitter, real: Value, scale: Value, zero_point: Value | None) -> Value:
    """`real` on the grid of an operator's output."""
    if zero_point is None:
        raise Uncovered("a quantized output whose element type no zero point tells")
    return quantize(op, real, grid_of(real, scale, zero_point), zero_point.dtype)


def limits(kind: Any) -> tuple[float, float]:
    """The smallest and the largest number of a quantized element type: int8, uint4, …"""
    name = np.dtype(kind).name
    signed, bits = not name.startswith("u"), name.removeprefix("u").removeprefix("int")
    if not bits.isdigit():
        raise Uncovered(f"numbers quantized to {name}")
    if signed:
        return -(2.0 ** (int(bits) - 1)), 2.0 ** (int(bits) - 1) - 1
    return 0.0, 2.0 ** int(bits) - 1


@lowerings.form("QuantizeLinear", harmless=("precision", "saturate"))
@lowerings.form("QuantizeLinear", domain=MICROSOFT)
def quantize_linear(
    op: Emitter, x: Value, y_scale: Value, y_zero_point: Value | None = None,
    *, axis: int = 1, block_size: int = 0, output_dtype: int = 0,
) -> Value:  # fmt: skip
    """y = clip(x / s + z), rounded nowhere"""
    if output_dtype and y_zero_point is None:
        y_zero_point = op.Cast(np.float32(0), to=output_dtype)
    if not x.is_float:
        raise Uncovered(f"a quantizer of {x.dtype.name}")
    grid = grid_of(x, y_scale, y_zero_point, axis=axis, block_size=block_size)
    kind = np.uint8 if y_zero_point is None else y_zero_point.dtype
    source = _producer(op, x)
    rectified = source is not None and source.op_type in _RECTIFIED
    return quantize(op, x, grid, kind, rectified=rectified)


@lowerings.form("DequantizeLinear", harmless=("output_dtype",))
@lowerings.form("DequantizeLinear", domain=MICROSOFT)
def dequantize_linear(
    op: Emitter, x: Value, x_scale: Value, x_zero_point: Value | None = None,
    *, axis: int = 1, block_size: int = 0,
) -> Value:  # fmt: skip
    """y = (x − z) · s"""
    if x_scale.const is None and x.const is not None:
        plain = op.const(np.ones((), x_scale.dtype))
        numbers = op.const(x.const.astype(x_scale.dtype))
        grid = grid_of(numbers, plain, x_zero_point, axis=axis, block_size=block_size)
        whole = dequantize(op, numbers, grid)
        return op.Mul(whole, _spread_value(op, x_scale, whole, axis, block_size))
    return dequantize(op, x, grid_of(x, x_scale, x_zero_point, axis=axis, block_size=block_size))


@lowerings.form("DynamicQuantizeLinear")
def dynamic_quantize_linear(op: Emitter, x: Value) -> tuple[Value, Value, Value]:
    """y = x on the grid of scale 1: a grid that fits x saturates nowhere, its rounding aside"""
    return marked(op, op.Identity(x)), op.const(1, x.dtype), op.const(0, x.dtype)


def _constant(parameter: Value, what: str) -> np.ndarray:
    if parameter.const is None:
        raise Uncovered(f"a {what} that is computed at run time ({parameter.name!r})")
    return parameter.const


def _spread_value(op: Emitter, scale: Value, like: Value, axis: int, block_size: int) -> Value:
    """What `_spread` does, of a scale that is computed at run time."""
    if scale.static_shape in ((), (1,)):
        return scale
    axis %= like.rank
    if not block_size:
        return op.Reshape(scale, [-1, *[1] * (like.rank - axis - 1)])
    blocks = np.arange(int((like.shape or ())[axis])) // block_size
    return op.Gather(scale, blocks, axis=axis)


def _spread(parameter: np.ndarray, tensor: Value, axis: int, block_size: int) -> np.ndarray:
    """One number, or one for each index or block of `axis`, to broadcast against `tensor`."""
    if parameter.size == 1:
        return parameter.reshape(())
    if tensor.shape is None or not -tensor.rank <= axis < tensor.rank:
        raise Uncovered(f"scales along axis {axis} of {tensor.name!r}, which may not have it")
    size = tensor.shape[axis]
    if block_size:
        if not isinstance(size, int):
            raise Uncovered(f"blocks along axis {axis}, whose size is open")
        spread = np.repeat(parameter, block_size, axis).swapaxes(0, axis)[:size].swapaxes(0, axis)
    elif parameter.ndim == 1:
        spread = parameter.reshape([-1, *[1] * ((-1 - axis) % tensor.rank)])
    else:
        spread = parameter
    pairs = zip(spread.shape[::-1], tensor.shape[::-1], strict=False)
    if not all(n == 1 or n == dim or isinstance(dim, str) for n, dim in pairs):
        raise Uncovered(f"scales of shape {parameter.shape} for {tensor.name!r} {tensor.shape}")
    return spread


def _quantized_from(op: Emitter, q: Value, grid: Grid) -> Value | None:
    """The real tensor that `quantize` made `q` of on the same grid, if it did."""
    shifted = _producer(op, q)
    if shifted is None or not _is_constant(shifted, "Add", grid.zero_point):
        return None
    scaled = _producer(op, shifted.inputs[0])
    if scaled is None or not _is_constant(scaled, "Div", grid.scale):
        return None
    return scaled.inputs[0]


def _is_constant(node: Node, op_type: str, content: np.ndarray) -> bool:
    """True if `node` applies `op_type` with `content` on its right."""
    right = node.inputs[1] if node.op_type == op_type else None
    return right is not None and right.const is not None and np.array_equal(right.const, content)


def _is_within(op: Emitter, real: Value, low: np.ndarray, high: np.ndarray) -> bool:
    """True if `real` was clipped by these limits or closer ones before it was moved here."""
    source = _producer(op, real, passing=_MOVING)
    if source is None or source.op_type != "Clip" or len(source.inputs) < 3:
        return False
    limits = [x.const for x in source.inputs[1:] if x is not None and x.const is not None]
    return len(limits) == 2 and bool(low <= limits[0] and limits[1] <= high)


def _producer(
    op: Emitter, value: Value | None, passing: Collection[str] = ("Identity",)
) -> Node | None:
    """The node that computes `value`, seen through those `passing`; None for an input."""
    for node in reversed(op.graph.nodes):
        if value in node.outputs:
            if node.op_type not in passing:
                return node
            value = node.inputs[0]
    return None
