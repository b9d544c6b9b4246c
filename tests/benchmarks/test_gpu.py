"""The benchmark of graphics processors: what it says, shown on one that is none."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.gpu import measure
from tests.engine.test_device import EVEN, HALF


def test_where_nothing_can_be_measured_it_says_why() -> None:
    asked = [sys.executable, "-m", "benchmarks.gpu", "--device", "cuda:977"]
    run = subprocess.run(asked, capture_output=True, text=True, check=False)
    assert run.returncode == 1 and not run.stdout
    assert "nothing is measured: device: got 'cuda:977', expected" in run.stderr


@pytest.mark.parametrize("rows", [1, 2])
def test_every_task_has_a_time(rows: int, model_directory: Path) -> None:
    devices = {"float32": EVEN, "float16": HALF}
    found = measure(model_directory / "small.onnx", rows, 2, devices)
    expected = {f"gradient {precision}{how}" for precision in devices for how in ("", " captured")}
    expected |= {"forward float32", "step float32", "step float16"}
    assert found["tasks"].keys() == expected
    assert all(value > 0 for value in found["steps_per_second"].values())
    assert found["elsewhere"] == {}
