"""What keeps a picture plain: penalties are subtracted from the score, constraints follow a step.

A strength is a row of the program; 0 switches a regularizer off for that row.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unitscope.ascent.blur import emit_blur
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Penalty = Callable[[Emitter, Value], Value]
"""Emits a number per row `[N]` from a picture `[N, C, H, W]`, mid-grey at 0, black at −½."""

Constraint = Callable[[Emitter, Value, Value, Value], Value]
"""Emits pixels `[N, C, H, W]`, mid-grey at 0, from those after the step, the gradient, and the
strength `[N, 1, 1, 1]`."""

PENALTIES: Registry[Penalty] = Registry("penalty")
CONSTRAINTS: Registry[Constraint] = Registry("constraint")

_BLUR_REACH = 8
"""Pixels from the middle to the end of a blur's kernel."""
_SHARP = 1e-3
"""So small a variance leaves every pixel alone."""
_BORDER = 0.1
_SMALLEST = 1e-12


# Penalties


def _sum(op: Emitter, value: Value) -> Value:
    return op.ReduceSum(value, list(range(1, value.rank)), keepdims=0)


def _l1(op: Emitter, picture: Value) -> Value:
    """Σ |x|"""
    return _sum(op, op.Abs(picture))


def _l2(op: Emitter, picture: Value) -> Value:
    """Σ x² (Simonyan et al. 2013)"""
    return _sum(op, op.Mul(picture, picture))


def _l6(op: Emitter, picture: Value) -> Value:
    """Σ x⁶: indifferent to what lies within, firm at the bounds (Mahendran and Vedaldi 2015)"""
    square = op.Mul(picture, picture)
    return _sum(op, op.Mul(op.Mul(square, square), square))


def _total_variation(op: Emitter, picture: Value) -> Value:
    """Σ √(Δx² + Δy²) over neighbouring pixels (Mahendran and Vedaldi 2015)"""
    far = np.iinfo(np.int64).max
    corner = op.Slice(picture, [0, 0], [-1, -1], [2, 3])
    across = op.Sub(op.Slice(picture, [0, 1], [-1, far], [2, 3]), corner)
    down = op.Sub(op.Slice(picture, [1, 0], [far, -1], [2, 3]), corner)
    squares = op.Add(op.Mul(across, across), op.Mul(down, down))
    return _sum(op, op.Sqrt(op.Add(squares, _SMALLEST)))


def _boundary(op: Emitter, picture: Value) -> Value:
    """Σ x² over the outer tenth of the picture on each side"""
    height, width = (int(dim) for dim in (picture.shape or ())[2:])
    inner = np.zeros((height, width), np.float32)
    top, left = (max(round(_BORDER * size), 1) for size in (height, width))
    inner[top : height - top, left : width - left] = 1.0
    return _l2(op, op.Mul(picture, op.const(1 - inner, np.float32)))


PENALTIES.add("l1", _l1)
PENALTIES.add("l2", _l2)
PENALTIES.add("l6", _l6)
PENALTIES.add("total_variation", _total_variation)
PENALTIES.add("boundary", _boundary)


# Constraints


def _decay(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """x · (1 − strength) (Yosinski et al. 2015)"""
    return op.Mul(pixels, op.Sub(1.0, strength))


def _blur(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """Gaussian of a standard deviation of `strength` pixels (Yosinski et al. 2015)"""
    squares = np.arange(-_BLUR_REACH, _BLUR_REACH + 1, dtype=np.float32)[None] ** 2
    deviation = op.Reshape(strength, [-1, 1])
    variance = op.Max(op.Mul(deviation, deviation), _SHARP)
    weights = op.Exp(op.Div(op.const(-squares / 2, np.float32), variance))
    return emit_blur(op, pixels, op.Div(weights, op.ReduceSum(weights, [1], keepdims=1)))


def _norm(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """x · strength / rms(x), if strength > 0: onto a sphere (Erhan et al. 2009)"""
    mean = op.ReduceMean(op.Mul(pixels, pixels), [1, 2, 3], keepdims=1)
    factor = op.Div(strength, op.Sqrt(op.Add(mean, _SMALLEST)))
    return op.Where(op.Greater(strength, 0.0), op.Mul(pixels, factor), pixels)


def _range(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """x within black and white, if strength > 0"""
    return op.Where(op.Greater(strength, 0.0), op.Clip(pixels, -0.5, 0.5), pixels)


def _small_norm(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """The share `strength` of the pixels whose colours are nearest to grey becomes grey
    (Yosinski et al. 2015)
    """
    norms = op.ReduceSum(op.Mul(pixels, pixels), [1], keepdims=1)
    return _without_least(op, pixels, norms, strength)


def _small_contribution(op: Emitter, pixels: Value, gradient: Value, strength: Value) -> Value:
    """The share `strength` of the pixels that the activation owes least to becomes grey: owed is
    |Σ x · g| over the channels, to first order (Yosinski et al. 2015)
    """
    owed = op.Abs(op.ReduceSum(op.Mul(pixels, gradient), [1], keepdims=1))
    return _without_least(op, pixels, owed, strength)


def _without_least(op: Emitter, pixels: Value, merit: Value, strength: Value) -> Value:
    """Pixels `[N, C, H, W]` with the share `strength` that has the least `merit` `[N, 1, H, W]`
    at 0.
    """
    rows, _, height, width = (int(dim) for dim in merit.shape or ())
    count = height * width
    flat = op.Reshape(merit, [rows, count])
    ranked, _ = op.emit("TopK", [flat, [count]], {"axis": 1, "largest": 0}, outputs=2)
    place = op.Floor(op.Mul(op.Reshape(strength, [rows, 1]), float(count)))
    index = op.Cast(op.Clip(op.Sub(place, 1.0), 0.0, float(count - 1)), to=7)
    least = op.Reshape(op.GatherElements(ranked, index, axis=1), [rows, 1, 1, 1])
    spared = op.Or(op.Greater(merit, least), op.Not(op.Greater(strength, 0.0)))
    return op.Mul(pixels, op.Cast(spared, to=1))


CONSTRAINTS.add("decay", _decay)
CONSTRAINTS.add("blur", _blur)
CONSTRAINTS.add("norm", _norm)
CONSTRAINTS.add("range", _range)
CONSTRAINTS.add("small_norm", _small_norm)
CONSTRAINTS.add("small_contribution", _small_contribution)
