"""A picture is written, its ascent animated, and what was measured said."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.cli.shell import run
from tests.images import encoded, random_pixels
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


def test_of_several_attempts_it_is_said_which_was_kept(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "picture.png"
    words = ["maximize", "--model", model, "--unit", 2, "--steps", 16, "--out", out]
    words += ["--attempts", 3, "--patience", 2, "--learning-rate", 1e-9]
    status, printed, _ = run(monkeypatch, capsys, *words, "--json")
    metrics = json.loads(printed)["metrics"]
    assert status == 0 and metrics["ending"] == "plateau"
    said = run(monkeypatch, capsys, *words)[2]
    assert f"best of 3 attempts, with seed {metrics['seed']}; plateau after 2 steps" in said
    assert run(monkeypatch, capsys, "replay", out, "--model", model)[:2] == (0, "same bytes\n")


def test_several_pictures_keep_away_from_each_other(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["maximize", "--model", model, "--unit", 2, "--steps", 6]
    several = [*words, "--pictures", 2, "--out", tmp_path / "a.png"]
    status, printed, _ = run(
        monkeypatch, capsys, *several, "--json", "--animation", tmp_path / "b.gif"
    )
    assert status == 0
    assert [answer["metrics"]["seed"] for answer in json.loads(printed)] == [0, 1]
    first, second = (tmp_path / f"a-{index}.png" for index in (1, 2))
    assert {path.name for path in tmp_path.glob("[ab]*")} == {
        "a-1.png", "a-2.png", "b-1.gif", "b-2.gif"
    }  # fmt: skip
    one = [*words, "--seed", 1, "--out", tmp_path / "one.png"]
    assert run(monkeypatch, capsys, *one, "--unlike", first)[0] == 0
    assert (tmp_path / "one.png").read_bytes() == second.read_bytes()
    assert run(monkeypatch, capsys, "replay", second, "--model", model)[:2] == (0, "same bytes\n")
    arrays = [*words, "--pictures", 2, "--out", tmp_path / "a.npy"]
    assert run(monkeypatch, capsys, *arrays)[0] == 2


def test_images_are_compared_with_and_needed_for_a_replay(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "images").mkdir()
    for name in "ba":
        (tmp_path / "images" / f"{name}.png").write_bytes(encoded(random_pixels(ord(name))))
    (tmp_path / "images" / "notes.txt").write_text("no image")
    out, images = tmp_path / "picture.png", ["--images", tmp_path / "images"]
    words = ["maximize", "--model", model, "--unit", 2, "--steps", 12, "--out", out, *images]
    words += ["--preset", "maco", "--views", 2, "--colors", "images", "--spectrum", "images"]
    status, printed, _ = run(monkeypatch, capsys, *words, "--json")
    assert status == 0 and len(json.loads(printed)["metrics"]["calibration"]["exemplars"]) == 2
    assert "% of the images (best:" in run(monkeypatch, capsys, *words)[2]
    again = ["replay", out, "--model", model]
    assert run(monkeypatch, capsys, *again)[0] == 2
    assert run(monkeypatch, capsys, *again, *images)[:2] == (0, "same bytes\n")


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
    words += ["--learning-rate", 0.2]  # so that no frame is like the one before
    run(monkeypatch, capsys, "maximize", *words)
    plain = (tmp_path / out).read_bytes()
    status, _, _ = run(monkeypatch, capsys, "maximize", *words, "--animation", animation)
    assert status == 0 and (tmp_path / out).read_bytes() == plain
    with Image.open(animation) as frames:
        assert frames.size == (SIZE, SIZE) and getattr(frames, "n_frames", 0) > 3
