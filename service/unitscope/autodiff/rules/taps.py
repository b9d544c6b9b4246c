"""The elements that sampling at a place reads, and their shares in what it reads."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass

from onnx import TensorProto

from unitscope.autodiff.rules.elementwise import where
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

_SHARPNESS = -0.75
"""The coefficient of cubic interpolation (Keys 1981) that GridSample prescribes."""


@dataclass(frozen=True, slots=True)
class Tap:
    """One element along one axis for each place, `[N, 1, places]`: its index, its share of what is
    read there and the derivative of that share by the coordinate.
    """

    index: Value
    share: Value
    slope: Value


@dataclass(frozen=True, slots=True)
class Axis:
    """How an axis of `size` elements is sampled; its coordinates reach from −1 to 1."""

    size: int
    mode: str
    padding: str
    align_corners: bool

    @property
    def bounds(self) -> tuple[float, float]:
        """Where the image ends: at the outermost elements' centres or half an element behind."""
        return (0.0, self.size - 1.0) if self.align_corners else (-0.5, self.size - 0.5)

    @property
    def stretch(self) -> float:
        """Elements per unit of the coordinate."""
        return (self.size - 1 if self.align_corners else self.size) / 2


def taps(op: Emitter, coordinate: Value, axis: Axis) -> list[Tap]:
    """What sampling at `coordinate` `[N, 1, places]` reads along one axis."""
    place = op.Add(op.Mul(coordinate, axis.stretch), (axis.size - 1) / 2)
    if axis.mode == "nearest":
        place = op.Round(place)
    place, moved = _brought_inside(op, place, axis)
    if axis.mode == "nearest":
        return [_tap(op, place, op.const(1, place.dtype), op.const(0, place.dtype), axis)]
    below = op.Floor(place)
    shares = (_cubic if axis.mode == "cubic" else _linear)(op, op.Sub(place, below))
    speed = op.Mul(moved, axis.stretch)
    return [
        _tap(op, op.Add(below, float(offset)), share, op.Mul(slope, speed), axis)
        for offset, share, slope in shares
    ]


def combined(op: Emitter, chosen: Sequence[Tap], sizes: Sequence[int]) -> tuple[Value, Value]:
    """The position, in the image laid out flat, of one tap per axis; the product of their shares"""
    position, share = chosen[0].index, chosen[0].share
    for tap, size in zip(chosen[1:], sizes[1:], strict=True):
        position = op.Add(op.Mul(position, op.const(size, position.dtype)), tap.index)
        share = op.Mul(share, tap.share)
    return position, share


def combinations(axes: Sequence[Sequence[Tap]]) -> list[tuple[Tap, ...]]:
    """Every choice of one tap per axis."""
    return list(itertools.product(*axes))


def _brought_inside(op: Emitter, place: Value, axis: Axis) -> tuple[Value, Value]:
    """Places beyond the bounds as padding moves them, and the derivative of that.

    Cubic interpolation moves the elements that it reads alone, as PyTorch and ONNX Runtime do;
    ONNX's reference evaluator clamps the place as well.
    """
    low, high = axis.bounds
    if axis.padding == "reflection":
        return _reflected(op, place, low, high)
    if axis.padding == "zeros" or axis.mode == "cubic":
        return place, op.const(1, place.dtype)
    beyond = op.Or(op.Less(place, low), op.Greater(place, high))
    clamped = op.Where(beyond, op.Clip(place, 0.0, axis.size - 1.0), place)
    return clamped, where(op, op.Not(beyond), place)


def _reflected(op: Emitter, place: Value, low: float, high: float) -> tuple[Value, Value]:
    """low + |…| on a saw of period 2 · (high − low): up, then down"""
    span = high - low
    if span == 0:
        return op.Mul(place, 0.0), op.const(0, place.dtype)
    offset = op.Sub(place, low)
    periods = op.Floor(op.Div(offset, 2 * span))
    down = op.Sub(op.Sub(offset, op.Mul(periods, 2 * span)), span)
    return op.Sub(high, op.Abs(down)), op.Neg(op.Sign(down))


def _linear(op: Emitter, rest: Value) -> list[tuple[int, Value, Value]]:
    """1 − r of the element before, r of the one behind"""
    one = op.const(1, rest.dtype)
    return [(0, op.Sub(1.0, rest), op.Neg(one)), (1, rest, one)]


def _cubic(op: Emitter, rest: Value) -> list[tuple[int, Value, Value]]:
    """Keys' kernel at the distances 1 + r, r, 1 − r and 2 − r"""
    a = _SHARPNESS
    near, far = (a + 2, -(a + 3), 0.0, 1.0), (a, -5 * a, 8 * a, -4 * a)
    found = []
    for offset, coefficients in ((-1, far), (0, near), (1, near), (2, far)):
        distance = op.Sub(rest, float(offset)) if offset < 1 else op.Sub(float(offset), rest)
        slope = _polynomial(
            op, distance, [3 * coefficients[0], 2 * coefficients[1], coefficients[2]]
        )
        found.append(
            (
                offset,
                _polynomial(op, distance, coefficients),
                slope if offset < 1 else op.Neg(slope),
            )
        )
    return found


def _polynomial(op: Emitter, x: Value, coefficients: Sequence[float]) -> Value:
    """c₀ xⁿ + … + cₙ"""
    total = op.Mul(x, float(coefficients[0]))
    for coefficient in coefficients[1:-1]:
        total = op.Mul(op.Add(total, float(coefficient)), x)
    return op.Add(total, float(coefficients[-1]))


def _tap(op: Emitter, element: Value, share: Value, slope: Value, axis: Axis) -> Tap:
    """The element as padding has it: a neighbour, or nothing."""
    last = axis.size - 1.0
    if axis.padding == "reflection":
        element, _ = _reflected(op, element, *axis.bounds)
    elif axis.padding == "zeros":
        inside = op.And(op.GreaterOrEqual(element, 0.0), op.LessOrEqual(element, last))
        share, slope = (where(op, inside, element, times=part) for part in (share, slope))
    index = op.Cast(op.Clip(element, 0.0, last), to=TensorProto.INT64)
    return Tap(index, share, slope)
