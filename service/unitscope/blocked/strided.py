"""Windows that step by more than one, along one axis at a time.

Window q holds the places s·q + t − begin, t being its taps. Going back from windows to places,
those of one phase, p = s·m + phase, hear from the same taps: no place in between is computed for
nothing. Phases are interleaved in the end, which in the blocked layout moves whole blocks.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from unitscope.blocked.layout import Layout, Shape


class Margins(NamedTuple):
    """A convolution with so many taps and margins; tap u of it reads window m + u − before."""

    taps: int
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class Axis:
    """Windows along one axis: `places` in, `windows` out, the first beginning at −`begin`."""

    places: int
    windows: int
    kernel: int
    stride: int
    begin: int

    @property
    def phase_length(self) -> int:
        """The places of the first phase; others have as many or one less."""
        return -(-self.places // self.stride)

    @property
    def end(self) -> int:
        """How far the last window reaches beyond the last place."""
        return max((self.windows - 1) * self.stride + self.kernel - self.begin - self.places, 0)

    def taps(self, phase: int) -> dict[int, int]:
        """Which taps reach a phase, and how many windows before place m of it."""
        away = {tap: tap - self.begin - phase for tap in range(self.kernel)}
        return {tap: far // self.stride for tap, far in away.items() if far % self.stride == 0}

    def margins(self, shifts: Sequence[int]) -> Margins:
        """Those of a convolution that reads windows m − shift for each place m of a phase."""
        missing = self.windows - self.phase_length
        before = max(*shifts, 0)
        taps = max(before - min(shifts), before + missing) + 1
        return Margins(taps, before, taps - 1 - before - missing)


def axes_of(
    places: Shape, windows: Shape, kernel: Sequence[int], attributes: dict[str, Any]
) -> list[Axis] | None:
    """Both axes of a node with windows; None for dilated ones.

    `places`, `windows`: shapes `[N, C, H, W]` of what has the windows and of one value for each.
    """
    strides = attributes.get("strides") or (1, 1)
    if not len(places) == len(windows) == 4 or {*(attributes.get("dilations") or (1, 1))} != {1}:
        return None
    axes = []
    for index, (place, window) in enumerate(zip(places[2:], windows[2:], strict=True)):
        size, stride = kernel[index], strides[index]
        over = max((window - 1) * stride + size - place, 0)
        begins = {
            "NOTSET": (attributes.get("pads") or (0, 0))[index],
            "VALID": 0,
            "SAME_UPPER": over // 2,
            "SAME_LOWER": over - over // 2,
        }
        axes.append(Axis(place, window, size, stride, begins[attributes.get("auto_pad", "NOTSET")]))
    return axes


def interleaved(layout: Layout, phases: Sequence[str | None], shape: Shape, axis: int) -> str:
    """One tensor of `phases` along `axis`, cut to `shape`, the blocked `[N, C, H, W]` of it.

    A phase that is None is zero; all others are as long as the first.
    """
    count, block = len(phases), layout.block
    if count == 1 and phases[0] is not None:
        return phases[0]
    length = -(-shape[axis] // count)
    inner = block if axis == 3 else shape[3] * block
    outer = shape[0] * shape[1] // block * (shape[2] if axis == 3 else 1)
    rows = [layout.view(phase, (outer, length, inner)) for phase in phases if phase is not None]
    joined = rows[0] if len(rows) == 1 else layout.emit("Concat", rows, axis=2)
    if len(rows) < count:
        absent = inner * (count - len(rows))
        joined = layout.emit("Pad", [joined, layout.ints(0, 0, 0, 0, 0, absent)])
    if length * count > shape[axis]:
        whole = layout.view(joined, (outer, length * count * inner))
        joined = layout.emit(
            "Slice", [whole, layout.ints(0), layout.ints(shape[axis] * inner), layout.ints(1)]
        )
    return layout.view(joined, shape)
