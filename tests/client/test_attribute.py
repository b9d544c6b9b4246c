"""Every way to ask gives the same attribution."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import unitscope
from tests.cli.shell import run
from tests.client.test_client import awaited
from tests.images import encoded, random_pixels
from tests.rpc.live import LiveServer
from unitscope.client import Client
from unitscope.errors import InvalidRequest

IMAGE = encoded(random_pixels())
ASKED: dict[str, Any] = {"unit": "cat", "method": "smoothgrad", "samples": 3, "seed": 4}


def test_all_give_the_same(live: LiveServer, client: Client, model_directory: Path) -> None:
    waited = client.attribute(IMAGE, model="small", **ASKED)
    near = unitscope.attribute(IMAGE, model=model_directory / "small.onnx", **ASKED)
    far = awaited(live, lambda client: client.attribute(IMAGE, model="small", **ASKED))
    for other in (near, far):
        assert replace(other, running_seconds=waited.running_seconds) == waited
    assert (waited.samples, waited.seed) == (3, 4)


def test_both_clients_raise_the_errors_of_the_engine(live: LiveServer, client: Client) -> None:
    with pytest.raises(InvalidRequest, match="image: got '4 bytes'"):
        client.attribute(b"none", 1, model="small")
    with pytest.raises(InvalidRequest, match=r"noise: got 0\.1, expected none"):
        awaited(live, lambda client: client.attribute(IMAGE, 1, model="small", noise=0.1))


@pytest.mark.parametrize("far", [False, True])
def test_the_command_line_writes_what_it_is_told(
    far: bool,
    live: LiveServer,
    client: Client,
    model_directory: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    names = ("photo.png", "overlay.png", "heat.png", "values.npy")
    photo, out, heat, values = (tmp_path / name for name in names)
    photo.write_bytes(IMAGE)
    options = {**ASKED, "out": out, "heat-map": heat, "values": values}
    options |= {"server": live.target, "model": "small"} if far else {}
    options.setdefault("model", model_directory / "small.onnx")
    words = [word for name, value in options.items() for word in (f"--{name}", value)]
    status, printed, said = run(monkeypatch, capsys, "attribute", photo, *words)
    assert (status, printed) == (0, "") and "smoothgrad of unit 2 cat" in said
    expected = client.attribute(IMAGE, model="small", **ASKED)
    assert out.read_bytes() == expected.overlay and heat.read_bytes() == expected.heat_map
    np.testing.assert_array_equal(np.load(values), expected.values)
    status, printed, _ = run(monkeypatch, capsys, "attribute", photo, *words, "--json")
    answer = json.loads(printed)
    assert status == 0 and answer["activation"] == expected.activation
    assert answer["path"] == str(out) and "heat_map" not in answer
    words = [
        "attribute",
        photo,
        "--unit",
        2,
        "--out",
        out,
        "--model",
        model_directory / "small.onnx",
    ]
    status, _, said = run(monkeypatch, capsys, *words)
    assert status == 0 and "completeness gap" in said and "%" in said


def test_a_mistake_on_the_command_line_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "overlay.png"
    words = ["attribute", tmp_path / "absent.png", "--unit", "zebra", "--out", out]
    status, printed, said = run(monkeypatch, capsys, *words)
    assert (status, printed) == (2, "") and said.startswith("error: image: got")
    assert "a readable file" in said and not out.exists()
