"""A picture is written, its ascent animated, and what was measured said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.shell import run
from tests.models import SIZE


def test_maximize_writes_a_picture_and_says_what_it_measured(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    words = ["maximize", "--model", model, "--unit", 2, "--steps", 12, "--out", out]
    status, printed, _ = run(monkeypatch, capsys, *words, "--json")
    assert status == 0
    answer = json.loads(printed)
    assert (
        answer["metrics"]["unit"] == 2
        and answer["metrics"]["steps"] == 12
        and answer["path"] == str(out)
    )
    assert answer["metrics"]["preprocessing"]["inferred"]
    with Image.open(out) as picture:
        assert picture.size == (SIZE, SIZE)
    first = out.read_bytes()
    status, printed, said = run(monkeypatch, capsys, *words)
    assert (status, printed) == (0, "") and "activation" in said
    assert out.read_bytes() == first


@pytest.mark.parametrize("ending", ["webp", "gif"])
@pytest.mark.parametrize("out", ["picture.jpg", "picture.npy"])
def test_the_ascent_is_animated(
    ending: str,
    out: str,
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    animation = tmp_path / f"ascent.{ending}"
    words = ["--model", model, "--unit", 2, "--steps", 6, "--out", tmp_path / out]
    run(monkeypatch, capsys, "maximize", *words)
    plain = (tmp_path / out).read_bytes()
    status, _, _ = run(monkeypatch, capsys, "maximize", *words, "--animation", animation)
    assert status == 0 and (tmp_path / out).read_bytes() == plain
    with Image.open(animation) as frames:
        assert frames.size == (SIZE, SIZE) and getattr(frames, "n_frames", 0) > 3
