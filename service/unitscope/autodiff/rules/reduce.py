"""Reductions."""

from __future__ import annotations

from collections.abc import Sequence

from onnx import TensorProto

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.elementwise import where
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

rules.zero("ArgMax", "ArgMin", "Hardmax", "NonZero")


@rules.vjp("ReduceSum")
def reduce_sum(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy, repeated"""
    over = _axes(x, axes, noop_with_empty_axes)
    return (op.expand_like(_kept(op, dy, over, keepdims), x),)


@rules.vjp("ReduceMean")
def reduce_mean(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy / n, repeated"""
    over = _axes(x, axes, noop_with_empty_axes)
    share = op.Mul(_kept(op, dy, over, keepdims), part(op, x, over))
    return (op.expand_like(share, x),)


@rules.vjp("ReduceMax", "ReduceMin")
def reduce_extreme(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy where x = y, shared between ties"""
    over = _axes(x, axes, noop_with_empty_axes)
    chosen = where(op, op.Equal(x, _kept(op, y, over, keepdims)), dy)
    share = op.Div(_kept(op, dy, over, keepdims), _summed(op, chosen, over))
    return (op.Mul(chosen, share),)


@rules.vjp("ReduceProd")
def reduce_prod(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy · (product of the others): y / x, and where x is the only zero, that of the rest"""
    over = _axes(x, axes, noop_with_empty_axes)
    zero = where(op, op.Equal(x, 0.0), dy)
    filled = op.Add(x, zero)
    rest = op.ReduceProd(filled, over, keepdims=1, noop_with_empty_axes=1)
    other_zeros = op.Sub(_summed(op, zero, over), zero)
    alone = where(op, op.Equal(other_zeros, 0.0), dy)
    others = op.Mul(op.Div(rest, filled), alone)
    return (op.Mul(_kept(op, dy, over, keepdims), others),)


@rules.vjp("ReduceL1")
def reduce_l1(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy · sign x"""
    return (op.Mul(op.Sign(x), _kept(op, dy, _axes(x, axes, noop_with_empty_axes), keepdims)),)


@rules.vjp("ReduceL2")
def reduce_l2(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy · x / y, and 0 where y is"""
    over = _axes(x, axes, noop_with_empty_axes)
    safe = op.Add(y, where(op, op.Equal(y, 0.0), y))
    return (op.Mul(x, _kept(op, op.Div(dy, safe), over, keepdims)),)


@rules.vjp("ReduceLogSum")
def reduce_log_sum(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy / eʸ, repeated"""
    over = _axes(x, axes, noop_with_empty_axes)
    return (op.expand_like(_kept(op, op.Div(dy, op.Exp(y)), over, keepdims), x),)


@rules.vjp("ReduceLogSumExp")
def reduce_log_sum_exp(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = dy · eˣ⁻ʸ"""
    over = _axes(x, axes, noop_with_empty_axes)
    share = op.Exp(op.Sub(x, _kept(op, y, over, keepdims)))
    return (op.Mul(_kept(op, dy, over, keepdims), share),)


@rules.vjp("ReduceSumSquare")
def reduce_sum_square(
    op: Emitter, dy: Value, y: Value, x: Value, axes: Value | None = None,
    *, keepdims: int, noop_with_empty_axes: int,
) -> Cotangents:  # fmt: skip
    """dx = 2 dy · x"""
    over = _axes(x, axes, noop_with_empty_axes)
    return (op.Mul(op.Mul(x, 2.0), _kept(op, dy, over, keepdims)),)


def _axes(x: Value, axes: Value | None, noop_with_empty_axes: int) -> list[int]:
    """The reduced axes, counted from 0; none may mean all or nothing."""
    if axes is not None and axes.const is None:
        raise Uncovered("axes known only at run time")
    given = [] if axes is None or axes.const is None else axes.const.ravel().tolist()
    if not given and not noop_with_empty_axes:
        return list(range(x.rank))
    return sorted(int(axis) % x.rank for axis in given)


def _kept(op: Emitter, value: Value, over: list[int], keepdims: int) -> Value:
    """A reduced value with its reduced axes as axes of size 1."""
    return value if keepdims or not over else op.Unsqueeze(value, over)


def _summed(op: Emitter, value: Value, over: list[int]) -> Value:
    return op.ReduceSum(value, over, keepdims=1, noop_with_empty_axes=1)


def part(op: Emitter, x: Value, over: Sequence[int]) -> Value:
    """1 / the number of elements in the axes `over`: float16 holds it, but not the number."""
    sizes = [op.shape(x, axis, axis + 1) for axis in over]
    if not sizes:
        return op.const(1, x.dtype)
    count = op.ReduceProd(op.Concat(*sizes, axis=0), keepdims=0)
    return op.Cast(op.Reciprocal(op.Cast(count, to=TensorProto.DOUBLE)), to=x.elem_type)
