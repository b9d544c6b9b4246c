"""Images that come with a request, as bytes."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from PIL import Image, ImageOps

from unitscope.engine.picture import Pixels
from unitscope.errors import InvalidRequest

MAX_BYTES = 16 << 20
MAX_PIXELS = 4096 * 4096
MAX_PIXELS_TO_DECODE = 1 << 26
"""Of several images together, before they are cut and scaled: 64 of 1024×1024."""
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
    with _opened(field, content) as image:
        _check_size(field, image)
        upright = ImageOps.exif_transpose(image)
        if channels < 4:
            _check_opaque(field, upright)
        fitted = ImageOps.fit(
            _eight_bits(upright).convert(_MODES[channels]),
            (width_px, height_px),
            Image.Resampling.BICUBIC,
        )
    pixels = np.asarray(fitted)
    return pixels[None] if pixels.ndim == 2 else np.ascontiguousarray(np.moveaxis(pixels, -1, 0))


def read_images(
    field: str, contents: Sequence[bytes], channels: int, height_px: int, width_px: int
) -> tuple[Pixels, ...]:
    """The pixels `[channels, height_px, width_px]` of each of several images, as `read_image` does.

    Raises InvalidRequest naming `field`, and the image by its index; also for more than `MAX_BYTES`
    in all, `MAX_PIXELS_TO_DECODE` as they came or `MAX_PIXELS` as they are used.
    """
    total = sum(map(len, contents))
    if total > MAX_BYTES:
        raise InvalidRequest(field, f"{total} bytes in all", f"at most {MAX_BYTES} bytes in all")
    if len(contents) * height_px * width_px > MAX_PIXELS:
        got = f"{len(contents)} images, used at {width_px}×{height_px}"
        raise InvalidRequest(field, got, f"at most {MAX_PIXELS} pixels in all")
    left, found = MAX_PIXELS_TO_DECODE, []
    for index, content in enumerate(contents):
        try:
            left -= _pixel_count(field, content)
            if left < 0:
                expected = f"at most {MAX_PIXELS_TO_DECODE} pixels in all"
                raise InvalidRequest(field, "more pixels", expected)
            found.append(read_image(field, content, channels, height_px, width_px))
        except InvalidRequest as error:
            got = f"{error.got} in image {index}"
            raise InvalidRequest(field, got, error.expected) from error
    return tuple(found)


def write_image(pixels: Pixels | None) -> bytes:
    """A PNG from which `read_image` reads the same `pixels` `[channels, H, W]`; none for None."""
    if pixels is None:
        return b""
    planes = np.ascontiguousarray(np.moveaxis(pixels, 0, -1))
    buffer = io.BytesIO()
    Image.fromarray(planes.squeeze(-1) if len(pixels) == 1 else planes).save(buffer, format="PNG")
    return buffer.getvalue()


@contextmanager
def _opened(field: str, content: bytes) -> Iterator[Image.Image]:
    """An image that is not decoded yet; whatever goes wrong with it names `field`."""
    try:
        with Image.open(io.BytesIO(content), formats=_FORMATS) as image:
            yield image
    except InvalidRequest:
        raise
    except Exception as error:  # decoders raise what they like on what is no image
        got = f"{len(content)} bytes"
        raise InvalidRequest(field, got, f"a PNG, JPEG or WebP: {error}") from error


def _pixel_count(field: str, content: bytes) -> int:
    with _opened(field, content) as image:
        return image.width * image.height


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
