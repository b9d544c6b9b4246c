"""Operators that run along an axis."""

from __future__ import annotations

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("CumSum")
def cumsum(
    op: Emitter, dy: Value, y: Value, x: Value, axis: Value, *, exclusive: int, reverse: int
) -> Cotangents:
    """dx = the cumulative sum of dy from the other end"""
    return (op.CumSum(dy, axis, exclusive=exclusive, reverse=1 - reverse),)


@rules.vjp("CumProd")
def cumprod(
    op: Emitter, dy: Value, y: Value, x: Value, axis: Value, *, exclusive: int, reverse: int
) -> Cotangents:
    """dxᵢ = Σ dyⱼ · (the product yⱼ without its factor xᵢ), over the yⱼ that have it"""
    if axis.const is None:
        raise Uncovered("an axis known only at run time")
    along = int(axis.const.item()) % x.rank
    length = (x.shape or ())[along]
    if not isinstance(length, int):
        raise Uncovered("a length known only at run time")
    own = np.eye(length, dtype=bool)
    has = np.tri(length, k=-exclusive, dtype=bool)  # yⱼ has the factor xᵢ: [j, i]
    has = has if reverse else has.T
    ones = [1] * (x.rank - along - 1)
    factors = op.Where(own.reshape(length, length, *ones), 1.0, op.Unsqueeze(x, [along]))
    others = op.CumProd(
        factors, op.const(along + 1, axis.dtype), exclusive=exclusive, reverse=reverse
    )
    parts = op.Mul(others, op.Unsqueeze(dy, [along]))
    kept = op.Mul(parts, has.reshape(length, length, *ones).astype(x.dtype))
    return (op.ReduceSum(kept, [along + 1], keepdims=0),)


@rules.vjp("ReverseSequence")
def reverse_sequence(
    op: Emitter, dy: Value, y: Value, x: Value, sequence_lens: Value,
    *, batch_axis: int, time_axis: int,
) -> Cotangents:  # fmt: skip
    """dx = dy, reversed again"""
    dx = op.ReverseSequence(dy, sequence_lens, batch_axis=batch_axis, time_axis=time_axis)
    return (dx,)


@rules.vjp("TensorScatter")
def tensor_scatter(
    op: Emitter, dy: Value, y: Value, past_cache: Value, update: Value,
    write_indices: Value | None = None, *, axis: int, mode: str,
) -> Cotangents:  # fmt: skip
    """dupdate = dy where it was written, dpast = dy elsewhere"""
    dpast = op.TensorScatter(dy, op.zeros_like(update), write_indices, axis=axis, mode=mode)
    along = axis % update.rank
    length, count = ((value.shape or ())[along] for value in (past_cache, update))
    if not isinstance(count, int) or not isinstance(length, int):
        raise Uncovered("a length known only at run time")
    steps = np.arange(count).reshape(-1, *[1] * (update.rank - along - 1))
    places = op.const(steps)
    if write_indices is not None:
        first = op.Reshape(write_indices, [-1, *[1] * (update.rank - 1)])
        places = op.Mod(op.Add(first, steps), np.int64(length))
    return dpast, op.GatherElements(dy, op.Expand(places, op.shape(update)), axis=along)
