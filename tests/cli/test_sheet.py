"""The contact sheet shows every picture under its caption."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.engine.test_record import climbed, pictures, saved
from unitscope.cli.sheet import contact_sheet, save_sheet
from unitscope.engine.engine import Engine
from unitscope.engine.request import ImageFormat
from unitscope.errors import InvalidRequest


@pictures
def test_a_picture_under_its_caption(
    engine: Engine, image_format: ImageFormat, tmp_path: Path
) -> None:
    path = saved(climbed(engine, image_format=image_format, image_size_px=100), tmp_path)
    sheet = contact_sheet([path])
    with Image.open(path) as picture:
        assert sheet.size == (picture.width, picture.height + 16)
        np.testing.assert_array_equal(np.asarray(sheet)[16:], np.asarray(picture))
    caption = np.asarray(sheet)[:16]
    assert caption.min() < 100 and caption.mean() > 200


def test_a_transparent_picture_is_on_white(engine: Engine, tmp_path: Path) -> None:
    path = saved(climbed(engine, transparent=True, image_size_px=100), tmp_path)
    shown = np.asarray(contact_sheet([path]))[16:]
    with Image.open(path) as picture:
        alpha = np.asarray(picture.getchannel("A"))
        pixels = np.asarray(picture.convert("RGB"))
    np.testing.assert_array_equal(shown[alpha == 255], pixels[alpha == 255])
    assert shown[alpha < 100].mean() > pixels[alpha < 100].mean()


@pytest.mark.parametrize(
    ("count", "columns", "rows"), [(1, 1, 1), (4, 4, 1), (5, 4, 2), (16, 4, 4), (17, 5, 4)]
)
def test_rows_and_columns(
    engine: Engine, count: int, columns: int, rows: int, tmp_path: Path
) -> None:
    path = saved(climbed(engine, image_size_px=100), tmp_path)
    assert contact_sheet([path] * count).size == (columns * 100, rows * 116)


def test_a_small_picture_has_room_for_its_caption(engine: Engine, tmp_path: Path) -> None:
    large = saved(climbed(engine, image_size_px=100), tmp_path)
    small = climbed(engine, model="grey", layer="features.conv").save(tmp_path / "grey.png")
    width, height = contact_sheet([small]).size
    assert width > 12 and height == 28
    assert contact_sheet([small, large]).size == (2 * max(width, 100), 116)


@pytest.mark.parametrize("name", ["sheet.png", "sheet.jpg", "sheet.WEBP"])
def test_a_sheet_is_written(engine: Engine, name: str, tmp_path: Path) -> None:
    save_sheet([saved(climbed(engine), tmp_path)], tmp_path / name)
    with Image.open(tmp_path / name) as sheet:
        assert sheet.height == 28


def test_what_cannot_be_shown_is_named(engine: Engine, tmp_path: Path) -> None:
    bare = tmp_path / "bare.png"
    Image.new("RGB", (8, 8)).save(bare)
    with pytest.raises(InvalidRequest, match=r"bare\.png.* it has none"):
        contact_sheet([bare])
    array = saved(climbed(engine, image_format="npy"), tmp_path)
    with pytest.raises(InvalidRequest, match=r"picture: got 'picture\.npy', expected a PNG"):
        contact_sheet([array])
    with pytest.raises(InvalidRequest, match=r"out: got 'sheet\.npy', expected a name ending"):
        save_sheet([bare], tmp_path / "sheet.npy")
