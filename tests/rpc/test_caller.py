"""Who calls: told by metadata, and what follows from it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.rpc.live import LIMITS, LiveServer, live_server
from unitscope.client import Client
from unitscope.engine.engine import EngineSettings
from unitscope.engine.repository import Repository
from unitscope.engine.request import Accepted
from unitscope.errors import DeadlineExceeded, InvalidRequest, QueueFull
from unitscope.rpc.caller import MAX_CLIENT_CHARACTERS


@pytest.fixture
def shared(repository: Repository) -> Iterator[LiveServer]:
    """Every client has room for one request."""
    with live_server(repository, EngineSettings(limits=LIMITS, max_requests_per_client=1)) as live:
        yield live


def test_the_room_of_one_client_is_not_anothers(shared: LiveServer) -> None:
    with Client(shared.target, name="one") as one, Client(shared.target, name="other") as other:
        running = one.stream(1, model="small", steps=4096)
        assert isinstance(next(running), Accepted)
        with pytest.raises(QueueFull) as caught:
            one.maximize(1, model="small", steps=2)
        assert caught.value.retry_after_seconds > 0
        assert other.maximize(1, model="small", steps=2).metrics.steps == 2
        running.close()


def test_callers_without_a_name_are_told_apart_by_address(shared: LiveServer) -> None:
    with Client(shared.target) as here, Client(shared.target) as too:
        running = here.stream(1, model="small", steps=4096)
        assert isinstance(next(running), Accepted)
        with pytest.raises(QueueFull):
            too.maximize(1, model="small", steps=2)
        running.close()


def test_metadata_that_cannot_be_read_is_refused(live: LiveServer) -> None:
    with (
        Client(live.target, priority="urgent") as client,
        pytest.raises(InvalidRequest, match="one of low, normal, high"),
    ):
        client.maximize(1, model="small", steps=2)
    name = "x" * (MAX_CLIENT_CHARACTERS + 1)
    with Client(live.target, name=name) as client, pytest.raises(InvalidRequest, match="at most"):
        client.maximize(1, model="small", steps=2)


def test_a_deadline_that_cannot_be_met_is_refused_at_once(live: LiveServer) -> None:
    with live.client() as client:
        client.maximize(1, model="small", steps=50, image_size_px=64)
        with pytest.raises(DeadlineExceeded, match="4096 steps take about"):
            client.maximize(1, model="small", steps=4096, image_size_px=64, timeout_seconds=1.0)
