"""Sampling of pictures at computed places, said by products and by GridSample."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Ints = Sequence[int]

_LINEAR_IS_NEW = 20
"""The opset that calls GridSample's bilinear mode linear."""


@lowerings.form("RoiAlign")
def roi_align(
    op: Emitter, x: Value, rois: Value, batch_indices: Value,
    *, coordinate_transformation_mode: str = "output_half_pixel", mode: str, output_height: int,
    output_width: int, sampling_ratio: int, spatial_scale: float,
) -> Results:  # fmt: skip
    """y = A x Bᵀ for each region, A and B bilinear interpolation at its rows and its columns"""
    if mode != "avg" or not sampling_ratio:
        raise Uncovered(f"mode={mode!r} with sampling_ratio={sampling_ratio}")
    centred = coordinate_transformation_mode == "half_pixel"
    edges = op.Sub(op.Mul(rois, float(spatial_scale)), 0.5 if centred else 0.0)
    left, top, right, bottom = op.emit("Split", [edges, [1] * 4], {"axis": 1}, outputs=4)
    rows, columns = (
        _interpolation(op, x, axis, start, end, count, sampling_ratio, at_least_one=not centred)
        for axis, start, end, count in (
            (2, top, bottom, output_height), (3, left, right, output_width),
        )
    )  # fmt: skip
    chosen = op.Gather(x, batch_indices, axis=0)
    return op.MatMul(op.MatMul(rows, chosen), op.Transpose(columns, perm=[0, 1, 3, 2]))


def _interpolation(
    op: Emitter, x: Value, axis: int, start: Value, end: Value, count: int, samples: int,
    *, at_least_one: bool,
) -> Value:  # fmt: skip
    """The shares of an axis' elements in each bin of each region, `[regions, 1, count, size]`."""
    size = (x.shape or ())[axis]
    if not isinstance(size, int):
        raise Uncovered("an image whose size is known only at run time")
    span = op.Sub(end, start)
    if at_least_one:
        span = op.Max(span, 1.0)
    steps = (np.arange(count * samples) + 0.5) / (count * samples)
    places = op.Add(start, op.Mul(span, op.const(steps[None, :], x.dtype)))
    inside = op.And(op.GreaterOrEqual(places, -1.0), op.LessOrEqual(places, float(size)))
    clipped = op.Unsqueeze(op.Clip(places, 0.0, float(size - 1)), [2])
    distances = op.Abs(op.Sub(clipped, op.const(np.arange(size), x.dtype)))
    shares = op.Relu(op.Sub(1.0, distances))
    kept = op.Mul(shares, op.Unsqueeze(op.Cast(inside, to=x.elem_type), [2]))
    bins = op.Reshape(kept, [0, count, samples, size])
    return op.Unsqueeze(op.ReduceMean(bins, [2], keepdims=0), [1])


@lowerings.form("DeformConv", harmless=("kernel_shape",))
def deform_conv(
    op: Emitter, x: Value, w: Value, offset: Value, b: Value | None = None,
    mask: Value | None = None, *, dilations: Ints | None = None, group: int,
    offset_group: int, pads: Ints | None = None, strides: Ints | None = None,
) -> Results:  # fmt: skip
    """y = w times what is read at the taps of each window, each tap moved by its offset"""
    sizes = [*(x.shape or ())[1:], *(w.shape or ())[2:], *(offset.shape or ())[2:]]
    if len(sizes) != 7 or not all(isinstance(size, int) for size in sizes):
        raise Uncovered("sizes known only at run time, or other than two dimensions")
    channels, height, width, *taps, rows, columns = (int(size) for size in sizes)
    if min(height, width) < 2:
        raise Uncovered("an image of one row or column")
    grids = _places(op, offset, (height, width), taps, (rows, columns), offset_group,
                    (pads or [0, 0])[:2], strides or [1, 1], dilations or [1, 1])  # fmt: skip
    count, each = taps[0] * taps[1], channels // offset_group
    parts = op.emit("Split", [x, [each] * offset_group], {"axis": 1}, outputs=offset_group)
    linear = "linear" if op.graph.opset >= _LINEAR_IS_NEW else "bilinear"
    read = op.Concat(
        *(
            op.Reshape(
                op.GridSample(part, grid, mode=linear, align_corners=1),
                [0, 1, each, count, rows, columns],
            )
            for part, grid in zip(parts, grids, strict=True)
        ),
        axis=1,
    )
    if mask is not None:
        read = op.Mul(read, op.Reshape(mask, [0, offset_group, 1, count, rows, columns]))
    image = op.Reshape(read, [0, channels * count, rows, columns])
    kernel = op.Reshape(w, [0, channels // group * count, 1, 1])
    return op.Conv(image, kernel, b, group=group)


def _places(
    op: Emitter, offset: Value, sizes: Ints, taps: Ints, windows: Ints, groups: int, pads: Ints,
    strides: Ints, dilations: Ints,
) -> tuple[Value, ...]:  # fmt: skip
    """Where the taps read, for GridSample: a grid `[N, taps · rows, columns, 2]` for each group."""
    starts = [
        (np.arange(n)[:, None] * d + np.arange(m) * s - p).astype(offset.dtype)
        for n, d, m, s, p in zip(taps, dilations, windows, strides, pads, strict=True)
    ]
    down = np.broadcast_to(starts[0][:, None, :, None], (*taps, *windows))
    right = np.broadcast_to(starts[1][None, :, None, :], (*taps, *windows))
    places = np.stack([down, right], axis=2).reshape(1, 1, -1, 2, *windows)
    moved = op.Add(op.Reshape(offset, [0, groups, places.shape[2], 2, *windows]), places)
    scale = np.array([2 / (size - 1) for size in sizes], offset.dtype).reshape(1, 1, 1, 2, 1, 1)
    coordinates = op.Sub(op.Mul(moved, scale), 1.0)
    columns_first = op.Gather(op.Transpose(coordinates, perm=[0, 1, 2, 4, 5, 3]), [1, 0], axis=5)
    grids = op.Reshape(columns_first, [0, groups, places.shape[2] * windows[0], windows[1], 2])
    apart = op.emit("Split", [grids, [1] * groups], {"axis": 1}, outputs=groups)
    return tuple(op.Squeeze(grid, [1]) for grid in apart)
