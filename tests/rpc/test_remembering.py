"""What a caller sees of a server that remembers."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2

from tests.rpc.live import ENDLESS, LIMITS, LiveServer, live_server, service_of
from tests.rpc.test_metrics import scrape
from tests.rpc.test_serve import served
from tests.rpc.test_server import details, request_of
from tests.services import Models
from unitscope.client import Client
from unitscope.engine.engine import EngineSettings
from unitscope.engine.remembering import CacheSettings
from unitscope.engine.request import Accepted, Maximization, Progress
from unitscope.errors import RequestIdTaken


def new_id() -> str:
    return str(uuid.uuid4())


@pytest.fixture
def keeping(models: Models, tmp_path: Path) -> Iterator[LiveServer]:
    """A server with results on disk."""
    cache = CacheSettings(cache_directory=tmp_path)
    with live_server(models, EngineSettings(limits=LIMITS), cache) as keeping:
        yield keeping


def test_a_known_result_comes_at_once_under_the_new_id(keeping: LiveServer) -> None:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 5}
    with keeping.client() as client:
        made = client.maximize(**asked)
        accepted, hit = client.stream(**asked)
        assert isinstance(accepted, Accepted) and isinstance(hit, Maximization)
        assert hit == replace(made, cached=True, request_id=accepted.request_id)
        assert hit.request_id != made.request_id and not made.cached
        events = list(client.stream(**asked, preview_every_steps=5))
        assert any(isinstance(event, Progress) and event.preview for event in events)


def test_hits_and_misses_are_counted(keeping: LiveServer) -> None:
    with keeping.client() as client:
        for seed in (1, 2):
            client.maximize(1, model="small", steps=2, seed=seed)
        again = new_id()
        for _ in range(2):
            client.maximize(1, model="small", steps=2, seed=3, request_id=again)
    keeping.service.close()
    samples = scrape(keeping)
    assert samples["unitscope_cache_misses_total",] == 3
    assert samples["unitscope_joined_requests_total",] == 1
    assert samples["unitscope_cache_hits_total",] == samples["unitscope_cache_failures_total",] == 0
    assert samples["unitscope_cache_bytes",] > 3000


def test_a_repeated_request_joins_the_one_that_runs(live: LiveServer) -> None:
    never = 1e9  # who may end early is not refused for the deadline
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": ENDLESS, "target": never}
    with live.client() as client, live.client() as other:
        request_id = new_id()
        first = client.stream(**asked, request_id=request_id)
        assert isinstance(next(first), Accepted) and isinstance(next(first), Progress)
        second = other.stream(**asked, request_id=request_id)
        accepted = next(second)
        assert isinstance(accepted, Accepted) and accepted.request_id == request_id
        first.close()
        steps = [event.step for event in islice(second, 3) if isinstance(event, Progress)]
        assert len(steps) == 3 and steps == sorted(set(steps))
        second.close()


def test_a_repeated_request_gets_its_result(client: Client) -> None:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 3, "request_id": new_id()}
    made = client.maximize(**asked)
    assert client.maximize(**asked) == replace(made, cached=True)


def test_an_id_is_not_for_another_request(live: LiveServer) -> None:
    with live.channel() as channel, live.client() as client:
        service, request_id = service_of(channel), new_id()
        service.Maximize(request_of(steps=3, request_id=request_id))
        with pytest.raises(grpc.RpcError) as caught:
            service.Maximize(request_of(steps=4, request_id=request_id))
        assert caught.value.code() is grpc.StatusCode.ALREADY_EXISTS
        found = details(caught.value)
        assert found["ErrorInfo"].reason == "REQUEST_ID_TAKEN"
        assert found["ResourceInfo"] == error_details_pb2.ResourceInfo(
            resource_type="request", resource_name=request_id
        )
        with pytest.raises(RequestIdTaken):
            client.maximize(1, model="small", request_id=request_id)


def test_a_directory_that_goes_away_fails_no_request(model_directory: Path, tmp_path: Path) -> None:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 2}
    cache = tmp_path / "cache"
    with served(model_directory, cache_directory=cache) as (process, target):
        cache.rename(tmp_path / "elsewhere")
        cache.touch()
        with Client(target, timeout_seconds=60) as client:
            made = [client.maximize(**asked, seed=seed) for seed in (1, 2, 1)]
        assert made[0].image == made[2].image
        process.terminate()
        assert process.wait(60) == 0
        assert process.stderr is not None
        assert process.stderr.read().count("cannot be read or written") == 1


def test_servers_share_results_and_find_them_after_a_restart(
    model_directory: Path, tmp_path: Path
) -> None:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 2}
    with served(model_directory, cache_directory=tmp_path) as (one, target):
        with Client(target, timeout_seconds=60) as client:
            made = client.maximize(**asked)
        one.terminate()
        assert one.wait(60) == 0
    with (
        served(model_directory, cache_directory=tmp_path) as (_, second),
        served(model_directory, cache_directory=tmp_path) as (_, third),
    ):
        for target in (second, third):
            with Client(target, timeout_seconds=60) as client:
                found = client.maximize(**asked)
                assert found.cached and found.image == made.image


def test_a_call_that_is_cancelled_frees_its_place_though_it_has_an_id(models: Models) -> None:
    settings = EngineSettings(limits=LIMITS, max_active=1)
    with live_server(models, settings) as live, live.client() as client:
        running = client.stream(1, model="small", steps=ENDLESS, request_id=new_id())
        assert isinstance(next(running), Accepted) and isinstance(next(running), Progress)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.maximize, 1, model="small", steps=3)
            running.close()
            assert waiting.result(60).metrics.steps == 3
