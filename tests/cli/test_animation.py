"""An animation holds the previews in order, all of the last one's size."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageSequence

from unitscope.cli.animation import collecting, frame_every_steps, save_animation
from unitscope.engine.picture import encode
from unitscope.engine.request import ImageFormat, Progress
from unitscope.errors import InvalidRequest


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
@pytest.mark.parametrize("image_format", ["png", "jpeg"])
@pytest.mark.parametrize("channels", [1, 3])
def test_frames_in_order(
    suffix: str, image_format: ImageFormat, channels: int, tmp_path: Path
) -> None:
    levels = (40, 120, 200)
    frames = [
        encode(np.full((channels, side, side), level, np.uint8), image_format)
        for side, level in zip((16, 16, 24), levels, strict=True)
    ]
    path = tmp_path / f"ascent{suffix}"
    save_animation(frames, path)
    with Image.open(path) as animation:
        assert animation.size == (24, 24) and animation.info["loop"] == 0
        shown, durations = [], []
        for frame in ImageSequence.Iterator(animation):
            shown.append(np.asarray(frame.convert("L")).mean())
            durations.append(frame.info["duration"])
    assert shown == pytest.approx(levels, abs=4)
    assert durations == [80, 80, 2000]


@pytest.mark.parametrize("suffix", [".webp", ".gif"])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_transparent_picture_ends_on_white(suffix: str, channels: int, tmp_path: Path) -> None:
    black, nothing = np.zeros((channels, 16, 16), np.uint8), np.zeros((16, 16), np.float32)
    path = tmp_path / f"ascent{suffix}"
    save_animation([encode(black, "png"), encode(black, "png", alpha=nothing)], path)
    with Image.open(path) as animation:
        shown = [np.asarray(frame.convert("L")) for frame in ImageSequence.Iterator(animation)]
    assert shown[0].max() < 8 and shown[1].min() > 247


@pytest.mark.parametrize(("steps", "every"), [(1, 1), (64, 1), (256, 4), (1000, 15)])
def test_a_few_dozen_frames(steps: int, every: int) -> None:
    assert frame_every_steps(Path("a.gif"), steps) == every
    assert frame_every_steps(None, steps) == 0


def test_another_suffix_is_refused() -> None:
    with pytest.raises(InvalidRequest, match=r"animation: got 'a\.mp4', expected .*\.webp, \.gif"):
        frame_every_steps(Path("a.mp4"), 10)


def test_previews_are_collected_on_the_way() -> None:
    frames: list[bytes] = []
    told: list[Progress] = []
    listener = collecting(frames, told.append)
    for step, preview in enumerate((None, b"a", None, b"b"), 1):
        listener(Progress(step, 4, 0.0, 0.0, preview))
    assert frames == [b"a", b"b"] and [at.step for at in told] == [1, 2, 3, 4]
