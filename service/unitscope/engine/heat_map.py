"""An attribution as a picture: how much counts where."""

from __future__ import annotations

import numpy as np

from unitscope.ascent.parameterizations import Array
from unitscope.engine.picture import Pixels

PERCENTILE = 99
"""Of the strengths that are not zero: what is as bright as can be. A few pixels lie far above."""
_DIMMED = 0.6


def heat_map(values: Array) -> Pixels:
    """The strength `[1, H, W]` of an attribution `[C, H, W]`: max |value| over the channels."""
    strength = np.abs(values).max(axis=0, keepdims=True)
    above = strength[strength > 0]
    full = np.percentile(above, PERCENTILE) if above.size else 1.0
    return _pixels(np.minimum(strength / full, 1))


def overlay(picture: Array, heat: Pixels) -> Pixels:
    """The heat `[1, H, W]` in black, red, yellow and white over a darkened grey `picture`.

    `picture`: `[C, H, W]` in 0..1; the result is `[3, H, W]`.
    """
    share = heat / np.float32(255)
    colors = np.clip(3 * share - np.arange(3, dtype=np.float32)[:, None, None], 0, 1)
    grey = _DIMMED * picture[:3].mean(axis=0, keepdims=True)
    return _pixels(share * colors + (1 - share) * grey)


def _pixels(picture: np.ndarray) -> Pixels:
    return np.asarray(np.rint(255 * picture), np.uint8)
