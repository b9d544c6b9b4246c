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
    "webp": {"lossless": True, "exact": True},  # also where nothing is seen
}
_NOTHING: Mapping[str, Any] = {}
_OPAQUE_PERCENTILE = 80
"""Pixels that matter more than so many others are wholly seen (Fel et al. 2023)."""


def encode(
    pixels: np.ndarray,
    image_format: ImageFormat,
    metadata: Mapping[str, Any] = _NOTHING,
    alpha: np.ndarray | None = None,
) -> bytes:
    """One or three channels as grey or RGB; any other number as grey bands side by side.

    An array (`npy`) is written as it is. `metadata`: what `record.embed` makes of a record.
    `alpha`: `[H, W]` in 0..1, how much of a pixel is seen; a further channel of an array.
    """
    buffer = io.BytesIO()
    if image_format == "npy":
        planes = pixels if alpha is None else np.concatenate([pixels, alpha[None]])
        np.save(buffer, planes, allow_pickle=False)
    else:
        options = _OPTIONS[image_format] | dict(metadata)
        _as_image(pixels, alpha).save(buffer, format=image_format, **options)
    return buffer.getvalue()


def alpha_of(opacity: np.ndarray) -> np.ndarray:
    """`[H, W]` in 0..1 of how much each pixel mattered `[H, W]`."""
    most = np.percentile(opacity, _OPAQUE_PERCENTILE) or opacity.max()
    return np.asarray(np.minimum(opacity / most, 1), np.float32)


def on_white(image: Image.Image) -> Image.Image:
    """What is seen of a picture on paper, grey or RGB."""
    if not image.has_transparency_data:
        return image
    sheet = Image.new("RGBA", image.size, "white")
    seen = Image.alpha_composite(sheet, image.convert("RGBA"))
    return seen.convert("L" if image.mode == "LA" else "RGB")


def decode(content: bytes, channels: int) -> Pixels:
    """The pixels `[channels, H, W]` of what `encode` wrote, with the format's own losses."""
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        return np.asarray(np.load(io.BytesIO(content)))[:channels]
    with Image.open(io.BytesIO(content)) as image:
        if channels == 3:
            return np.ascontiguousarray(np.moveaxis(np.asarray(image.convert("RGB")), -1, 0))
        plane = np.asarray(image.convert("L"))
    return np.stack(np.split(plane, channels, axis=1))


def shown_as(image_format: ImageFormat) -> ImageFormat:
    """The format of previews, which are made to be looked at."""
    return "png" if image_format == "npy" else image_format


def _as_image(pixels: Pixels, alpha: np.ndarray | None) -> Image.Image:
    if len(pixels) == 3:
        image = Image.fromarray(np.ascontiguousarray(np.moveaxis(pixels, 0, -1)))
    else:
        image = Image.fromarray(np.concatenate(list(pixels), axis=1))
    if alpha is not None:
        seen = np.rint(255 * alpha).astype(np.uint8)
        image.putalpha(Image.fromarray(np.tile(seen, (1, image.width // seen.shape[1]))))
    return image
