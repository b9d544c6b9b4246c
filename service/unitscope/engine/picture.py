"""Pictures as bytes: encode and decode."""

from __future__ import annotations

import io
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image

from unitscope.engine.request import ImageFormat

Pixels = np.ndarray[Any, np.dtype[np.uint8]]
"""`[C, H, W]`, 8 bits."""

_OPTIONS: dict[ImageFormat, dict[str, Any]] = {
    "png": {"optimize": False},
    "jpeg": {"quality": 95, "subsampling": 0},
    "webp": {"lossless": True},
}
_NOTHING: Mapping[str, Any] = {}


def encode(
    pixels: np.ndarray, image_format: ImageFormat, metadata: Mapping[str, Any] = _NOTHING
) -> bytes:
    """One or three channels as grey or RGB; any other number as grey bands side by side.

    An array (`npy`) is written as it is. `metadata`: what `record.embed` makes of a record.
    """
    buffer = io.BytesIO()
    if image_format == "npy":
        np.save(buffer, pixels, allow_pickle=False)
    else:
        options = _OPTIONS[image_format] | dict(metadata)
        _as_image(pixels).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def decode(content: bytes, channels: int) -> Pixels:
    """The pixels `[channels, H, W]` of what `encode` wrote, with the format's own losses."""
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        return np.asarray(np.load(io.BytesIO(content)))
    with Image.open(io.BytesIO(content)) as image:
        if channels == 3:
            return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))
        plane = np.asarray(image.convert("L"))
    return np.stack(np.split(plane, channels, axis=1))


def shown_as(image_format: ImageFormat) -> ImageFormat:
    """The format of previews, which are made to be looked at."""
    return "png" if image_format == "npy" else image_format


def _as_image(pixels: Pixels) -> Image.Image:
    if len(pixels) == 3:
        return Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    return Image.fromarray(np.concatenate(list(pixels), axis=1))
