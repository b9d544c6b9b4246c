"""Models and layers are listed, gradients proven and written down."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from PIL import Image

from tests.cli.shell import run
from tests.models import SIZE, small_classifier
from tests.rpc.live import LiveServer


def test_layers_and_models_are_listed(
    model: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, _ = run(monkeypatch, capsys, "layers", "--model", model, "--json")
    assert status == 0
    listed = json.loads(printed)
    assert [layer["kind"] for layer in listed][-2:] == ["logits", "probability"]
    assert listed[1]["pre_activation"] == "conv_out" and listed[1]["unit_count"] == 4
    status, printed, _ = run(monkeypatch, capsys, "layers", "--model", model)
    assert status == 0 and "features.conv" in printed and f"4×{SIZE - 2}×{SIZE - 2}" in printed
    status, printed, _ = run(monkeypatch, capsys, "models", "--models", model.parent, "--json")
    assert status == 0
    assert [info["name"] for info in json.loads(printed)] == ["squeezenet1_1", "small"]


def test_a_server_is_told_to_load_and_unload(
    live: LiveServer, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def tell(*words: str) -> tuple[int, str]:
        status, _, said = run(monkeypatch, capsys, *words, "--server", live.target)
        return status, said

    assert tell("unload", "bare", "--model-version", "1") == (0, "")
    status, said = tell("layers", "--model", "bare", "--model-version", "1")
    assert status == 2 and "version 1 of model 'bare' was unloaded; load it to use it" in said
    assert tell("load", "bare") == (0, "loaded version 1 of bare")
    assert tell("layers", "--model", "bare", "--model-version", "1")[0] == 0


def test_check_proves_a_gradient(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    status, printed, _ = run(monkeypatch, capsys, "check", model, "--json")
    checkup = json.loads(printed)
    assert (status, checkup["verdict"], checkup["tensor"]) == (0, "proven", "logits")
    assert checkup["preprocessing"]["stated"] is False and checkup["sha256"]
    Image.new("RGB", (SIZE, SIZE)).save(tmp_path / "black.png")
    words = ["check", model, "--layer", "features.relu", "--images", tmp_path]
    status, printed, _ = run(monkeypatch, capsys, *words)
    assert status == 0 and "relu_out" in printed and "confidence" in printed
    assert printed.rstrip().endswith("proven")


def test_check_fails_on_what_it_cannot_prove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "dead.onnx"
    onnx.save(small_classifier(relus="dead"), path)
    status, printed, _ = run(monkeypatch, capsys, "check", path)
    assert status == 1 and printed.rstrip().endswith("no gradient arrives")
    status, printed, said = run(monkeypatch, capsys, "check", tmp_path / "absent.onnx")
    assert status == 2 and printed == "" and "absent.onnx" in said


def test_export_gradient_writes_a_model_that_runs(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "gradient.onnx"
    status, _, _ = run(
        monkeypatch, capsys, "export-gradient", model, "--layer", "features.conv", "-o", out
    )
    assert status == 0
    session = ort.InferenceSession(out)
    assert [item.name for item in session.get_inputs()] == ["image", "cotangent"]
    assert [item.name for item in session.get_outputs()] == ["conv_out", "image_gradient"]
