"""Encoded images built in code."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from tests.models import SIZE


def encoded(pixels: np.ndarray) -> bytes:
    """A PNG of `[C, H, W]` or `[H, W]`, 8 bits."""
    buffer = io.BytesIO()
    planes = np.moveaxis(pixels, 0, -1) if pixels.ndim == 3 else pixels
    Image.fromarray(np.ascontiguousarray(planes)).save(buffer, format="PNG")
    return buffer.getvalue()


def random_pixels(seed: int = 0, size: int = SIZE) -> np.ndarray:
    """`[3, size, size]`, neither very dark nor very bright."""
    return np.random.default_rng(seed).integers(50, 200, (3, size, size), np.uint8)
