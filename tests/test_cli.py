"""The command line, as a user types it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

import unitscope
from tests.models import SIZE, small_classifier
from unitscope.cli import main


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    return path


def run(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *words: object
) -> tuple[int, str, str]:
    """Exit status, standard output, standard error."""
    monkeypatch.setattr(sys, "argv", ["unitscope", *map(str, words)])
    with pytest.raises(SystemExit) as ended:
        main()
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out, " ".join(said.err.split())


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


def test_the_version_is_told(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(monkeypatch, capsys, "--version")[:2] == (0, f"{unitscope.__version__}\n")


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
