"""An image that comes with a request is cut, scaled, and refused by its field."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import ExifTags, Image

from unitscope.engine.given_image import MAX_BYTES, MAX_PIXELS, read_image, read_images, write_image
from unitscope.errors import InvalidRequest


def encoded(size: tuple[int, int], mode: str = "RGB", image_format: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (200, 100, 50)).convert(mode).save(buffer, format=image_format)
    return buffer.getvalue()


def clear() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGBA", (8, 8), (200, 100, 50, 254)).save(buffer, format="PNG")
    return buffer.getvalue()


@pytest.mark.parametrize("image_format", ["PNG", "JPEG", "WEBP"])
@pytest.mark.parametrize(("channels", "first"), [(1, 124), (3, 200)])
def test_any_size_becomes_the_size_wanted(image_format: str, channels: int, first: int) -> None:
    pixels = read_image("start_image", encoded((50, 20), "RGB", image_format), channels, 8, 12)
    assert pixels.shape == (channels, 8, 12) and pixels.dtype == np.uint8
    np.testing.assert_allclose(pixels[0].astype(int), first, atol=6)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"", "a PNG, JPEG or WebP"),
        (b"not an image", "a PNG, JPEG or WebP"),
        (encoded((50, 20))[:60], "a PNG, JPEG or WebP"),
        (bytes(MAX_BYTES + 1), "at most"),
        (encoded((5000, 4000), "L"), "at most 16777216 pixels"),
        (clear(), "an opaque image"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\x05IHDR" + bytes(40), "Truncated IHDR"),
    ],
    ids=["empty", "text", "cut short", "heavy", "large", "transparent", "short header"],
)
def test_what_cannot_be_read_is_refused_by_its_field(content: bytes, expected: str) -> None:
    with pytest.raises(InvalidRequest, match=expected) as caught:
        read_image("reference", content, 3, 8, 8)
    assert caught.value.field == "reference"


def test_a_model_of_bands_has_no_photographs() -> None:
    with pytest.raises(InvalidRequest, match="grey, RGB or RGBA"):
        read_image("reference", encoded((8, 8)), 13, 8, 8)


def test_an_opaque_alpha_does_no_harm_and_a_model_of_alpha_gets_it() -> None:
    pixels = read_image("image", encoded((8, 8), "RGBA"), 3, 8, 8)
    np.testing.assert_array_equal(pixels[:, 0, 0], [200, 100, 50])
    assert set(read_image("image", clear(), 4, 8, 8)[3].ravel()) == {254}


def test_sixteen_bits_are_scaled() -> None:
    buffer = io.BytesIO()
    Image.fromarray(np.full((8, 8), 100 << 8, np.uint16)).save(buffer, format="PNG")
    assert set(read_image("image", buffer.getvalue(), 3, 8, 8).ravel()) == {100}


def test_a_photograph_is_turned_upright() -> None:
    lying = Image.new("L", (16, 8))
    lying.paste(255, (0, 0, 8, 8))
    turned = Image.Exif()
    turned[ExifTags.Base.Orientation] = 6  # the camera was held upright
    buffer = io.BytesIO()
    lying.save(buffer, format="PNG", exif=turned)
    pixels = read_image("image", buffer.getvalue(), 1, 16, 8)[0]
    assert pixels[2:6].min() == 255 and pixels[10:14].max() == 0


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_is_written_is_read(channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 9, 14), np.uint8)
    np.testing.assert_array_equal(read_image("image", write_image(pixels), channels, 9, 14), pixels)
    assert write_image(None) == b""


def test_several_images_keep_their_order() -> None:
    rows = [np.random.default_rng(seed).integers(0, 256, (3, 8, 8), np.uint8) for seed in range(3)]
    found = read_images("natural_images", [write_image(pixels) for pixels in rows], 3, 8, 8)
    np.testing.assert_array_equal(found, rows)
    assert read_images("natural_images", (), 13, 8, 8) == ()


@pytest.mark.parametrize(
    ("contents", "size_px", "expected"),
    [
        ([encoded((9, 9)), b"?"], 8, "got '1 bytes in image 1', expected a PNG, JPEG or WebP"),
        ([encoded((9, 9)), clear()], 8, "got 'transparent pixels in image 1', expected an opaque"),
        ([bytes(MAX_BYTES // 2 + 1)] * 2, 8, f"at most {MAX_BYTES} bytes in all"),
        ([encoded((9, 9))] * 17, 1024, f"got '17 images, used at 1024×1024', .*{MAX_PIXELS} pix"),
        ([encoded((4096, 4096), "L")] * 5, 8, "got 'more pixels in image 4', expected at most"),
    ],
    ids=["unreadable", "transparent", "heavy", "used large", "large"],
)
def test_several_images_are_bounded_together(
    contents: list[bytes], size_px: int, expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected) as caught:
        read_images("natural_images", contents, 3, size_px, size_px)
    assert caught.value.field == "natural_images"
