"""A contact sheet: pictures side by side, with what they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw

from unitscope.engine.picture import on_white
from unitscope.engine.record import read
from unitscope.errors import InvalidRequest

_COLUMNS = 4
"""As many before a second row begins; more for more pictures than a square of them."""
_CAPTION_PX = 16
_SUFFIXES = (".png", ".jpg", ".jpeg", ".webp")
_MARGIN_PX = 4


def save_sheet(paths: Sequence[Path], out: Path) -> None:
    """Write the contact sheet of the pictures at `paths`; raises InvalidRequest."""
    if out.suffix.lower() not in _SUFFIXES:
        raise InvalidRequest("out", out.name, f"a name ending in {', '.join(_SUFFIXES)}")
    contact_sheet(paths).save(out)


def contact_sheet(paths: Sequence[Path]) -> Image.Image:
    """The pictures at `paths` in rows, each under the caption that its record gives.

    Raises InvalidRequest for a file without a record.
    """
    cells = [_cell(path) for path in paths]
    columns = min(len(cells), max(_COLUMNS, math.isqrt(len(cells) - 1) + 1))
    width, height = (max(sides) for sides in zip(*(cell.size for cell in cells), strict=True))
    rows = math.ceil(len(cells) / columns)
    sheet = Image.new("RGB", (columns * width, rows * height), "white")
    for index, cell in enumerate(cells):
        row, column = divmod(index, columns)
        sheet.paste(cell, (column * width, row * height))
    return sheet


def _cell(path: Path) -> Image.Image:
    """A picture under its caption, wide enough for both."""
    if path.suffix.lower() == ".npy":
        raise InvalidRequest("picture", path.name, "a PNG, JPEG or WebP")
    caption = read(path).caption
    with Image.open(path) as opened:
        picture = on_white(opened)
        pen = ImageDraw.Draw(picture)
        width = max(picture.width, math.ceil(pen.textlength(caption)) + 2 * _MARGIN_PX)
        cell = Image.new("RGB", (width, picture.height + _CAPTION_PX), "white")
        cell.paste(picture, (0, _CAPTION_PX))
    ImageDraw.Draw(cell).text((_MARGIN_PX, 2), caption, "black")
    return cell
