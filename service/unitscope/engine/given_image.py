"""Images that come with a request, as bytes."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image, ImageOps

from unitscope.engine.picture import Pixels
from unitscope.errors import InvalidRequest

MAX_BYTES = 16 << 20
MAX_PIXELS = 4096 * 4096
_FORMATS = ("PNG", "JPEG", "WEBP")
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def read_image(field: str, content: bytes, channels: int, height_px: int, width_px: int) -> Pixels:
    """The pixels `[channels, height_px, width_px]` of an encoded image.

    It is turned upright, its centre cut to the proportions wanted and scaled. Raises InvalidRequest
    naming `field` for what is no PNG, JPEG or WebP or too large, for transparent pixels where no
    alpha is wanted, and for a model of other pictures than grey, RGB or RGBA.
    """
    if channels not in _MODES:
        raise InvalidRequest(field, f"{channels} channels", "a model of grey, RGB or RGBA pictures")
    if len(content) > MAX_BYTES:
        raise InvalidRequest(field, f"{len(content)} bytes", f"at most {MAX_BYTES} bytes")
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            _check_size(field, image)
            upright = ImageOps.exif_transpose(image)
            if channels < 4:
                _check_opaque(field, upright)
            fitted = ImageOps.fit(
                _eight_bits(upright).convert(_MODES[channels]),
                (width_px, height_px),
                Image.Resampling.BICUBIC,
            )
    except InvalidRequest:
        raise
    except Exception as error:  # decoders raise what they like on what is no image
        got = f"{len(content)} bytes"
        raise InvalidRequest(field, got, f"a PNG, JPEG or WebP: {error}") from error
    pixels = np.asarray(fitted)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def write_image(pixels: Pixels | None) -> bytes:
    """A PNG from which `read_image` reads the same `pixels` `[channels, H, W]`; none for None."""
    if pixels is None:
        return b""
    planes = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    buffer = io.BytesIO()
    Image.fromarray(planes.squeeze(-1) if len(pixels) == 1 else planes).save(buffer, format="PNG")
    return buffer.getvalue()


def _check_size(field: str, image: Image.Image) -> None:
    if image.width * image.height > MAX_PIXELS:
        size = f"{image.width}×{image.height}"
        raise InvalidRequest(field, size, f"at most {MAX_PIXELS} pixels")


def _check_opaque(field: str, image: Image.Image) -> None:
    """What lies under transparent pixels is anything, and what to put there is the caller's."""
    if not image.has_transparency_data:
        return
    least, _ = image.convert("RGBA").getchannel("A").getextrema()
    if least != 255:
        raise InvalidRequest(field, "transparent pixels", "an opaque image: the model has no alpha")


def _eight_bits(image: Image.Image) -> Image.Image:
    """Grey of 16 bits would be cut off at 255, not scaled."""
    if not image.mode.startswith("I"):
        return image
    return Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
