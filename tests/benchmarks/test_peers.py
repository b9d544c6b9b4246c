"""A peer that cannot be asked is kept as a refusal and stops nothing."""

from __future__ import annotations

import math
import sys
from pathlib import Path

import numpy as np

from benchmarks.peers.case import Case
from benchmarks.peers.known import PEERS, Peer
from benchmarks.peers.process import ROOT, PeerProcess

CASE = Case("none", "none.onnx", np.zeros((1, 3, 4, 4), "f"), np.zeros((1, 5), "f"), threads=1)


def refusal_of(peer: Peer) -> str:
    with PeerProcess(peer) as process:
        assert process.prepare(CASE) == {}
        assert math.isnan(process.turn("any", 1))
        return process.refusal


def test_an_environment_that_is_not_there() -> None:
    peer = Peer(name="nobody", module="onnx_ad", python=ROOT / ".venv" / "nobody" / "python")
    assert refusal_of(peer) == "absent: there is no .venv/nobody/python"


def test_a_package_that_is_not_there() -> None:
    said = refusal_of(Peer(name="nobody", module="nobody"))
    assert said == "not installed: No module named 'benchmarks.peers.nobody'"


def test_a_process_that_ends(tmp_path: Path) -> None:
    python = tmp_path / "python"
    python.write_text("#!/bin/sh\necho no memory >&2\nexit 1\n")
    python.chmod(0o755)
    peer = Peer(name="nobody", module="onnx_ad", python=python)
    assert refusal_of(peer) == "its process ended: no memory"


def test_a_model_that_is_refused() -> None:
    peer = Peer(name="training", module="ort_training", python=Path(sys.executable))
    said = refusal_of(peer)
    assert said.startswith(("not installed:", "NoSuchFile:"))


def test_every_peer_is_a_module() -> None:
    modules = {path.stem for path in (ROOT / "benchmarks" / "peers").glob("*.py")}
    assert {peer.module for peer in PEERS} <= modules
