"""Operators that act on each element: arithmetic and activations."""

from __future__ import annotations

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

rules.zero("And", "Ceil", "Equal", "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less",
           "LessOrEqual", "Not", "Or", "Round", "Sign", "Xor")  # fmt: skip


@rules.vjp("Add")
def add(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy, db = dy"""
    return dy, dy


@rules.vjp("Mul")
def mul(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy · b, db = dy · a"""
    return op.Mul(dy, b), op.Mul(dy, a)


@rules.vjp("Div")
def div(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy / b, db = −dy · y / b"""
    return op.Div(dy, b), op.Neg(op.Div(op.Mul(dy, y), b))


@rules.vjp("Relu")
def relu(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy where y > 0"""
    return (op.Mul(dy, positive(op, y)),)


@rules.vjp("Clip")
def clip(op: Emitter, dy: Value, y: Value, x: Value, low: Value | None = None, high: Value | None = None) -> Cotangents:
    """dx = dy where low ≤ x ≤ high"""
    inside = dy
    if low is not None:
        inside = op.Mul(inside, op.Cast(op.GreaterOrEqual(x, low), to=dy.elem_type))
    if high is not None:
        inside = op.Mul(inside, op.Cast(op.LessOrEqual(x, high), to=dy.elem_type))
    return (inside,)


@rules.vjp("Sigmoid")
def sigmoid(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · y · (1 − y)"""
    return (op.Mul(dy, op.Mul(y, op.Sub(1.0, y))),)


@rules.vjp("HardSigmoid")
def hard_sigmoid(op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float, beta: float) -> Cotangents:
    """dx = α · dy where 0 < y < 1"""
    inside = op.And(op.Greater(y, 0.0), op.Less(y, 1.0))
    return (op.Mul(dy, op.Mul(op.Cast(inside, to=dy.elem_type), alpha)),)


def positive(op: Emitter, y: Value) -> Value:
    """1 where y > 0, else 0, for y ≥ 0.

    A steep HardSigmoid is exact down to denormals, and ONNX Runtime keeps it in its blocked
    convolution layout, where a comparison would force a reorder.
    """
    if y.dtype.itemsize < 4:
        return op.Cast(op.Greater(y, 0.0), to=y.elem_type)
    return op.HardSigmoid(y, alpha=3e38, beta=0.0)

