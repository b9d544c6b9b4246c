"""Pictures survive encoding; lossless formats exactly."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest

from unitscope.engine.picture import decode, encode
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
