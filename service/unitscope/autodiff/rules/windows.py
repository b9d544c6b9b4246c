"""Sliding windows: what convolutions and pools have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unitscope.autodiff.rule import Uncovered
from unitscope.graph.emit import Emitter, Operand
from unitscope.graph.ir import Dim, Value

Ints = Sequence[int]


@dataclass(frozen=True, slots=True)
class Window:
    """A window per spatial axis, its padding written out (`auto_pad` resolved)."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    begins: tuple[int, ...]
    ends: tuple[int, ...]

    @property
    def pads(self) -> list[int]:
        """Begins, then ends, as ONNX writes them."""
        return [*self.begins, *self.ends]

    @property
    def reach(self) -> tuple[int, ...]:
        """Distance from the first to the last tap."""
        return tuple(d * (k - 1) for k, d in zip(self.kernel, self.dilations, strict=True))


def window_of(
    x: Value,
    kernel: Sequence[Dim],
    strides: Ints | None,
    dilations: Ints | None,
    pads: Ints | None,
    auto_pad: str = "NOTSET",
) -> Window:
    """The window that ONNX's attributes describe over `x` `[N, C, *sizes]`."""
    sizes = (x.shape or ())[2:]
    if not all(isinstance(k, int) for k in kernel):
        raise Uncovered("a kernel whose size is known only at run time")
    taps = tuple(int(k) for k in kernel)
    steps = tuple(strides or [1] * len(taps))
    spread = tuple(dilations or [1] * len(taps))
    if auto_pad.startswith("SAME"):
        totals = [
            _same_padding(size, k, s, d)
            for size, k, s, d in zip(sizes, taps, steps, spread, strict=True)
        ]
        small = tuple(total // 2 for total in totals)
        large = tuple(total - total // 2 for total in totals)
        begins, ends = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    else:
        given = [0] * 2 * len(taps) if auto_pad == "VALID" or not pads else list(pads)
        begins, ends = tuple(given[: len(taps)]), tuple(given[len(taps) :])
    return Window(taps, steps, spread, begins, ends)


def scatter_windows(
    op: Emitter, dy: Value, kernel: Value, window: Window, like: Value, *, group: int
) -> Value:
    """The transpose of ``Conv(·, kernel)`` applied to `dy`, in the shape of `like`.

    With stride 1 and a constant kernel it is a convolution again, with the kernel mirrored,
    which runs in ONNX Runtime's blocked layout; otherwise a ConvTranspose with explicit padding
    (`output_shape` splits the padding differently from version to version).
    """
    overhangs = [
        _overhang(*axis)
        for axis in zip((like.shape or ())[2:], (dy.shape or ())[2:], window.strides,
                        window.reach, window.begins, window.ends, strict=True)
    ]  # fmt: skip
    if all(s == 1 for s in window.strides) and kernel.const is not None:
        ends = [w if o is None else o for o, w in zip(overhangs, window.ends, strict=True)]
        return _mirrored(op, dy, kernel.const, window, ends, like, group)
    even = op.graph.target.even_pads and like.static_shape is not None
    firsts, lasts, more = zip(
        *(
            _margins(*axis, even=even)
            for axis in zip(overhangs, window.begins, window.ends, window.strides, strict=True)
        ),
        strict=True,
    )
    dx = op.ConvTranspose(
        dy,
        kernel,
        group=group,
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=[*firsts, *lasts],
        output_padding=list(more),
    )
    spatial = [*range(2, like.rank)]
    if even and dx.shape != like.shape:
        cut = np.subtract(window.begins, firsts)
        return op.Slice(dx, cut, cut + (like.static_shape or ())[2:], spatial)
    open_axes = [axis for axis, over in zip(spatial, overhangs, strict=True) if over is None]
    return op.shaped(crop_to(op, dx, like, open_axes), like)


def _margins(
    over: int | None, begin: int, end: int, stride: int, *, even: bool
) -> tuple[int, int, int]:
    """What a transposed convolution leaves out at both ends of an axis, and what it adds.

    `even`: both ends alike, and the result may be larger.
    """
    if over is None:
        return begin, end, stride - 1
    if not even:
        return begin, max(over, 0), max(-over, 0)
    if 0 <= begin - over < stride:
        return begin, begin, begin - over
    alike = min(begin, max(over, 0))
    return alike, alike, max(-over, 0)


def crop_to(op: Emitter, value: Value, like: Value, axes: Ints) -> Value:
    """The first elements of `value` along `axes`, as many as `like` has."""
    if not axes:
        return value
    ends = op.Gather(op.shape(like), np.array(axes, np.int64), axis=0)
    return op.Slice(value, [0] * len(axes), ends, list(axes))


def _same_padding(size: Dim, kernel: int, stride: int, dilation: int) -> int:
    """Total padding that makes ceil(size / stride) windows."""
    if isinstance(size, int):
        needed = (-(-size // stride) - 1) * stride + dilation * (kernel - 1) + 1
        return max(needed - size, 0)
    if stride == 1:
        return dilation * (kernel - 1)
    raise Uncovered("auto_pad SAME with a stride over a size known only at run time")


def _overhang(size: Dim, count: Dim, stride: int, reach: int, begin: int, end: int) -> int | None:
    """How far the last window ends behind the data; None if only the run can tell."""
    if isinstance(size, int) and isinstance(count, int):
        return stride * (count - 1) + reach + 1 - begin - size
    return end if stride == 1 else None


def _mirrored(
    op: Emitter,
    dy: Value,
    kernel: np.ndarray,
    window: Window,
    ends: Ints,
    like: Value,
    group: int,
) -> Value:
    outputs, inputs, *taps = kernel.shape
    grouped = kernel.reshape(group, outputs // group, inputs, *taps).swapaxes(1, 2)
    turned = grouped.reshape(group * inputs, outputs // group, *taps)
    turned = np.flip(turned, tuple(range(2, turned.ndim)))
    pads = [
        reach - pad for reach, pad in zip(window.reach * 2, (*window.begins, *ends), strict=True)
    ]
    dx = op.Conv(
        _without_margin(op, dy, [max(-pad, 0) for pad in pads]),
        op.const(np.ascontiguousarray(turned)),
        group=group,
        dilations=list(window.dilations),
        pads=[max(pad, 0) for pad in pads],
    )
    return op.shaped(dx, like)


def _without_margin(op: Emitter, value: Value, margins: Ints) -> Value:
    """`value` without that many elements at both ends of each spatial axis."""
    if not any(margins):
        return value
    rank = len(margins) // 2
    ends = [-margin or np.iinfo(np.int64).max for margin in margins[rank:]]
    return op.Slice(value, list(margins[:rank]), ends, list(range(2, 2 + rank)))


def pad_along(op: Emitter, value: Value, axis: int, begin: Operand, end: Operand) -> Value:
    """Zeros before and after, along one axis.

    Every axis has its pads: those of some axes ONNX Runtime permutes as if they were all.
    """
    ahead, behind = [0] * axis, [0] * (value.rank - axis - 1)
    return op.Pad(value, op.Concat(ahead, begin, behind, ahead, end, behind, axis=0))
