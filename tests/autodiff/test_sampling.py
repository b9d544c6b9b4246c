"""The gradient of GridSample, which ONNX's suite samples too little."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.autodiff.transposes import assert_transpose, gradient
from unitscope.errors import ModelRejected

PLACES = np.random.default_rng(0).uniform(-1.6, 1.6, (2, 5, 6, 2)).astype(np.float32)
PLACES[0, 0] = [[-1.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [50.0, -1e6], [0.0, 0.0]]


@pytest.mark.parametrize("opened", [(), (0,)], ids=str)
@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border"])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_bilinear(
    channels: int, padding_mode: str, align_corners: int, opened: Sequence[int]
) -> None:
    x = np.random.default_rng(1).standard_normal((2, channels, 4, 7)).astype(np.float32)
    found = gradient(
        "GridSample", x, [PLACES], opened=opened, mode="bilinear", padding_mode=padding_mode,
        align_corners=align_corners,
    )  # fmt: skip
    assert_transpose(x, *found)


@pytest.mark.parametrize("align_corners", [0, 1])
@pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
@pytest.mark.parametrize("mode", ["nearest", "bilinear", "bicubic"])
def test_every_way_to_sample(mode: str, padding_mode: str, align_corners: int) -> None:
    x = np.random.default_rng(1).standard_normal((2, 2, 4, 7)).astype(np.float32)
    found = gradient(
        "GridSample", x, [np.clip(PLACES, -20, 20)], mode=mode, padding_mode=padding_mode,
        align_corners=align_corners,
    )  # fmt: skip
    assert_transpose(x, *found)


def test_an_image_of_unknown_size_is_refused() -> None:
    x = np.zeros((2, 3, 4, 7), np.float32)
    with pytest.raises(ModelRejected, match=r"\(GridSample\).*size is known only at run time"):
        gradient("GridSample", x, [PLACES], opened=(2, 3))
