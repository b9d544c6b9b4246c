"""Operators that pick elements by index, and those that put them back."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.elementwise import where
from unitscope.autodiff.rules.windows import pad_along
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Dim, Value

rules = Rules()


@rules.vjp("Gather")
def gather(
    op: Emitter, dy: Value, y: Value, data: Value, indices: Value, *, axis: int
) -> Cotangents:
    """ddata = dy added up at `indices` along `axis`; between zeros if these are a range"""
    axis %= data.rank
    run = _run(indices, (data.shape or ())[axis])
    if run is not None:
        begin, end = run
        block = op.Unsqueeze(dy, [axis]) if indices.rank == 0 else dy
        return (pad_along(op, block, axis, [begin], [end]),)
    before, after = op.shape(data, end=axis), op.shape(data, start=axis + 1)
    rows = op.Reshape(dy, op.Concat(before, [-1], after, axis=0))
    along = op.Reshape(indices, [-1, *[1] * (data.rank - axis - 1)])
    places = op.expand_like(along, rows)
    return (op.ScatterElements(op.zeros_like(data), places, rows, axis=axis, reduction="add"),)


def _run(indices: Value, length: Dim) -> tuple[int, int] | None:
    """How many elements lie before and after a constant range of indices; None for others."""
    places = indices.const
    if places is None or places.ndim > 1 or not places.size or not isinstance(length, int):
        return None
    begin = int(places.ravel()[0]) % length
    end = length - begin - places.size
    consecutive = np.array_equal(places.ravel() % length, np.arange(begin, begin + places.size))
    return (begin, end) if consecutive and end >= 0 else None


@rules.vjp("Compress")
def compress(
    op: Emitter, dy: Value, y: Value, x: Value, condition: Value, *, axis: int | None
) -> Cotangents:
    """dx = dy where the condition holds, zero elsewhere"""
    chosen = op.Reshape(op.NonZero(condition), [-1])
    return (_added_at(op, dy, chosen, x, axis),)


@rules.vjp("Unique")
def unique(
    op: Emitter,
    dy: Value,
    y: Value,
    x: Value,
    *,
    axis: int | None,
    sorted: int,  # noqa: A002
) -> Cotangents:
    """dx = dy at the first of equals"""
    _, first = op.emit("Unique", [x], {"axis": axis, "sorted": sorted}, outputs=2)
    return (_added_at(op, dy, first, x, axis),)


@rules.vjp("GatherElements")
def gather_elements(
    op: Emitter, dy: Value, y: Value, data: Value, indices: Value, *, axis: int
) -> Cotangents:
    """ddata = dy added up at `indices`"""
    return (op.ScatterElements(op.zeros_like(data), indices, dy, axis=axis, reduction="add"),)


@rules.vjp("GatherND")
def gather_nd(
    op: Emitter, dy: Value, y: Value, data: Value, indices: Value, *, batch_dims: int
) -> Cotangents:
    """ddata = dy added up at `indices`

    Not by ScatterND: ONNX Runtime's adds from several threads at once and loses some.
    """
    full = _with_batch_indices(op, indices, batch_dims)
    depth = (full.shape or ())[-1]
    if not isinstance(depth, int):
        raise Uncovered("indices whose length is known only at run time")
    width = op.ReduceProd(op.shape(data, start=depth), keepdims=1)
    rows = op.Reshape(dy, op.Concat([-1], width, axis=0))
    zeros = op.Reshape(op.zeros_like(data), op.Concat([-1], width, axis=0))
    places = op.expand_like(op.Reshape(_row_numbers(op, full, data), [-1, 1]), rows)
    dx = op.ScatterElements(zeros, places, rows, axis=0, reduction="add")
    return (op.reshape_like(dx, data),)


@rules.vjp("ScatterElements")
def scatter_elements(
    op: Emitter, dy: Value, y: Value, data: Value, indices: Value, updates: Value,
    *, axis: int, reduction: str,
) -> Cotangents:  # fmt: skip
    """dupdates = dy at `indices`; ddata = dy, but 0 where it was replaced

    Where they are multiplied or compared, `_reduced` says more.
    """

    def taken(value: Value) -> Value:
        return op.GatherElements(value, indices, axis=axis)

    def added(value: Value) -> Value:
        zeros = op.zeros_like(data)
        return op.ScatterElements(zeros, indices, value, axis=axis, reduction="add")

    if reduction in ("none", "add"):
        replaced = op.ScatterElements(dy, indices, op.zeros_like(updates), axis=axis)
        return (dy if reduction == "add" else replaced), None, taken(dy)
    return _reduced(op, dy, y, data, updates, reduction, taken, added)


@rules.vjp("ScatterND")
def scatter_nd(
    op: Emitter, dy: Value, y: Value, data: Value, indices: Value, updates: Value, *, reduction: str
) -> Cotangents:
    """dupdates = dy at `indices`; ddata = dy, but 0 where it was replaced

    Where they are multiplied or compared, `_reduced` says more.
    """

    def taken(value: Value) -> Value:
        return op.GatherND(value, indices)

    def added(value: Value) -> Value:
        return gather_nd(op, value, value, data, indices, batch_dims=0)[0]  # type: ignore[return-value]

    if reduction in ("none", "add"):
        replaced = op.ScatterND(dy, indices, op.zeros_like(updates))
        return (dy if reduction == "add" else replaced), None, taken(dy)
    return _reduced(op, dy, y, data, updates, reduction, taken, added)


@rules.vjp("TopK", several=True, harmless=("largest", "sorted"))
def top_k(
    op: Emitter, dys: Cotangents, ys: tuple[Value, Value], x: Value, k: Value, *, axis: int
) -> Cotangents:
    """dx = dy of the values, at their indices"""
    return (op.ScatterElements(op.zeros_like(x), ys[1], dys[0], axis=axis),)


def _added_at(op: Emitter, dy: Value, places: Value, x: Value, axis: int | None) -> Value:
    """The slices of `dy` along `axis` at `places` in zeros like `x`; its elements if it is None."""
    if axis is None:
        flat = op.Reshape(op.zeros_like(x), [-1])
        dx = op.ScatterElements(flat, places, op.Reshape(dy, [-1]), axis=0, reduction="add")
        return op.reshape_like(dx, x)
    along = op.Reshape(places, [-1, *[1] * (x.rank - axis % x.rank - 1)])
    rows = op.expand_like(along, dy)
    return op.ScatterElements(op.zeros_like(x), rows, dy, axis=axis, reduction="add")


def _reduced(
    op: Emitter, dy: Value, y: Value, data: Value, updates: Value, reduction: str,
    taken: Callable[[Value], Value], added: Callable[[Value], Value],
) -> Cotangents:  # fmt: skip
    """mul: dy · y over the factor; max and min: dy where y is the one, shared between ties

    `taken` reads a tensor like the data at the indices, `added` is its transpose.
    """
    if reduction == "mul":
        share = op.Mul(dy, y)
        return op.Div(share, data), None, op.Div(taken(share), updates)
    own = where(op, op.Equal(data, y), dy)
    theirs = where(op, op.Equal(updates, taken(y)), dy)
    share = op.Div(dy, op.Add(own, added(theirs)))
    return op.Mul(own, share), None, op.Mul(theirs, taken(share))


def _with_batch_indices(op: Emitter, indices: Value, batch_dims: int) -> Value:
    """`indices` with their own position along the batch axes in front."""
    if not batch_dims:
        return indices
    sizes = indices.static_shape
    if sizes is None:
        raise Uncovered("batch_dims over sizes known only at run time")
    own = np.stack(np.meshgrid(*(np.arange(n) for n in sizes[:-1]), indexing="ij"), axis=-1)
    return op.Concat(own[..., :batch_dims], indices, axis=-1)


def _row_numbers(op: Emitter, indices: Value, data: Value) -> Value:
    """Where `indices` `[..., k]` point in `data` with its first k axes laid out as one."""
    depth = int((indices.shape or ())[-1])
    sizes = op.shape(data, end=depth)
    steps = [
        op.ReduceProd(op.shape(data, start=k + 1, end=depth), keepdims=1) for k in range(depth)
    ]
    counted = op.Where(op.Less(indices, np.int64(0)), op.Add(indices, sizes), indices)
    return op.ReduceSum(op.Mul(counted, op.Concat(*steps, axis=0)), [-1], keepdims=0)
