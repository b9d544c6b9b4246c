"""Pictures survive encoding; lossless formats exactly."""

from __future__ import annotations

import io
from typing import get_args

import numpy as np
import pytest
from PIL import Image

from unitscope.engine.picture import alpha_of, decode, encode, on_white
from unitscope.engine.request import ImageFormat

SIGNATURES = {"png": b"\x89PNG", "jpeg": b"\xff\xd8\xff", "webp": b"RIFF", "npy": b"\x93NUMPY"}


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
@pytest.mark.parametrize("image_format", get_args(ImageFormat))
def test_what_is_encoded_is_decoded(image_format: ImageFormat, channels: int) -> None:
    ramp = (
        np.linspace(0, 255, 16 * 24).reshape(1, 16, 24)
        * np.linspace(0.5, 1, channels)[:, None, None]
    )
    pixels = ramp.astype(np.uint8)
    content = encode(pixels, image_format)
    assert content.startswith(SIGNATURES[image_format])
    found = decode(content, channels)
    assert found.shape == pixels.shape
    tolerance = 8 if image_format == "jpeg" else 0
    assert np.abs(found.astype(int) - pixels).max() <= tolerance
    assert content == encode(pixels, image_format)


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
@pytest.mark.parametrize("image_format", ["png", "webp"])
def test_what_is_not_seen_is_there_all_the_same(image_format: ImageFormat, channels: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 16, 24), np.uint8)
    alpha = np.linspace(0, 1, 24, dtype=np.float32) * np.ones((16, 1), np.float32)
    content = encode(pixels, image_format, alpha=alpha)
    np.testing.assert_array_equal(decode(content, channels), pixels)
    image = Image.open(io.BytesIO(content))
    found = np.asarray(image.getchannel("A"))
    np.testing.assert_array_equal(found[:, :24], np.rint(255 * alpha))
    seen = np.asarray(on_white(image).convert("L")).reshape(16, -1, 24)
    assert (seen[..., 0] == 255).all() and seen[..., -1].mean() < 200


def test_the_alpha_of_an_array_is_its_last_channel() -> None:
    pixels = np.random.default_rng(0).random((3, 4, 5), np.float32)
    content = encode(pixels, "npy", alpha=np.full((4, 5), 0.5, np.float32))
    np.testing.assert_array_equal(np.load(io.BytesIO(content))[3], np.full((4, 5), 0.5))
    np.testing.assert_array_equal(decode(content, 3), pixels)


def test_a_fifth_of_the_pixels_is_wholly_seen() -> None:
    alpha = alpha_of(np.arange(100, dtype=np.float32).reshape(10, 10))
    assert alpha.min() == 0 and (alpha == 1).sum() == 20
    few = np.zeros((10, 10), np.float32)
    few[0, 0] = 3
    assert alpha_of(few)[0, 0] == 1 and alpha_of(few).sum() == 1
