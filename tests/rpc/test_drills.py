"""What happens when callers misbehave or the server must go: see docs/promises.md."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import onnx
import pytest

from tests.engine.crashers import TRAPS, division_trap
from tests.models import small_classifier
from tests.rpc.live import ENDLESS, LIMITS, LiveServer, live_server, service_of
from tests.rpc.test_serve import served
from tests.services import Models
from unitscope.client import Client
from unitscope.engine.engine import EngineSettings
from unitscope.engine.request import Accepted, Maximization, MaximizeRequest, Progress
from unitscope.errors import ShuttingDown, WorkerDied
from unitscope.rpc.convert import from_event, to_stream_request

STORM = 200
IN_FLIGHT = 16
SMALL_WINDOW = [("grpc.http2.bdp_probe", 0), ("grpc.http2.lookahead_bytes", 1 << 16)]


def test_a_storm_of_dropped_streams_leaves_nothing_behind(models: Models) -> None:
    settings = EngineSettings(limits=LIMITS, max_requests_per_client=STORM)
    with live_server(models, settings) as live, Client(live.target) as client:
        streams = [client.stream(1, model="small", steps=ENDLESS, seed=i) for i in range(STORM)]
        with ThreadPoolExecutor(STORM) as pool:
            assert all(isinstance(first, Accepted) for first in pool.map(next, streams))
            assert client.health() == "SERVING"
            list(pool.map(lambda stream: stream.close(), streams))
        assert client.maximize(1, model="small", steps=3).metrics.steps == 3
        assert until_idle(live)


def until_idle(live: LiveServer) -> bool:
    """Whether the server comes to rest within half a minute."""
    end = time.monotonic() + 30
    while time.monotonic() < end:
        stats = live.service.stats()
        if not stats.active + stats.queue_depth:
            return True
    return False


def test_a_reader_that_does_not_read_loses_frames_and_slows_nobody(models: Models) -> None:
    """Its previews are far more than its window takes unread."""
    asked = MaximizeRequest(
        unit=1, model="small", steps=80, preview_every_steps=1, image_size_px=128
    )
    message = to_stream_request(asked, progress_every_steps=1)
    with (
        live_server(models) as live,
        live.client() as other,
        grpc.insecure_channel(live.target, options=SMALL_WINDOW) as channel,
    ):
        stream = service_of(channel).StreamMaximize(message)
        assert isinstance(from_event(next(stream)), Accepted)
        assert other.maximize(1, model="small", steps=3).metrics.steps == 3
        assert until_idle(live)
        *progress, last = map(from_event, stream)
    assert 0 < len(progress) < 40
    assert isinstance(last, Maximization)
    assert last.metrics.steps == 80


@pytest.mark.parametrize("grace_seconds", [60, 0])
def test_a_signal_with_sixteen_in_flight_loses_none(
    grace_seconds: int, model_directory: Path
) -> None:
    steps = 100 if grace_seconds else ENDLESS
    settings = {"max_steps": ENDLESS, "drain_grace_seconds": grace_seconds}
    with served(model_directory, **settings) as (process, target), Client(target) as client:
        streams = [client.stream(1, model="small", steps=steps, seed=i) for i in range(IN_FLIGHT)]
        with ThreadPoolExecutor(IN_FLIGHT) as pool:
            assert all(isinstance(first, Accepted) for first in pool.map(next, streams))
            process.send_signal(signal.SIGTERM)
            ends = [pool.submit(list, stream) for stream in streams]
            if grace_seconds:
                assert all(isinstance(end.result(60)[-1], Maximization) for end in ends)
            else:
                assert all(isinstance(end.exception(60), ShuttingDown) for end in ends)
        assert process.wait(60) == 0


@TRAPS
def test_a_file_that_crashes_onnx_runtime_harms_its_own_model_only(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "small.onnx")
    onnx.save(division_trap(), tmp_path / "trap.onnx")
    message = r"loading model 'trap' killed its worker \(signal 8, SIGFPE\), 2 times in a row"
    with live_server(tmp_path) as live, live.client() as client:
        others = client.stream(1, model="small", steps=ENDLESS)
        assert isinstance(next(others), Accepted) and isinstance(next(others), Progress)
        with pytest.raises(WorkerDied, match=message) as died:
            client.load_model("trap")
        assert 0 < died.value.retry_after_seconds <= 1
        with pytest.raises(WorkerDied, match=message):  # left alone: no third worker dies
            client.maximize(1, model="trap", steps=1)
        assert client.model("trap").state == "unavailable"
        assert isinstance(next(others), Progress)
        assert client.health() == "SERVING"
        time.sleep(died.value.retry_after_seconds)
        with pytest.raises(WorkerDied, match=r"SIGFPE\), 3 times in a row; retry in 2"):
            client.load_model("trap")
