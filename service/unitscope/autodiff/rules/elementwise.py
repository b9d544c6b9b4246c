"""Arithmetic and the elementary functions: operators that act on each element."""

from __future__ import annotations

import math

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

rules.zero(
    "And", "BitShift", "BitwiseAnd", "BitwiseNot", "BitwiseOr", "BitwiseXor", "Ceil", "Equal",
    "Floor", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or",
    "Round", "Sign", "Xor",
)  # fmt: skip


@rules.vjp("Add")
def add(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy, db = dy"""
    return dy, dy


@rules.vjp("Sub")
def sub(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy, db = −dy"""
    return dy, op.Neg(dy)


@rules.vjp("Mul")
def mul(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy · b, db = dy · a"""
    return op.Mul(dy, b), op.Mul(dy, a)


@rules.vjp("Div")
def div(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy / b, db = −dy · y / b"""
    return op.Div(dy, b), op.Neg(op.Div(op.Mul(dy, y), b))


@rules.vjp("Sum")
def sum_(op: Emitter, dy: Value, y: Value, *xs: Value) -> Cotangents:
    """dxᵢ = dy"""
    return (dy,) * len(xs)


@rules.vjp("Mean")
def mean(op: Emitter, dy: Value, y: Value, *xs: Value) -> Cotangents:
    """dxᵢ = dy / n"""
    return (op.Mul(dy, 1.0 / len(xs)),) * len(xs)


@rules.vjp("Max", "Min")
def extreme(op: Emitter, dy: Value, y: Value, *xs: Value) -> Cotangents:
    """dxᵢ = dy where xᵢ = y, shared between ties"""
    chosen = [where(op, op.Equal(x, y), dy) for x in xs]
    share = op.Div(dy, op.Sum(*chosen))
    return tuple(op.Mul(share, mask) for mask in chosen)


@rules.vjp("Pow")
def power(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """da = dy · b · aᵇ⁻¹, db = dy · y · log a"""
    exponent = b if b.dtype == a.dtype else op.Cast(b, to=a.elem_type)
    below = op.Where(op.Equal(exponent, 0.0), 1.0, op.Sub(exponent, 1.0))  # 0 · 0⁻¹ is 0 here
    positive_base = op.Where(op.Greater(a, 0.0), a, 1.0)
    da = op.Mul(dy, op.Mul(exponent, op.Pow(a, below)))
    db = op.Mul(dy, op.Mul(y, op.Log(positive_base)))
    return da, db if b.dtype == a.dtype else op.Cast(db, to=b.elem_type)


@rules.vjp("Mod")
def mod(op: Emitter, dy: Value, y: Value, a: Value, b: Value, *, fmod: int) -> Cotangents:
    """y = a − b · q, q = a / b without its fraction, so da = dy, db = −dy · q"""
    ratio = op.Div(a, b)
    whole = op.Mul(op.Sign(ratio), op.Floor(op.Abs(ratio))) if fmod else op.Floor(ratio)
    finite = op.Where(op.Less(op.Abs(whole), math.inf), whole, 0.0)  # where y is a number
    return dy, op.Neg(op.Mul(dy, finite))


@rules.vjp("Neg")
def neg(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = −dy"""
    return (op.Neg(dy),)


@rules.vjp("Abs")
def absolute(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · sign x"""
    return (op.Mul(dy, op.Sign(x)),)


@rules.vjp("Reciprocal")
def reciprocal(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = −dy · y²"""
    return (op.Neg(op.Mul(dy, op.Mul(y, y))),)


@rules.vjp("Exp")
def exp(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · y"""
    return (op.Mul(dy, y),)


@rules.vjp("Log")
def log(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / x"""
    return (op.Div(dy, x),)


@rules.vjp("Sqrt")
def sqrt(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / 2y"""
    return (op.Div(dy, op.Mul(y, 2.0)),)


@rules.vjp("Erf")
def erf(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · 2/√π · e^(−x²)"""
    return (op.Mul(dy, op.Exp(op.Sub(math.log(2 / math.sqrt(math.pi)), op.Mul(x, x)))),)


@rules.vjp("Sin")
def sin(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · cos x"""
    return (op.Mul(dy, op.Cos(x)),)


@rules.vjp("Cos")
def cos(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = −dy · sin x"""
    return (op.Neg(op.Mul(dy, op.Sin(x))),)


@rules.vjp("Tan")
def tan(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · (1 + y²)"""
    return (op.Mul(dy, op.Add(op.Mul(y, y), 1.0)),)


@rules.vjp("Asin")
def asin(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / √(1 − x²)"""
    return (op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x)))),)


@rules.vjp("Acos")
def acos(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = −dy / √(1 − x²)"""
    return (op.Neg(op.Div(dy, op.Sqrt(op.Sub(1.0, op.Mul(x, x))))),)


@rules.vjp("Atan")
def atan(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / (1 + x²)"""
    return (op.Div(dy, op.Add(op.Mul(x, x), 1.0)),)


@rules.vjp("Sinh")
def sinh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · cosh x"""
    return (op.Mul(dy, op.Cosh(x)),)


@rules.vjp("Cosh")
def cosh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · sinh x"""
    return (op.Mul(dy, op.Sinh(x)),)


@rules.vjp("Asinh")
def asinh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / √(x² + 1)"""
    return (op.Div(dy, op.Sqrt(op.Add(op.Mul(x, x), 1.0))),)


@rules.vjp("Acosh")
def acosh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / √(x² − 1)"""
    return (op.Div(dy, op.Sqrt(op.Sub(op.Mul(x, x), 1.0))),)


@rules.vjp("Atanh")
def atanh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / (1 − x²)"""
    return (op.Div(dy, op.Sub(1.0, op.Mul(x, x))),)


@rules.vjp("Where")
def where_(op: Emitter, dy: Value, y: Value, condition: Value, a: Value, b: Value) -> Cotangents:
    """da = dy where the condition holds, db = dy elsewhere"""
    return None, where(op, condition, dy, times=dy), where(op, op.Not(condition), dy, times=dy)


@rules.vjp("Cast", harmless=("to", "saturate", "round_mode"))
def cast(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy in the type of x"""
    if min(x.dtype.itemsize, y.dtype.itemsize) < 2:
        raise Uncovered("floats of 8 bits or fewer")
    return (op.Cast(dy, to=x.elem_type),)


@rules.vjp("CastLike", harmless=("saturate", "round_mode"))
def cast_like(op: Emitter, dy: Value, y: Value, x: Value, target: Value) -> Cotangents:
    """dx = dy in the type of x, d target = 0"""
    if min(x.dtype.itemsize, y.dtype.itemsize) < 2:
        raise Uncovered("floats of 8 bits or fewer")
    return op.Cast(dy, to=x.elem_type), op.zeros_like(target)


@rules.vjp("Dropout", harmless=("seed",))
def dropout(
    op: Emitter, dy: Value, y: Value, x: Value,
    ratio: Value | None = None, training_mode: Value | None = None,
) -> Cotangents:  # fmt: skip
    """dx = dy at inference"""
    if training_mode is not None and (training_mode.const is None or training_mode.const.any()):
        raise Uncovered("training mode")
    return dy, None if ratio is None else op.zeros_like(ratio)


def where(op: Emitter, condition: Value, like: Value, *, times: Value | None = None) -> Value:
    """1 where the condition holds, else 0, in the type of `like`; or `times` and 0.

    On CPUs a product with a cast mask is several times faster than ONNX Runtime's Where.
    """
    mask = op.Cast(condition, to=like.elem_type)
    return mask if times is None else op.Mul(times, mask)
