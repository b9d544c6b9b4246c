"""Gradients that pass where a unit is dead but would be woken: for the first steps of an ascent.

Where every ReLU on the way is off, the true gradient is zero and the image stays grey. Lucid
(`redirected_relu_grad`) lets through what would switch them on; so do these.
"""

from __future__ import annotations

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("Relu")
def relu(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy where y > 0 or dy > 0"""
    return (_pass(op, dy, op.Or(op.Greater(y, 0.0), op.Greater(dy, 0.0))),)


@rules.vjp("Clip")
def clip(
    op: Emitter, dy: Value, y: Value, x: Value, low: Value | None = None, high: Value | None = None
) -> Cotangents:
    """dx = dy where x is inside or dy pushes it there"""
    dx = dy
    if low is not None:
        dx = _pass(op, dx, op.Or(op.GreaterOrEqual(x, low), op.Greater(dy, 0.0)))
    if high is not None:
        dx = _pass(op, dx, op.Or(op.LessOrEqual(x, high), op.Less(dy, 0.0)))
    return (dx,)


def _pass(op: Emitter, dy: Value, where: Value) -> Value:
    return op.Mul(dy, op.Cast(where, to=dy.elem_type))
