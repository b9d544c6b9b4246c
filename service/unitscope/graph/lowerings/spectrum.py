"""Fourier transforms of pieces of a signal."""

from __future__ import annotations

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

_AXIS_IS_AN_INPUT = 20
"""The opset from which on DFT takes its axis as an input."""


@lowerings.form("STFT")
def stft(
    op: Emitter, signal: Value, frame_step: Value, window: Value | None = None,
    frame_length: Value | None = None, *, onesided: int,
) -> Results:  # fmt: skip
    """y = the Fourier transforms of overlapping frames of the signal `[N, L, 1 or 2]`"""
    length = (signal.shape or ())[1]
    width = (window.shape or ())[0] if window is not None else _integer(frame_length)
    if not isinstance(length, int) or not isinstance(width, int):
        raise Uncovered("a length known only at run time")
    starts = np.arange(0, length - width + 1, _integer(frame_step))
    frames = op.Gather(signal, starts[:, None] + np.arange(width), axis=1)
    if window is not None:
        frames = op.Mul(frames, op.Reshape(window, [-1, 1]))
    if op.graph.opset < _AXIS_IS_AN_INPUT:
        return op.DFT(frames, axis=2, onesided=onesided)
    return op.DFT(frames, None, op.const(2, np.int64), onesided=onesided)


def _integer(value: Value | None) -> int:
    if value is None or value.const is None:
        raise Uncovered("a length known only at run time")
    return int(value.const.item())
