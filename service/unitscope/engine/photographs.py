"""Photographs from a directory, labelled by the folder they lie in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from unitscope.ascent.preprocessing import picture_channels
from unitscope.errors import InvalidRequest
from unitscope.graph.card import Card

SUFFIXES = frozenset({".png", ".jpg", ".jpeg", ".webp", ".bmp", ".gif", ".tif", ".tiff"})
_MODES = {"L": "L", "RGB": "RGB", "RGBA": "RGBA"}
_CENTRE = 0.875
"""The share of the shorter side that ImageNet's evaluation keeps."""
_SMALL_PX = 64


@dataclass(frozen=True, slots=True)
class Photograph:
    """`pixels`: `[C, H, W]` in 0..1, as a model sees it. `label`: index of its class, if known."""

    path: Path
    pixels: np.ndarray
    label: int | None


def read_photographs(
    directory: Path, card: Card, labels: Sequence[str], class_count: int
) -> list[Photograph]:
    """All images in `directory`; those in a folder of its own belong to the class it is called by.

    A folder is called by the label of its class or its index. Raises InvalidRequest where it is
    neither, where a file is no image, or where there is none.
    """
    mode = _MODES.get(picture_channels(card))
    if mode is None:
        raise InvalidRequest("images", card.channels, "a model of grey, RGB or RGBA pictures")
    if not directory.is_dir():
        raise InvalidRequest("images", str(directory), "a directory of images")
    found = [
        Photograph(path, _pixels(path, mode, card), label)
        for folder, label in _folders(directory, labels, class_count)
        for path in sorted(folder.iterdir())
        if path.suffix.lower() in SUFFIXES
    ]
    if not found:
        raise InvalidRequest(
            "images", str(directory), f"files ending in {', '.join(sorted(SUFFIXES))}"
        )
    return found


def _folders(
    directory: Path, labels: Sequence[str], class_count: int
) -> Iterator[tuple[Path, int | None]]:
    yield directory, None
    folded = [label.casefold() for label in labels]
    for folder in sorted(path for path in directory.iterdir() if path.is_dir()):
        if folder.name.casefold() in folded:
            yield folder, folded.index(folder.name.casefold())
        elif folder.name.isdecimal() and int(folder.name) < class_count:
            yield folder, int(folder.name)
        else:
            raise InvalidRequest(
                "images", folder.name, f"folders called by a label or 0..{class_count - 1}"
            )


def _pixels(path: Path, mode: str, card: Card) -> np.ndarray:
    """The centre of the image, as ImageNet's evaluation cuts it; small ones whole."""
    size = (card.width_px, card.height_px)
    share = _CENTRE if min(size) >= _SMALL_PX else 1.0
    wider = tuple(round(side / share) for side in size)
    try:
        with Image.open(path) as image:
            fitted = ImageOps.fit(
                image.convert(mode), (wider[0], wider[1]), Image.Resampling.BILINEAR
            )
    except (UnidentifiedImageError, OSError) as error:
        raise InvalidRequest("images", path.name, f"an image: {error}") from error
    left, top = ((w - s) // 2 for w, s in zip(wider, size, strict=True))
    cut = np.asarray(fitted.crop((left, top, left + size[0], top + size[1])), np.float32) / 255
    return cut[None] if cut.ndim == 2 else np.ascontiguousarray(np.moveaxis(cut, -1, 0))
