"""Images that come with a request, as bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unitscope.engine.picture import Pixels
from unitscope.errors import InvalidRequest

MAX_BYTES = 16 << 20
MAX_PIXELS = 4096 * 4096
_FORMATS = ("PNG", "JPEG", "WEBP")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(field: str, content: bytes, channels: int, height_px: int, width_px: int) -> Pixels:
    """The pixels `[channels, height_px, width_px]` of an encoded image.

    Its centre is cut to the proportions wanted and scaled. Raises InvalidRequest naming `field`
    for what is no PNG, JPEG or WebP or too large, and for a model of other pictures than grey, RGB
    or RGBA.
    """
    if channels not in _MODES:
        raise InvalidRequest(field, f"{channels} channels", "a model of grey, RGB or RGBA pictures")
    if len(content) > MAX_BYTES:
        raise InvalidRequest(field, f"{len(content)} bytes", f"at most {MAX_BYTES} bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                size = f"{image.width}×{image.height}"
                raise InvalidRequest(field, size, f"at most {MAX_PIXELS} pixels")
            fitted = ImageOps.fit(
                image.convert(_MODES[channels]), (width_px, height_px), Image.Resampling.BICUBIC
            )
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InvalidRequest(
            field, f"{len(content)} bytes", f"a PNG, JPEG or WebP: {error}"
        ) from error
    pixels = np.asarray(fitted)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))
