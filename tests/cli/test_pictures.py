"""A picture is replayed from itself, and shown with others on a sheet."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from tests.cli.shell import run
from tests.models import SIZE, small_classifier


@pytest.mark.parametrize("ending", ["png", "jpg", "webp", "npy"])
def test_a_picture_is_replayed_from_itself(
    ending: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    out, again = tmp_path / f"picture.{ending}", tmp_path / f"again.{ending}"
    run(monkeypatch, capsys, "maximize", "--model", model, "--unit", 2, "--steps", 4, "--out", out)
    status, printed, _ = run(monkeypatch, capsys, "replay", out, "--model", model, "--out", again)
    assert (status, printed) == (0, "same bytes\n")
    assert again.read_bytes() == out.read_bytes()
    assert out.with_suffix(".json").is_file() == again.with_suffix(".json").is_file()
    assert out.with_suffix(".json").is_file() == (ending == "npy")


def test_replay_says_what_differs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    run(monkeypatch, capsys, "maximize", "--model", model, "--unit", 2, "--steps", 4, "--out", out)
    with Image.open(out) as picture:
        chunks = PngInfo()
        chunks.add_text("unitscope", picture.info["unitscope"].replace("x86_64", "pdp11"))
        picture.putpixel((0, 0), (0, 0, 0))
        picture.save(out, pnginfo=chunks)
    status, printed, _ = run(monkeypatch, capsys, "replay", out, "--model", model)
    assert status == 1
    assert "pixels: 0.69% differ, by at most" in printed
    assert printed.endswith("the bytes differ\n")
    onnx.save(small_classifier(seed=1), model)
    status, printed, said = run(monkeypatch, capsys, "replay", out, "--model", model)
    assert (status, printed) == (2, "") and said.startswith("error: model: got 'small with SHA-256")
    status, printed, said = run(monkeypatch, capsys, "replay", model)
    assert (status, printed) == (2, "") and "expected a picture with a record" in said


def test_a_sheet_of_pictures(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out, sheet = tmp_path / "picture.png", tmp_path / "sheet.png"
    run(monkeypatch, capsys, "maximize", "--model", model, "--unit", 2, "--steps", 1, "--out", out)
    assert run(monkeypatch, capsys, "sheet", out, out, "-o", sheet)[0] == 0
    with Image.open(sheet) as picture:
        assert picture.width >= 2 * SIZE and picture.height == SIZE + 16
    status, _, said = run(monkeypatch, capsys, "sheet", sheet, "-o", out)
    assert status == 2 and "sheet.png" in said and "it has none" in said
