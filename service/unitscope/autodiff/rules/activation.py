"""Activation functions."""

from __future__ import annotations

import math

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.autodiff.rules.elementwise import where
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

_TANH_SCALE = math.sqrt(2 / math.pi)
_TANH_CUBIC = 0.044715
_SELU_ALPHA, _SELU_GAMMA = 1.67326319217681884765625, 1.05070102214813232421875


@rules.vjp("Relu")
def relu(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy where y > 0"""
    return (op.Mul(dy, positive(op, y)),)


@rules.vjp("LeakyRelu")
def leaky_relu(op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float) -> Cotangents:
    """dx = dy where x > 0, else α dy"""
    return (op.Mul(dy, op.Add(op.Mul(where(op, op.Greater(x, 0.0), dy), 1 - alpha), alpha)),)


@rules.vjp("PRelu")
def prelu(op: Emitter, dy: Value, y: Value, x: Value, slope: Value) -> Cotangents:
    """dx = dy where x ≥ 0, else slope · dy; d slope = x · dy where x < 0"""
    below = where(op, op.Less(x, 0.0), dy)
    dx = op.Mul(dy, op.Add(op.Mul(below, op.Sub(slope, 1.0)), 1.0))
    return dx, op.Mul(dy, op.Mul(below, x))


@rules.vjp("ThresholdedRelu")
def thresholded_relu(op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float) -> Cotangents:
    """dx = dy where x > α"""
    return (where(op, op.Greater(x, alpha), dy, times=dy),)


@rules.vjp("Shrink", harmless=("bias",))
def shrink(op: Emitter, dy: Value, y: Value, x: Value, *, lambd: float) -> Cotangents:
    """dx = dy where |x| > λ"""
    return (where(op, op.Greater(op.Abs(x), lambd), dy, times=dy),)


@rules.vjp("Clip")
def clip(
    op: Emitter, dy: Value, y: Value, x: Value, low: Value | None = None, high: Value | None = None
) -> Cotangents:
    """dx = dy where x is between the bounds, which is where y = x; a bound has the rest of dy

    ReLU6 has a form of its own that keeps ONNX Runtime's blocked layout; at a bound it is 0.
    """
    ceiling = _scalar(high)
    if _scalar(low) == 0 and ceiling is not None and ceiling > 0:
        return (op.Mul(dy, _between(op, y, ceiling)),)
    below = x if low is None else op.Max(x, low)
    cut = op.Greater(below, y)
    dhigh = where(op, cut, dy, times=dy)
    dlow = where(op, op.And(op.Greater(below, x), op.Not(cut)), dy, times=dy)
    dx = where(op, op.Equal(x, y), dy, times=dy)
    return dx, *(op.ReduceSum(bound, keepdims=0) for bound in (dlow, dhigh))


@rules.vjp("Elu")
def elu(op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float) -> Cotangents:
    """dx = dy where x > 0, else (y + α) dy"""
    return (_bent(op, dy, x, 1.0, op.Add(y, alpha)),)


@rules.vjp("Selu")
def selu(
    op: Emitter, dy: Value, y: Value, x: Value,
    *, alpha: float = _SELU_ALPHA, gamma: float = _SELU_GAMMA,
) -> Cotangents:  # fmt: skip
    """dx = γ dy where x > 0, else (y + γ α) dy"""
    return (_bent(op, dy, x, gamma, op.Add(y, gamma * alpha)),)


@rules.vjp("Celu")
def celu(op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float) -> Cotangents:
    """dx = dy where x > 0, else (y / α + 1) dy"""
    return (_bent(op, dy, x, 1.0, op.Add(op.Div(y, alpha), 1.0)),)


@rules.vjp("Sigmoid")
def sigmoid(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · y · (1 − y)"""
    return (op.Mul(dy, op.Mul(y, op.Sub(1.0, y))),)


@rules.vjp("Tanh")
def tanh(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · (1 − y²)"""
    return (op.Mul(dy, op.Sub(1.0, op.Mul(y, y))),)


@rules.vjp("Softplus")
def softplus(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · σ(x)"""
    return (op.Mul(dy, op.Sigmoid(x)),)


@rules.vjp("Softsign")
def softsign(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / (1 + |x|)²"""
    return (op.Div(dy, op.Pow(op.Add(op.Abs(x), 1.0), 2.0)),)


@rules.vjp("HardSigmoid")
def hard_sigmoid(
    op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float, beta: float
) -> Cotangents:
    """dx = α dy where 0 < y < 1"""
    return (op.Mul(dy, op.Mul(_inside(op, y), alpha)),)


@rules.vjp("HardSwish")
def hard_swish(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """y = x · s(x) with s = HardSigmoid(x, 1/6, 1/2), so dx = dy · (s + x / 6 where 0 < s < 1)"""
    s = op.HardSigmoid(x, alpha=1 / 6, beta=0.5)
    return (op.Mul(dy, op.Add(s, op.Mul(_inside(op, s), op.Mul(x, 1 / 6)))),)


@rules.vjp("Gelu")
def gelu(op: Emitter, dy: Value, y: Value, x: Value, *, approximate: str) -> Cotangents:
    """dx = dy · (Φ(x) + x Φ'(x)), Φ the normal distribution or its approximation by tanh"""
    if approximate == "tanh":
        square = op.Mul(x, x)
        u = op.Mul(op.Mul(x, op.Add(op.Mul(square, _TANH_CUBIC), 1.0)), _TANH_SCALE)
        du = op.Mul(op.Add(op.Mul(square, 3 * _TANH_CUBIC), 1.0), _TANH_SCALE)
        t = op.Tanh(u)
        slope = op.Mul(op.Mul(op.Sub(1.0, op.Mul(t, t)), du), 0.5)
        cumulative = op.Mul(op.Add(t, 1.0), 0.5)
    else:
        u = op.Mul(x, math.sqrt(0.5))
        cumulative = op.HardSigmoid(op.Erf(u), alpha=0.5, beta=0.5)  # in one pass over memory
        scaled = op.Mul(u, 1 / math.sqrt(math.pi))
        return (op.Mul(dy, op.Add(cumulative, op.Div(scaled, op.Exp(op.Mul(u, u))))),)
    return (op.Mul(dy, op.Add(cumulative, op.Mul(x, slope))),)


@rules.vjp("Mish")
def mish(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · (t + x σ(x) (1 − t²)), t = tanh(softplus(x))"""
    t = op.Tanh(op.Softplus(x))
    slope = op.Mul(op.Sigmoid(x), op.Sub(1.0, op.Mul(t, t)))
    return (op.Mul(dy, op.Add(t, op.Mul(x, slope))),)


@rules.vjp("Softmax")
def softmax(op: Emitter, dy: Value, y: Value, x: Value, *, axis: int) -> Cotangents:
    """dx = y · (dy − Σ dy · y), and 0 where nothing is left to choose from and the model says so"""
    if _is_replaced(op, y):
        y = op.Where(op.IsNaN(y), 0.0, y)
    return (op.Mul(y, op.Sub(dy, op.ReduceSum(op.Mul(dy, y), [axis], keepdims=1))),)


@rules.vjp("LogSoftmax")
def log_softmax(op: Emitter, dy: Value, y: Value, x: Value, *, axis: int) -> Cotangents:
    """dx = dy − eʸ · Σ dy"""
    return (op.Sub(dy, op.Mul(op.Exp(y), op.ReduceSum(dy, [axis], keepdims=1))),)


def _is_replaced(op: Emitter, y: Value) -> bool:
    """Whether a Where puts something else in the place of elements of `y`.

    Attention does so with rows of which everything is masked: Softmax makes them NaN.
    """
    same = {y}
    for node in op.graph.nodes:
        if any(x in same for x in node.inputs):
            if node.op_type == "Where":
                return True
            same.update(z for z in node.outputs if z and node.op_type in ("Cast", "Identity"))
    return False


def positive(op: Emitter, y: Value) -> Value:
    """1 where y > 0, else 0, for y ≥ 0.

    A steep HardSigmoid is exact down to denormals, and ONNX Runtime keeps it in its blocked
    convolution layout, where a comparison would force a reorder.
    """
    if y.dtype.itemsize < 4:
        return where(op, op.Greater(y, 0.0), y)
    return op.HardSigmoid(y, alpha=3e38, beta=0.0)


def _between(op: Emitter, y: Value, ceiling: float) -> Value:
    """1 where 0 < y < ceiling, else 0, for y in 0..ceiling"""
    if y.dtype.itemsize < 4:
        return where(op, op.And(op.Greater(y, 0.0), op.Less(y, ceiling)), y)
    headroom = op.HardSigmoid(y, alpha=-_reciprocal(ceiling), beta=1.0)
    return positive(op, op.Mul(y, headroom))


def _bent(op: Emitter, dy: Value, x: Value, above: float, below: Value) -> Value:
    """`above` · dy where x > 0, else `below` · dy"""
    up = where(op, op.Greater(x, 0.0), dy)
    return op.Mul(dy, op.Add(op.Mul(up, above), op.Mul(op.Sub(1.0, up), below)))


def _inside(op: Emitter, y: Value) -> Value:
    """1 where 0 < y < 1, else 0"""
    return where(op, op.And(op.Greater(y, 0.0), op.Less(y, 1.0)), y)


def _reciprocal(ceiling: float) -> float:
    """1 / ceiling, rounded up to a float32: times the ceiling it is never less than 1."""
    return float(np.nextafter(np.float32(1 / ceiling), np.float32(np.inf)))


def _scalar(bound: Value | None) -> float | None:
    """The content of a constant bound."""
    return None if bound is None or bound.const is None else float(bound.const.item())
