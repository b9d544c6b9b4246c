"""The way back through a maximum over windows, without indices.

ONNX Runtime finds the indices of maxima twenty times slower than the maxima. The maximum over
a window is that over its columns of those over its rows, so one axis is gone back at a time:
the first tap that is not below the maximum takes all of dy, in ONNX's order of ties.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise

import numpy as np
import onnx

from unitscope.blocked.convolution import depthwise_order
from unitscope.blocked.layout import NCHWC, STEP, Layout, Shape, attributes_of
from unitscope.blocked.strided import Axis, axes_of, interleaved

_LOWEST = np.array(-3.0e38, np.float32)


def max_pool_gradient(layout: Layout, node: onnx.NodeProto) -> bool:
    """A Reshape of dy scattered to the indices of a MaxPool."""
    found = _pool_and_dy(layout, node)
    if found is None:
        return False
    pool, dy = found
    places, windows = layout.shape(pool.input[0]), layout.shape(pool.output[1])
    if not places or not windows or layout.shape(node.output[0]) != places:
        return False
    attributes = attributes_of(pool)
    axes = axes_of(places, windows, attributes["kernel_shape"], attributes)
    if layout.shape(dy) != windows:  # ONNX Runtime makes one Reshape of two
        dy = layout.view(dy, windows)
    x, d = layout.twin(pool.input[0]), layout.enter(dy)
    if axes is None or x is None or d is None:
        return False
    layout.pair(node.output[0], _way_back(layout, x, d, axes, places))
    return True


def _pool_and_dy(layout: Layout, node: onnx.NodeProto) -> tuple[onnx.NodeProto, str] | None:
    scatter = layout.producer(node.input[0])
    if scatter is None or scatter.op_type != "ScatterElements":
        return None
    zeros = layout.constant(scatter.input[0])
    flat = [layout.producer(name) for name in scatter.input[1:]]
    if zeros is None or zeros.any() or any(x is None or x.op_type != "Reshape" for x in flat):
        return None
    indices, dy = (x.input[0] for x in flat if x is not None)
    pool = layout.producer(indices)
    return None if pool is None or pool.op_type != "MaxPool" else (pool, dy)


def _way_back(layout: Layout, x: str, dy: str, axes: Sequence[Axis], places: Shape) -> str:
    """dx, all blocked. There is a window for every place of the first phase: those beyond the
    last have no dy, and nothing needs to be filled up later.
    """
    rows, columns = (replace(axis, windows=max(axis.windows, axis.phase_length)) for axis in axes)
    missing = [new.windows - axis.windows for new, axis in zip((rows, columns), axes, strict=True)]
    shape = (places[0], layout.filled(places[1]), *places[2:])
    if any(missing):
        dy = layout.convolution(
            dy, _pick(layout.block, shape[1], 2, 1, 0, 1.0), pads=(0, 0, *missing), group=shape[1]
        )
    across = _maximum(layout, x, columns, 3)
    top = _maximum(layout, across, rows, 2)
    of_relus = _is_of_relus(layout, x)
    if of_relus:  # what ReLUs will not let pass is taken out where there is least of it
        dy = layout.emit("Mul", [dy, layout.step(top)])
    narrow = (*shape[:3], columns.windows)
    d_across = _along(layout, rows, 2, across, top, dy, narrow, padded=not of_relus)
    dx = _along(layout, columns, 3, x, across, d_across, shape, padded=not of_relus)
    if of_relus:
        layout.vanishing[dx] = x
    return dx


def _along(
    layout: Layout, axis: Axis, index: int, x: str, top: str, dy: str, shape: Shape, *, padded: bool
) -> str:  # fmt: skip
    """dx of a maximum along one axis; `shape` of x, `top` the maxima.

    `padded`: beyond the edge x must be lower than all: 0 is not enough.
    """
    begin, end = axis.begin, axis.end
    if padded and (begin or end):
        x, begin, end = _with_lowest(layout, x, index, axis, shape), 0, 0
    left = [dy]
    for tap in range(axis.kernel - 1):
        is_below = layout.convolution(
            x, _pick(layout.block, shape[1], index, axis.kernel, tap, -1.0), added=top,
            strides=_at(index, axis.stride, 1), pads=(*_at(index, begin, 0), *_at(index, end, 0)),
            group=shape[1], activation="HardSigmoid", activation_params=[*STEP.values()],
        )  # fmt: skip
        left.append(layout.emit("Mul", [left[-1], is_below]))
    taken = [layout.emit("Sub", pair) for pair in pairwise(left)] + [left[-1]]
    phases = []
    for phase in range(axis.stride):
        shares = {taken[tap]: shift for tap, shift in axis.taps(phase).items()}
        phases.append(_gathered(layout, axis, index, shares, shape[1]))
    return interleaved(layout, phases, shape, index)


def _gathered(
    layout: Layout, axis: Axis, index: int, shares: Mapping[str, int], channels: int
) -> str | None:
    """The places of a phase: what windows gave away by each of its taps, moved and added up."""
    total = ""
    for share, shift in sorted(shares.items(), key=lambda item: abs(item[1])):
        margins = axis.margins([shift])
        if margins.taps == 1:
            total = layout.add(total, share) if total else share
        else:
            pick = _pick(layout.block, channels, index, margins.taps, margins.before - shift, 1.0)
            pads = (*_at(index, margins.before, 0), *_at(index, margins.after, 0))
            total = layout.convolution(share, pick, added=total, pads=pads, group=channels)
    return total or None


def _maximum(layout: Layout, x: str, axis: Axis, index: int) -> str:
    return layout.emit(
        "MaxPool", [x], domain=NCHWC, kernel_shape=_at(index, axis.kernel, 1),
        strides=_at(index, axis.stride, 1), dilations=(1, 1),
        pads=(*_at(index, axis.begin, 0), *_at(index, axis.end, 0)),
    )  # fmt: skip


def _with_lowest(layout: Layout, x: str, index: int, axis: Axis, shape: Shape) -> str:
    """x with margins along an axis that are never the maximum."""
    batch, channels, *sides = shape
    view = layout.view(x, (batch * channels // layout.block, *sides, layout.block))
    before, after = _at(index, axis.begin, 0), _at(index, axis.end, 0)
    pads = layout.ints(0, *before, 0, 0, *after, 0)
    sides[index - 2] += axis.begin + axis.end
    wider = layout.emit("Pad", [view, pads, layout.weight(_LOWEST)])
    return layout.view(wider, (batch, channels, *sides))


def _is_of_relus(layout: Layout, blocked: str) -> bool:
    """Whether a tensor comes from ReLUs, and the graph lets no gradient pass where it is 0."""
    node = layout.producer(blocked)
    if node is None:
        return False
    if node.op_type in {"Concat", "MaxPool"}:
        return all(_is_of_relus(layout, name) for name in node.input)
    is_relu = node.op_type == "Relu" or attributes_of(node).get("activation") == "Relu"
    return is_relu and blocked in layout.masking


def _pick(block: int, channels: int, index: int, taps: int, at: int, value: float) -> np.ndarray:
    """The kernel, in blocked order, that multiplies one tap along an axis by `value`."""
    kernel = np.zeros((channels, 1, taps), np.float32)
    kernel[..., at] = value
    return depthwise_order(kernel.reshape(channels, 1, *_at(index, taps, 1)), block)


def _at(index: int, value: int, other: int) -> tuple[int, int]:
    """`value` for the axis `index`, 2 or 3, `other` for the other one."""
    return (value, other) if index == 2 else (other, value)
