"""Sampling at computed places."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, numpy_helper

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.taps import Axis, Tap, combinations, combined, taps
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

_INT32 = int(TensorProto.INT32)
_FRAME = 2
"""Pixels around the image that catch what falls outside, so that nothing need be masked."""
_MAX_PLANES = 4


@rules.vjp("GridSample")
def grid_sample(
    op: Emitter, dy: Value, y: Value, x: Value, grid: Value,
    *, mode: str, padding_mode: str, align_corners: int,
) -> Cotangents:  # fmt: skip
    """dx = dy given to the pixels around each place by their shares; dgrid = Σ dy · x · d share"""
    sizes = (x.shape or ())[2:]
    if not all(isinstance(size, int) for size in sizes):
        raise Uncovered("an image whose size is known only at run time")
    method = mode.removeprefix("bi")
    axes = [Axis(int(size), method, padding_mode, bool(align_corners)) for size in sizes]
    dx, dgrid = _through_taps(op, dy, x, grid, axes)
    if method == "linear" and padding_mode != "reflection" and x.rank == 4:
        dx = _from_four_pixels(op, dy, x, grid, padding_mode, align_corners)
    return dx, dgrid


def _through_taps(
    op: Emitter, dy: Value, x: Value, grid: Value, axes: Sequence[Axis]
) -> tuple[Value, Value]:
    """Both cotangents, one element of those around each place at a time."""
    count = len(axes)
    flat, image = op.Reshape(dy, [0, 0, -1]), op.Reshape(x, [0, 0, -1])
    places = op.Reshape(grid, [0, -1, count])
    coordinates = op.Transpose(places, perm=[0, 2, 1])
    read = [
        taps(op, op.Slice(coordinates, [count - 1 - i], [count - i], [1]), axis)
        for i, axis in enumerate(axes)
    ]
    total, slopes = op.zeros_like(image), [op.const(0, x.dtype)] * count
    for chosen in combinations(read):
        position, share = combined(op, chosen, [axis.size for axis in axes])
        position = op.expand_like(position, flat)
        given = op.Mul(flat, share)
        total = op.ScatterElements(total, position, given, axis=2, reduction="add")
        pulled = op.Mul(flat, op.GatherElements(image, position, axis=2))
        along = op.ReduceSum(pulled, [1], keepdims=1)
        for i in range(count):
            moved = [Tap(t.index, t.slope if i == j else t.share, t.slope)
                     for j, t in enumerate(chosen)]  # fmt: skip
            _, slope = combined(op, moved, [axis.size for axis in axes])
            slopes[i] = op.Add(slopes[i], op.Mul(along, slope))
    dgrid = op.Transpose(op.Concat(*slopes[::-1], axis=1), perm=[0, 2, 1])
    return op.reshape_like(total, x), op.reshape_like(dgrid, grid)


def _from_four_pixels(
    op: Emitter, dy: Value, x: Value, grid: Value, padding_mode: str, align_corners: int
) -> Value:
    """dx of bilinear sampling in half the time: in a frame nothing need be masked."""
    height, width = (int(size) for size in (x.shape or ())[2:])
    channels = (x.shape or ())[1]
    columns, rows = op.emit("Split", [grid, [1, 1]], {"axis": 3}, outputs=2)
    clamped = padding_mode == "border"
    row, row_share = _pixel(op, rows, height, align_corners, clamped=clamped)
    column, column_share = _pixel(op, columns, width, align_corners, clamped=clamped)
    stride = width + 2 * _FRAME
    corner = op.Add(op.Mul(row, np.int32(stride)), column)
    flat = op.Reshape(dy, [0, 0, -1])
    planes: tuple[Value, ...] = (
        flat,
    )  # one by one they need no copies of the places, which pays for colours
    if isinstance(channels, int) and channels <= _MAX_PLANES:
        planes = op.emit("Split", [flat, [1] * channels], {"axis": 1}, outputs=channels)
    framed = [
        _give(op, plane, corner, stride, row_share, column_share, height + 2 * _FRAME)
        for plane in planes
    ]
    image = op.Reshape(op.Concat(*framed, axis=1), [0, 0, height + 2 * _FRAME, stride])
    ends = [_FRAME + height, _FRAME + width]
    return op.shaped(op.Slice(image, [_FRAME] * 2, ends, [2, 3]), x)


@rules.vjp("AffineGrid")
def affine_grid(
    op: Emitter, dy: Value, y: Value, theta: Value, size: Value, *, align_corners: int
) -> Cotangents:
    """y = θ · (place, 1) for each place, so dθ = Σ dy · (place, 1)ᵀ"""
    if size.const is None:
        raise Uncovered("a size known only at run time")
    axes = [_centres(int(length), align_corners) for length in size.const.ravel()[2:]]
    places = [place.ravel() for place in np.meshgrid(*axes, indexing="ij")[::-1]]
    known = np.stack([*places, np.ones_like(places[0])], axis=-1).astype(theta.dtype)
    flat = op.Reshape(dy, [0, len(known), len(axes)])
    return (op.MatMul(op.Transpose(flat, perm=[0, 2, 1]), known),)


def _centres(length: int, align_corners: int) -> np.ndarray:
    """Where the pixels of an axis lie between −1 and 1."""
    if align_corners:
        return np.linspace(-1, 1, length)
    return (2 * np.arange(length) + 1) / length - 1


def _pixel(
    op: Emitter, coordinate: Value, size: int, align_corners: int, *, clamped: bool
) -> tuple[Value, Value]:
    """The pixel before each place on one axis, counted from the frame's edge, `[N, 1, places]`.

    With it the share of the pixel behind the place.
    """
    halves = (size - 1) / 2 if align_corners else size / 2
    place = op.Add(op.Mul(op.Reshape(coordinate, [0, 1, -1]), halves), (size - 1) / 2)
    if clamped:
        place = op.Clip(place, 0.0, float(size - 1))
    below = op.Floor(place)
    pixel = op.Clip(op.Add(below, float(_FRAME)), 0.0, float(size + _FRAME))
    return op.Cast(pixel, to=_INT32), op.Sub(place, below)


def _give(
    op: Emitter, dy: Value, corner: Value, stride: int, row_share: Value, column_share: Value,
    rows: int,
) -> Value:  # fmt: skip
    """`dy` `[N, C, places]` added up in the framed image `[N, C, rows · stride]`."""
    zero = numpy_helper.from_array(np.zeros(1, dy.dtype))
    sizes = op.Concat(op.shape(dy, end=2), [rows * stride], axis=0)
    total = op.ConstantOfShape(sizes, value=zero)
    corner = op.expand_like(corner, dy)
    lower = op.Mul(dy, row_share)
    upper = op.Sub(dy, lower)
    for share, offset in ((upper, 0), (lower, stride)):
        right = op.Mul(share, column_share)
        for update, step in ((op.Sub(share, right), offset), (right, offset + 1)):
            places = op.Add(corner, np.int32(step)) if step else corner
            total = op.ScatterElements(total, places, update, axis=2, reduction="add")
    return total
