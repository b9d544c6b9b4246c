"""Normalization. GroupNormalization, RMSNormalization and MeanVarianceNormalization are lowered
to their bodies.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("BatchNormalization", harmless=("momentum",))
def batch_normalization(
    op: Emitter, dy: Value, y: Value, x: Value,
    scale: Value, b: Value, mean: Value, var: Value, *, epsilon: float, training_mode: int,
) -> Cotangents:  # fmt: skip
    """dx = dy · scale / √(var + ε), a normalization of dy around zero; so is dmean, but for a sign

    In training, y = scale · x̂ + b over everything but the channels.
    """
    over = [0, *range(2, x.rank)]
    if training_mode:
        dx, normalized = _normalization(op, dy, x, _per_channel(op, scale, x), over, epsilon)
        dmean, dvar = op.zeros_like(mean), op.zeros_like(var)
    else:
        zeros, ones = op.zeros_like(mean), op.Add(op.zeros_like(mean), 1.0)
        dx = op.BatchNormalization(dy, scale, zeros, zeros, var, epsilon=epsilon)
        normalized = op.BatchNormalization(x, ones, zeros, mean, var, epsilon=epsilon)
        dmean = op.Neg(_summed(op, dx, over))
        spread = op.Mul(op.Add(var, float(epsilon)), -2.0)
        dvar = op.Div(_summed(op, op.Mul(dx, op.Sub(x, _per_channel(op, mean, x))), over), spread)
    return dx, _summed(op, op.Mul(dy, normalized), over), _summed(op, dy, over), dmean, dvar


@rules.vjp("LayerNormalization", harmless=("stash_type",))
def layer_normalization(
    op: Emitter, dy: Value, y: Value, x: Value, scale: Value, b: Value | None = None,
    *, axis: int, epsilon: float,
) -> Cotangents:  # fmt: skip
    """y = scale · x̂ + b over the axes from `axis` on"""
    axes = list(range(axis % x.rank, x.rank))
    if x.dtype == np.float32 and scale.static_shape == (x.shape or ())[axes[0] :]:
        ones = op.const(np.ones(scale.static_shape, x.dtype))
        attributes = {"axis": axis, "epsilon": epsilon}
        normalized, _, inverse = op.emit("LayerNormalization", [x, ones], attributes, outputs=3)
        dx = _through(op, op.Mul(dy, scale), normalized, inverse, axes)
    else:
        dx, normalized = _normalization(op, dy, x, scale, axes, epsilon)
    return dx, op.Mul(dy, normalized), dy


@rules.vjp("InstanceNormalization")
def instance_normalization(
    op: Emitter, dy: Value, y: Value, x: Value, scale: Value, b: Value, *, epsilon: float
) -> Cotangents:
    """y = scale · x̂ + b over the spatial axes"""
    spatial = list(range(2, x.rank))
    dx, normalized = _normalization(op, dy, x, _per_channel(op, scale, x), spatial, epsilon)
    over = [0, *spatial]
    return dx, _summed(op, op.Mul(dy, normalized), over), _summed(op, dy, over)


@rules.vjp("LRN")
def lrn(
    op: Emitter, dy: Value, y: Value, x: Value, *, alpha: float, beta: float, bias: float, size: int
) -> Cotangents:
    """y = x / sᵝ, s = bias + α/n · window(x²): dx = dy / sᵝ − 2αβ/n · x · windowᵀ(dy y / s)"""
    channels = (x.shape or ())[1]
    if not isinstance(channels, int):
        raise Uncovered("a number of channels known only at run time")
    offset = np.arange(channels)[None, :] - np.arange(channels)[:, None]
    near = (-((size - 1) // 2) <= offset) & (offset <= size // 2)
    window = near.astype(x.dtype)
    maps, dmaps, results = (op.Reshape(v, [0, channels, -1]) for v in (x, dy, y))
    squares = op.MatMul(window, op.Mul(maps, maps))
    s = op.Add(op.Mul(squares, float(alpha / size)), float(bias))
    pulled = op.MatMul(window.T.copy(), op.Div(op.Mul(dmaps, results), s))
    own = op.Mul(dmaps, op.Pow(s, float(-beta)))
    crossed = op.Mul(op.Mul(maps, pulled), float(2 * alpha * beta / size))
    return (op.reshape_like(op.Sub(own, crossed), x),)


@rules.vjp("LpNormalization")
def lp_normalization(
    op: Emitter, dy: Value, y: Value, x: Value, *, axis: int, p: int
) -> Cotangents:
    """y = x / ‖x‖, so dx = (dy − d‖x‖ · Σ dy · y) / ‖x‖; 0 where the norm is"""
    size, slope = (
        (op.ReduceL1(x, [axis], keepdims=1), op.Sign(x))
        if p == 1
        else (op.ReduceL2(x, [axis], keepdims=1), y)
    )
    along = op.ReduceSum(op.Mul(dy, y), [axis], keepdims=1)
    present = op.Cast(op.Greater(size, 0.0), to=dy.elem_type)
    safe = op.Add(size, op.Sub(1.0, present))
    return (op.Mul(op.Div(op.Sub(dy, op.Mul(slope, along)), safe), present),)


def _normalization(
    op: Emitter, dy: Value, x: Value, scale: Value, axes: Sequence[int], epsilon: float
) -> tuple[Value, Value]:
    """dx and x̂ for y = scale · x̂: dx = (g − mean(g) − x̂ · mean(g · x̂)) / σ with g = scale · dy"""
    centred = op.Sub(x, op.ReduceMean(x, list(axes), keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), list(axes), keepdims=1)
    inverse = op.Reciprocal(op.Sqrt(op.Add(variance, float(epsilon))))
    normalized = op.Mul(centred, inverse)
    return _through(op, op.Mul(dy, scale), normalized, inverse, axes), normalized


def _through(
    op: Emitter, g: Value, normalized: Value, inverse: Value, axes: Sequence[int]
) -> Value:
    """(g − mean(g) − x̂ · mean(g · x̂)) / σ"""
    mean = op.ReduceMean(g, list(axes), keepdims=1)
    along = op.ReduceMean(op.Mul(g, normalized), list(axes), keepdims=1)
    return op.Mul(inverse, op.Sub(op.Sub(g, mean), op.Mul(normalized, along)))


def _per_channel(op: Emitter, values: Value, like: Value) -> Value:
    """One value for each channel of `like`, `[1, C, 1, …]`."""
    return op.Reshape(values, [1, -1, *[1] * (like.rank - 2)])


def _summed(op: Emitter, value: Value, over: list[int]) -> Value:
    return op.ReduceSum(value, over, keepdims=0)
