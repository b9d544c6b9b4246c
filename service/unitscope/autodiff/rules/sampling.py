"""Sampling at computed places."""

from __future__ import annotations

from collections.abc import Iterator

from onnx import TensorProto

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.elementwise import where
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

_INT64 = int(TensorProto.INT64)


@rules.vjp("GridSample")
def grid_sample(
    op: Emitter, dy: Value, y: Value, x: Value, grid: Value,
    *, mode: str, padding_mode: str, align_corners: int,
) -> Cotangents:  # fmt: skip
    """dx = dy given to the four pixels around each place, by their weights"""
    if mode not in ("bilinear", "linear") or padding_mode == "reflection" or x.rank != 4:
        raise Uncovered(f"mode {mode}, padding {padding_mode}, {x.rank - 2} dimensions")
    height, width = (x.shape or ())[2:]
    if not isinstance(height, int) or not isinstance(width, int):
        raise Uncovered("an image whose size is known only at run time")
    columns, rows = op.emit("Split", [grid, [1, 1]], {"axis": 3}, outputs=2)
    clamped = padding_mode == "border"
    places, shares = [], []
    for row, row_weight in _neighbours(op, rows, height, align_corners, clamped=clamped):
        for column, column_weight in _neighbours(
            op, columns, width, align_corners, clamped=clamped
        ):
            places.append(op.Add(op.Mul(row, float(width)), column))
            shares.append(op.Mul(row_weight, column_weight))
    flat = op.Reshape(dy, [0, 0, -1])
    updates = op.Concat(*(op.Mul(flat, share) for share in shares), axis=2)
    index = op.Cast(op.Concat(*places, axis=2), to=_INT64)
    zeros = op.Reshape(op.zeros_like(x), [0, 0, -1])
    dx = op.ScatterElements(zeros, op.expand_like(index, updates), updates, axis=2, reduction="add")
    return (op.reshape_like(dx, x),)


def _neighbours(
    op: Emitter, coordinate: Value, size: int, align_corners: int, *, clamped: bool
) -> Iterator[tuple[Value, Value]]:
    """The two pixels beside each place on one axis, `[N, 1, places]`, and their weights.

    A pixel outside gets a valid index and no weight.
    """
    halves = (size - 1) / 2 if align_corners else size / 2
    place = op.Add(op.Mul(op.Reshape(coordinate, [0, 1, -1]), halves), (size - 1) / 2)
    if clamped:
        place = op.Clip(place, 0.0, float(size - 1))
    below = op.Floor(place)
    share = op.Sub(place, below)
    for pixel, weight in ((below, op.Sub(1.0, share)), (op.Add(below, 1.0), share)):
        inside = op.Clip(pixel, 0.0, float(size - 1))
        yield inside, where(op, op.Equal(inside, pixel), weight, times=weight)
