"""A mistake is one sentence, and the version is told."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

import unitscope
from tests.cli.shell import run
from tests.models import small_classifier


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--unit", "zebra", "--out", "z.png"], "unknown label in layer 'fc' 'zebra'"),
        (["--unit", "1", "--out", "z.bmp"], "out: got 'z.bmp', expected a name ending in .png"),
        (
            ["--unit", "1", "--out", "z.png", "--steps", "0"],
            "steps: got 0, expected a whole number in 1..4096",
        ),
        (
            ["--unit", "1", "--out", "z.png", "--layer", "fcc"],
            "unknown layer 'fcc'; did you mean: fc",
        ),
        (
            ["--unit", "1", "--out", "z.png", "--position", "1"],
            "position: got '1', expected two whole numbers X,Y",
        ),
    ],
)
def test_a_mistake_is_one_sentence(
    words: list[str],
    message: str,
    model: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    status, printed, said = run(monkeypatch, capsys, "maximize", "--model", model, *words)
    assert status == 2 and printed == ""
    assert said.startswith("error:") and message in said


def test_brackets_in_a_sentence_are_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    model = small_classifier()
    model.graph.input.append(
        onnx.helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, ["N", 1])
    )
    onnx.save(model, tmp_path / "two.onnx")
    status, _, said = run(monkeypatch, capsys, "check", tmp_path / "two.onnx")
    assert status == 2 and "under [input] in a card" in said and "[constants]" in said
    monkeypatch.setenv("COLUMNS", "400")
    status, printed, _ = run(monkeypatch, capsys, "models", "--models", tmp_path)
    assert status == 0 and "[constants]" in printed


def test_the_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "--version")[:2] == (0, f"{unitscope.__version__}\n")
