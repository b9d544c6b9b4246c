"""An ascent as an animation, put together from its previews."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from PIL import Image

from unitscope.api import ProgressListener
from unitscope.engine.picture import on_white
from unitscope.engine.request import Progress
from unitscope.errors import InvalidRequest

_FRAMES = 64
"""So many or a few more; in between there is little to see."""
_SAMPLES = 3
"""Frames that a GIF's colours are chosen from, besides the last."""
_FRAME_MILLISECONDS = 80
_LAST_FRAME_MILLISECONDS = 2000

_OPTIONS: dict[str, dict[str, Any]] = {".webp": {"quality": 90}, ".gif": {}}


def frame_every_steps(path: Path | None, steps: int) -> int:
    """How often to ask for a preview; without an animation 0, never.

    Raises InvalidRequest if `path` is not named as an animation is.
    """
    if path is None:
        return 0
    if path.suffix.lower() not in _OPTIONS:
        raise InvalidRequest("animation", path.name, f"a name ending in {', '.join(_OPTIONS)}")
    return max(steps // _FRAMES, 1)


def collecting(frames: list[bytes], listener: ProgressListener) -> ProgressListener:
    """`listener`, and the previews go to `frames`."""

    def listen(at: Progress) -> None:
        listener(at)
        if at.preview is not None:
            frames.append(at.preview)

    return listen


def save_animation(frames: Sequence[bytes], path: Path) -> None:
    """Write encoded pictures as an endless animation of the size of the last, which stays longest.

    An ascent in octaves begins with smaller ones.
    """
    pictures = [on_white(Image.open(io.BytesIO(frame))) for frame in frames]
    size, suffix = pictures[-1].size, path.suffix.lower()
    resized = [picture.resize(size, Image.Resampling.BICUBIC) for picture in pictures]
    first, *others = _in_256_colours(resized) if suffix == ".gif" else resized
    first.save(
        path,
        save_all=True,
        append_images=others,
        duration=[_FRAME_MILLISECONDS] * len(others) + [_LAST_FRAME_MILLISECONDS],
        loop=0,
        **_OPTIONS[suffix],
    )


def _in_256_colours(pictures: Sequence[Image.Image]) -> Sequence[Image.Image]:
    """The same colours for all, so that nothing flickers; greys are no more than that anyway.

    Median cut alone forgets what is small and bright: the orange of a goldfish.
    """
    if pictures[0].mode == "L":
        return pictures
    chosen = [*pictures[:: max(len(pictures) // _SAMPLES, 1)], pictures[-1]]
    width, height = pictures[0].size
    sample = Image.new("RGB", (width * len(chosen), height))
    for index, picture in enumerate(chosen):
        sample.paste(picture, (width * index, 0))
    palette = sample.quantize(kmeans=1)
    return [picture.quantize(palette=palette) for picture in pictures]
