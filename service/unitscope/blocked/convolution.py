"""The way back through a convolution that steps: a plain convolution for every phase."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx

from unitscope.blocked.layout import NCHWC, Layout, Shape, attributes_of
from unitscope.blocked.strided import Axis, Margins, axes_of, interleaved

_MOST_PHASES = 9
"""Patches of transformers have hundreds: they stay the one product of matrices that they are."""


def conv_transpose(layout: Layout, node: onnx.NodeProto) -> bool:
    """dy * W with steps, W constant, all channels in one group or each on its own."""
    (x, w), out = node.input[:2], node.output[0]
    kernel, windows, places = layout.constant(w), layout.shape(x), layout.shape(out)
    if kernel is None or kernel.ndim != 4 or not windows or not places or len(node.input) > 2:
        return False
    attributes = attributes_of(node)
    axes = axes_of(places, windows, kernel.shape[2:], attributes)
    group = attributes.get("group", 1)
    alone = group > 1 and group == windows[1] and kernel.shape[1] == 1
    if axes is None or (group > 1 and not alone) or (blocked := layout.enter(x)) is None:
        return False
    phases = axes[0].stride * axes[1].stride
    if group == 1 and places[1] * phases <= layout.block:
        return _stacked(layout, blocked, kernel, axes, places, out)
    if phases > _MOST_PHASES or not all(_fills_from_the_first(axis) for axis in axes):
        return False
    shape = (places[0], layout.filled(places[1]), *places[2:])
    rows = [
        _row(layout, blocked, kernel, axes, phase, shape, alone=alone)
        for phase in range(axes[0].stride)
    ]
    layout.pair(out, interleaved(layout, rows, shape, 2))
    return True


def _row(
    layout: Layout, x: str, kernel: np.ndarray, axes: Sequence[Axis], phase: int, shape: Shape,
    *, alone: bool,
) -> str | None:  # fmt: skip
    """Every `stride`-th row of the result, from `phase` on; None where no tap reaches it."""
    rows, columns = axes
    if not rows.taps(phase):
        return None
    found = [
        _convolved(layout, x, kernel, axes, (phase, other), alone=alone)
        if columns.taps(other)
        else None
        for other in range(columns.stride)
    ]
    return interleaved(layout, found, (*shape[:2], rows.phase_length, shape[3]), 3)


def _convolved(
    layout: Layout, x: str, kernel: np.ndarray, axes: Sequence[Axis], phases: Sequence[int],
    *, alone: bool,
) -> str:  # fmt: skip
    """The places of one phase of each axis."""
    margins = [
        axis.margins([*axis.taps(phase).values()]) for axis, phase in zip(axes, phases, strict=True)
    ]
    part = _taps_of(kernel if alone else kernel.swapaxes(0, 1), axes, phases, margins)
    ordered = depthwise_order(part, layout.block) if alone else dense_order(part, layout.block)
    return layout.convolution(x, ordered, pads=_pads(margins), group=len(ordered) if alone else 1)


def _stacked(
    layout: Layout, x: str, kernel: np.ndarray, axes: Sequence[Axis], places: Shape, out: str
) -> bool:
    """All phases of a few channels fit in one block: one convolution finds them all."""
    stride = axes[0].stride
    if stride != axes[1].stride:
        return False
    phases = range(stride)
    margins = [
        axis.margins([shift for phase in phases for shift in axis.taps(phase).values()])
        for axis in axes
    ]
    parts = [
        _taps_of(kernel.swapaxes(0, 1), axes, (row, column), margins)
        for row in phases
        for column in phases
    ]
    stacked = dense_order(np.concatenate(parts), layout.block)
    blocked = layout.convolution(x, stacked, pads=_pads(margins))
    plain = layout.emit("ReorderOutput", [blocked], domain=NCHWC, channels=places[1] * stride**2)
    spread = layout.emit("DepthToSpace", [plain], blocksize=stride)
    ends = layout.ints(*places[2:])
    layout.emit("Slice", [spread, layout.ints(0, 0), ends, layout.ints(2, 3)], out=out)
    return True


def _taps_of(
    kernel: np.ndarray, axes: Sequence[Axis], phases: Sequence[int], margins: Sequence[Margins]
) -> np.ndarray:
    """The taps of `kernel`, `[O, I, H, W]`, that reach a phase, where a convolution reads them."""
    part = kernel
    for index, (axis, phase, margin) in enumerate(zip(axes, phases, margins, strict=True), start=2):
        placed = np.zeros((*part.shape[:index], margin.taps, *part.shape[index + 1 :]), part.dtype)
        for tap, shift in axis.taps(phase).items():
            np.moveaxis(placed, index, 0)[margin.before - shift] = np.moveaxis(part, index, 0)[tap]
        part = placed
    return part


def _pads(margins: Sequence[Margins]) -> list[int]:
    return [*(margin.before for margin in margins), *(margin.after for margin in margins)]


def _fills_from_the_first(axis: Axis) -> bool:
    """Whether phases that no tap reaches come last."""
    reached = [bool(axis.taps(phase)) for phase in range(axis.stride)]
    return reached == sorted(reached, reverse=True)


def dense_order(kernel: np.ndarray, block: int) -> np.ndarray:
    """`[O, I, H, W]` as the kernels of ONNX Runtime read it, channels filled up with zeros."""
    whole = _filled(_filled(kernel, block, 0), block, 1)
    outs, ins, height, width = whole.shape
    split = whole.reshape(outs // block, block, ins // block, block, height, width)
    return np.ascontiguousarray(split.transpose(0, 2, 4, 5, 3, 1)).reshape(whole.shape)


def depthwise_order(kernel: np.ndarray, block: int) -> np.ndarray:
    """The same for `[C, 1, H, W]`, each channel on its own."""
    whole = _filled(kernel, block, 0)
    split = whole.reshape(len(whole) // block, block, *whole.shape[1:])
    return np.ascontiguousarray(split.transpose(0, 2, 3, 4, 1)).reshape(whole.shape)


def _filled(kernel: np.ndarray, block: int, axis: int) -> np.ndarray:
    margins = [(0, 0)] * kernel.ndim
    margins[axis] = (0, -kernel.shape[axis] % block)
    return np.pad(kernel, margins)
