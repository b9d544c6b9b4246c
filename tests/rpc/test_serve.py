"""The server as a process: it says where it listens, and a signal ends it without a loss."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.rpc.live import ENDLESS, LiveServer
from unitscope.client import Client
from unitscope.engine.request import Accepted, Maximization
from unitscope.errors import ShuttingDown

SERVE = [sys.executable, "-W", "error", "-c", "from unitscope.rpc.server import serve; serve()"]


@contextmanager
def served(models: Path, **settings: object) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process and its gRPC target."""
    knobs = {"grpc_port": 0, "http_port": 0, "drain_announce_seconds": 0, "models": models}
    given = {f"UNITSCOPE_{name.upper()}": str(value) for name, value in (knobs | settings).items()}
    environment = os.environ | given
    with subprocess.Popen(SERVE, env=environment, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.search(r"serving gRPC on (\S+) and HTTP on (\S+)", line)
        assert found is not None, line + process.stderr.read()
        try:
            yield process, found[1]
        finally:
            process.kill()


@pytest.mark.parametrize("received", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_a_running_request_finish(
    model_directory: Path, received: signal.Signals
) -> None:
    with served(model_directory) as (process, target), Client(target, timeout_seconds=60) as client:
        stream = client.stream(1, model="small", steps=300)
        assert isinstance(next(stream), Accepted)
        process.send_signal(received)
        *_, last = stream
        assert isinstance(last, Maximization)
        assert last.metrics.steps == 300
        assert process.wait(60) == 0


def test_what_does_not_finish_in_time_is_sent_elsewhere(model_directory: Path) -> None:
    limits = {"max_steps": ENDLESS, "drain_grace_seconds": 0}
    with served(model_directory, **limits) as (process, target):
        with Client(target, timeout_seconds=60) as client:
            stream = client.stream(1, model="small", steps=ENDLESS)
            assert isinstance(next(stream), Accepted)
            process.send_signal(signal.SIGTERM)
            with pytest.raises(ShuttingDown):
                list(stream)
        assert process.wait(60) == 0


def test_a_second_signal_ends_the_process_at_once(model_directory: Path) -> None:
    limits = {"max_steps": ENDLESS, "drain_grace_seconds": 3600}
    with served(model_directory, **limits) as (process, target), Client(target) as client:
        stream = client.stream(1, model="small", steps=ENDLESS)
        assert isinstance(next(stream), Accepted)
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        assert "draining" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == -signal.SIGTERM


@pytest.mark.parametrize("door", ["grpc_port", "http_port"])
def test_a_taken_port_is_told(live: LiveServer, door: str) -> None:
    settings = {"UNITSCOPE_GRPC_PORT": "0", "UNITSCOPE_HTTP_PORT": "0"}
    port = str(getattr(live, door))
    again = subprocess.run(
        SERVE,
        env=os.environ | settings | {f"UNITSCOPE_{door.upper()}": port},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert again.returncode == 1
    assert f"{door}: got {port}, expected a free port of 127.0.0.1" in again.stderr
    assert "never awaited" not in again.stderr
