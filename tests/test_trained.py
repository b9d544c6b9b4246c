"""The main job on real models: a zebra that another network recognises, again and again."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from PIL import Image

from tests.rpc.live import LiveServer
from tests.trained import MODELS, needs_trained_models
from unitscope import maximize

ZEBRA = 340

pytestmark = needs_trained_models


def run_maximize(out: Path, *words: str) -> dict[str, Any]:
    """What ``unitscope maximize --json`` prints."""
    command = [sys.executable, "-m", "unitscope", "maximize", "--unit", "zebra", "--steps", "224"]
    command += ["--seed", "0", "--out", str(out), "--json", *words]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    answer: dict[str, Any] = json.loads(run.stdout)
    return answer


def test_a_zebra_is_a_zebra_to_another_network_too(live: LiveServer, tmp_path: Path) -> None:
    here, again, there = (tmp_path / f"{name}.png" for name in ("here", "again", "there"))
    best = run_maximize(here)["metrics"]["top_classes"][0]
    assert best["label"] == "zebra" and best["probability"] >= 0.99
    assert ZEBRA in top_five_of_efficientnet(here)
    run_maximize(again)
    run_maximize(there, "--server", live.target)
    assert here.read_bytes() == again.read_bytes() == there.read_bytes()


def top_five_of_efficientnet(picture: Path) -> list[int]:
    """The five classes that EfficientNet-Lite0, trained apart, sees in a picture."""
    session = ort.InferenceSession(MODELS / "efficientnet_lite0.onnx")
    with Image.open(picture) as image:
        pixels = np.asarray(image.convert("RGB").resize((224, 224), Image.Resampling.BICUBIC))
    seen = np.moveaxis((pixels.astype(np.float32) - 127) / 128, -1, 0)[None]
    (scores,) = session.run(None, {session.get_inputs()[0].name: seen})
    return [int(index) for index in np.argsort(-scores[0])[:5]]


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_every_model_loads_and_ascends(path: Path) -> None:
    metrics = maximize(1, model=path, steps=16).metrics
    assert metrics.activation_end > metrics.activation_start
    assert metrics.tensor != "softmax" and metrics.preprocessing.inferred == (
        path.stem != "squeezenet1_1"
    )
