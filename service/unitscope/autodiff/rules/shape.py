"""Operators that move elements without changing them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.conv import cut
from unitscope.autodiff.rules.linear import along
from unitscope.autodiff.rules.windows import pad_along
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

rules.zero("ConstantOfShape", "EyeLike", "MelWeightMatrix", "Shape", "Size")

_END = np.iinfo(np.int32).max


@rules.vjp(
    "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "OptionalGetElement",
    harmless=("allowzero", "axis"),
)  # fmt: skip
def reshape(op: Emitter, dy: Value, y: Value, x: Value, *_: Value | None) -> Cotangents:
    """dx = dy in the shape of x"""
    return (op.reshape_like(dy, x),)


@rules.vjp("Transpose")
def transpose(
    op: Emitter, dy: Value, y: Value, x: Value, *, perm: Sequence[int] | None
) -> Cotangents:
    """dx = dy with its axes back in place"""
    order = perm if perm is not None else range(x.rank)[::-1]
    return (op.Transpose(dy, perm=np.argsort(order).tolist()),)


@rules.vjp("Concat")
def concat(op: Emitter, dy: Value, y: Value, *xs: Value, axis: int) -> Cotangents:
    """dxᵢ = its part of dy"""
    axis %= y.rank
    parts = cut(op, dy, [x.shape[1] for x in xs if x.shape]) if axis == 1 else None
    if parts is not None:
        return parts
    sizes = op.Concat(*(op.shape(x, axis, axis + 1) for x in xs), axis=0)
    return op.emit("Split", [dy, sizes], {"axis": axis}, outputs=len(xs))


@rules.vjp("Split", several=True, harmless=("num_outputs",))
def split(
    op: Emitter, dys: Cotangents, ys: Cotangents, x: Value, sizes: Value | None = None,
    *, axis: int,
) -> Cotangents:  # fmt: skip
    """dx = the parts' cotangents side by side, zero for a part without one"""
    parts = []
    for dy, y in zip(dys, ys, strict=True):
        if y is None:
            raise Uncovered("an output without a name")
        parts.append(op.zeros_like(y) if dy is None else dy)
    return (op.Concat(*parts, axis=axis),)


@rules.vjp("Expand")
def expand(op: Emitter, dy: Value, y: Value, x: Value, shape: Value) -> Cotangents:
    """dx = dy, summed where x was repeated (as the walk does after every broadcast)"""
    return (dy,)


@rules.vjp("Tile")
def tile(op: Emitter, dy: Value, y: Value, x: Value, repeats: Value) -> Cotangents:
    """dx = the sum of the copies' cotangents"""
    parts: list[Value] = []
    for axis in range(x.rank):
        parts += [op.Slice(repeats, [axis], [axis + 1]), op.shape(x, axis, axis + 1)]
    if not parts:
        return (dy,)
    copies = op.Reshape(dy, op.Concat(*parts, axis=0))
    return (op.ReduceSum(copies, list(range(0, 2 * x.rank, 2)), keepdims=0),)


@rules.vjp("Slice")
def slice_(
    op: Emitter, dy: Value, y: Value, x: Value, starts: Value, ends: Value,
    axes: Value | None = None, steps: Value | None = None,
) -> Cotangents:  # fmt: skip
    """dx = dy where it was taken from, zero elsewhere"""
    begins = _integers(starts, "starts")
    over = range(len(begins)) if axes is None else _integers(axes, "axes")
    strides = [1] * len(begins) if steps is None else _integers(steps, "steps")
    if min(strides, default=1) < 0:
        _refuse_ambiguous(_integers(ends, "ends"), strides)
    if 0 in (dy.shape or ()):
        return (op.zeros_like(x),)
    for axis, start, step in zip(over, begins, strides, strict=True):
        dy = _unslice(op, dy, x, axis % x.rank, start, step)
    return (dy,)


@rules.vjp("Pad")
def pad(
    op: Emitter, dy: Value, y: Value, x: Value, pads: Value,
    value: Value | None = None, axes: Value | None = None, *, mode: str,
) -> Cotangents:  # fmt: skip
    """dx = dy without the margins; copies in the margins give theirs to what they copied

    What is left in the margins is that of the value they are filled with.
    """
    whole = dy
    margins = _integers(pads, "pads")
    over = range(x.rank) if axes is None else _integers(axes, "axes")
    count = len(over)
    for axis, begin, end in zip(over, margins[:count], margins[count:], strict=True):
        if begin or end:
            unpadded = _crop if mode == "constant" else _fold_back
            dy = unpadded(op, dy, x, axis % x.rank, begin, end, mode)
    if value is None or value.const is not None:
        return (dy,)
    left = op.Sub(op.ReduceSum(whole, keepdims=0), op.ReduceSum(dy, keepdims=0))
    return dy, None, op.reshape_like(left, value)


@rules.vjp("DepthToSpace")
def depth_to_space(
    op: Emitter, dy: Value, y: Value, x: Value, *, blocksize: int, mode: str
) -> Cotangents:
    """dx = the blocks of dy back in the channels"""
    if mode == "DCR":
        return (op.SpaceToDepth(dy, blocksize=blocksize),)
    n, c, h, w = (op.shape(value, i, i + 1) for value, i in ((x, 0), (y, 1), (x, 2), (x, 3)))
    block = op.const([blocksize], np.int64)
    blocks = op.Reshape(dy, op.Concat(n, c, h, block, w, block, axis=0))
    return (op.reshape_like(op.Transpose(blocks, perm=[0, 1, 3, 5, 2, 4]), x),)


@rules.vjp("SpaceToDepth")
def space_to_depth(
    op: Emitter, dy: Value, y: Value, x: Value, *, blocksize: int, mode: str = "DCR"
) -> Cotangents:
    """dx = the channels of dy back in blocks"""
    return (op.DepthToSpace(dy, blocksize=blocksize, mode=mode),)


@rules.vjp("Trilu")
def trilu(
    op: Emitter, dy: Value, y: Value, x: Value, k: Value | None = None, *, upper: int
) -> Cotangents:
    """dx = the same triangle of dy"""
    return (op.Trilu(dy, k, upper=upper),)


@rules.vjp("Range")
def range_(op: Emitter, dy: Value, y: Value, *_: Value) -> Cotangents:
    """No formula: a limit that moves changes how many elements there are."""
    raise Uncovered("a sequence whose length depends on the input")


@rules.vjp("OneHot")
def one_hot(
    op: Emitter, dy: Value, y: Value, indices: Value, depth: Value, values: Value, *, axis: int
) -> Cotangents:
    """d values = Σ dy of the cold, Σ dy of the hot"""
    hot = op.Mul(dy, op.OneHot(indices, depth, op.const([0, 1], dy.dtype), axis=axis))
    sums = [op.Reshape(op.ReduceSum(part), [1]) for part in (op.Sub(dy, hot), hot)]
    return op.zeros_like(indices), None, op.Concat(*sums, axis=0)


def _refuse_ambiguous(ends: list[int], strides: list[int]) -> None:
    """Backwards to the largest integer is nothing to ONNX, everything to ONNX Runtime."""
    if any(step < 0 and end >= _END for end, step in zip(ends, strides, strict=True)):
        raise Uncovered("a step backwards to an end beyond every size")


def _integers(value: Value, what: str) -> list[int]:
    """The content of a constant vector."""
    if value.const is None:
        raise Uncovered(f"{what} known only at run time")
    return [int(item) for item in value.const.ravel()]


def _unslice(op: Emitter, dy: Value, x: Value, axis: int, start: int, step: int) -> Value:
    """`dy` along one axis at start, start + step, …, in zeros of the length of `x`."""
    length = op.shape(x, axis, axis + 1)
    begin = op.Add(length, start) if start < 0 else op.const([start], np.int64)
    begin = op.Max(op.Min(begin, op.Sub(length, 1) if step < 0 else length), 0)
    if step < 0:
        taken = op.shape(dy, axis, axis + 1)
        dy = op.Slice(dy, [-1], [np.iinfo(np.int64).min], [axis], [-1])
        begin = op.Sub(begin, op.Mul(op.Sub(taken, 1), -step))
    if abs(step) > 1:
        if (whole := _filled_up(op, dy, x, axis, begin, abs(step))) is not None:
            return whole
        dy = _spaced(op, dy, axis, abs(step))
    end = op.Sub(op.Sub(length, begin), op.shape(dy, axis, axis + 1))
    is_whole = begin.const is not None and end.const is not None and not (begin.const or end.const)
    return dy if is_whole else pad_along(op, dy, axis, begin, end)


def _filled_up(
    op: Emitter, dy: Value, x: Value, axis: int, begin: Value, step: int
) -> Value | None:
    """The same where x is `step` times as long: one of so many columns."""
    taken, length = (value.shape[axis] if value.shape else None for value in (dy, x))
    if begin.const is None or not isinstance(taken, int) or length != taken * step:
        return None
    column = int(begin.const.item())
    columns = pad_along(op, op.Unsqueeze(dy, [axis + 1]), axis + 1, [column], [step - 1 - column])
    return op.reshape_like(columns, x)


def _spaced(op: Emitter, dy: Value, axis: int, step: int) -> Value:
    """`step` − 1 zeros between neighbours along one axis."""
    pairs = pad_along(op, op.Unsqueeze(dy, [axis + 1]), axis + 1, [0], [step - 1])
    target = op.Concat(op.shape(dy, 0, axis), [-1], op.shape(dy, axis + 1), axis=0)
    return op.Slice(op.Reshape(pairs, target), [0], [1 - step], [axis])


def _crop(op: Emitter, dy: Value, x: Value, axis: int, begin: int, end: int, mode: str) -> Value:
    """Take the margins off; where they were negative, what was cut off has no gradient."""
    start, stop = max(begin, 0), -end if end > 0 else np.iinfo(np.int64).max
    dy = op.Slice(dy, [start], [stop], [axis])
    if begin < 0 or end < 0:
        dy = pad_along(op, dy, axis, [max(-begin, 0)], [max(-end, 0)])
    return dy


def _fold_back(
    op: Emitter, dy: Value, x: Value, axis: int, begin: int, end: int, mode: str
) -> Value:
    """Each margin element of `dy` added to the element it is a copy of: a 0/1 matrix."""
    length = (x.shape or ())[axis]
    if not isinstance(length, int) or min(begin, end) < 0:
        raise Uncovered(f"mode {mode} with negative pads or a size known only at run time")
    copied = np.pad(np.arange(length), (begin, end), mode=mode)  # type: ignore[call-overload]
    return along(op, dy, op.const(np.eye(length)[copied], dy.dtype), axis)
