"""The tables say what was measured, and what was not."""

from __future__ import annotations

from typing import Any

from benchmarks.report import report
from benchmarks.timed import Timed


def result(model: str, **changes: Any) -> dict[str, Any]:
    medians = {
        "forward/1": 10.0, "gradient/1": 20.0, "step/1": 22.0, "middle_forward/1": 4.0,
        "middle_gradient/1": 10.0, "forward/8": 80.0, "gradient/8": 128.0, "step/8": 200.0,
        "eager/1": 40.0, "channels_last/1": 30.0, "eager/8": 192.0, "onnx-ad/1": 50.0,
    }  # fmt: skip
    return {
        "kind": "model",
        "model": model,
        "tasks": {task: {"median_ms": time} for task, time in medians.items()},
        "peers": {"onnx-ad/1": {"prepare_seconds": 1.0, "differs": 0.5}},
        "refused": {"ORT training": "RuntimeError: no gradient of BatchNormalization"},
        "load_seconds": 1.0,
        "program_seconds": 2.0,
        "same_bytes": {"runs": True, "rows/8": True},
    } | changes


def cells(text: str, begin: str) -> list[str]:
    (line,) = [line for line in text.split("\n") if line.startswith(f"| {begin}")]
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_ratios_of_a_model() -> None:
    one = Timed(result("vgg16"))
    assert one.ratio("gradient", "forward") == 2.0
    assert one.best() == "channels_last"
    assert one.against("gradient") == 1.5
    assert one.against("gradient", batch=8) == 1.5
    assert one.gain("gradient", 8) == 1.25
    assert one.best_gain("gradient", 8) == 1.25
    assert one.best_gain("step", 8) == 1.0  # one by one: 8 at once take longer
    assert one.middle() == 1.25
    assert one.ratio("Lucent", "step") is None


def test_aims_stand_beside_what_was_found() -> None:
    text = report([result("vgg16"), result("swin_t")])
    heavy = cells(text, "gradient ÷ forward, batch 1 / 8: heavy")
    assert heavy[1:] == ["≤ 1.9", "vgg16 2.00 / 1.60", "PyTorch: vgg16 3.00 / 2.40"]
    (counted,) = [line for line in text.split("\n") if line.startswith("| PyTorch's best")]
    assert "1.50 to 1.50; ≥ 1.3 on 4 of 4, ≥ 2 on 0 of 4" in counted
    assert cells(text, "whole step")[2] == "vgg16 1.10, swin_t 1.10"


def test_what_is_missing_is_said() -> None:
    text = report([{"kind": "failed", "what": "vit_b_16", "reason": "ValueError: no"}])
    assert cells(text, "steps per second")[2] == "not measured"
    assert cells(text, "building a program")[2] == "not measured"
    assert "- vit_b_16: ValueError: no" in text


def test_refusals_and_wrong_gradients_are_named() -> None:
    text = report([result("vgg16"), result("swin_t")])
    row = cells(text, "vgg16 | 1")
    assert row[8:10] == ["2.50, differs", "refused"]
    assert "- ORT training: RuntimeError: no gradient of BatchNormalization (vgg16, swin_t)" in text
    assert "- onnx-ad: another gradient by 50.0% (vgg16 (batch 1), swin_t (batch 1))" in text


def test_rows_that_depend_on_each_other_are_named() -> None:
    text = report([result("vgg16"), result("swin_t", same_bytes={"runs": True, "rows/8": False})])
    assert cells(text, "same bytes")[2] == "1 of 2 (not swin_t); 2 of 2"
