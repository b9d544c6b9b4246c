"""Both clients give what the engine gives."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

import pytest

from tests.rpc.live import ENDLESS, LiveServer
from unitscope.client import AsyncClient, Client
from unitscope.engine.request import Accepted, Maximization, Progress
from unitscope.errors import DeadlineExceeded, InvalidRequest, NotFound
from unitscope.rpc.status import CallFailed

T = TypeVar("T")


def awaited(live: LiveServer, ask: Callable[[AsyncClient], Coroutine[Any, Any, T]]) -> T:
    """What `ask` gets from an AsyncClient of its own."""

    async def main() -> T:
        async with AsyncClient(live.target, timeout_seconds=60) as client:
            return await ask(client)

    return asyncio.run(main())


def test_both_get_the_same_picture(live: LiveServer, client: Client) -> None:
    asked: dict[str, Any] = {"unit": 2, "model": "small", "steps": 4, "image_format": "webp"}
    waited = client.maximize(**asked)
    assert isinstance(waited, Maximization)
    assert waited.image_format == "webp"
    assert awaited(live, lambda client: client.maximize(**asked)).image == waited.image


def test_both_get_several_pictures_that_differ(live: LiveServer, client: Client) -> None:
    asked: dict[str, Any] = {"unit": 2, "model": "small", "steps": 4, "seed": 5}

    async def collect(client: AsyncClient) -> list[Maximization]:
        return [result async for result in client.maximize_several(**asked, pictures=2)]

    waited = list(client.maximize_several(**asked, pictures=2))
    first = client.maximize(**asked)
    second = client.maximize(**asked | {"seed": 6, "unlike": (first.image,)})
    assert [result.image for result in waited] == [first.image, second.image]
    assert [result.image for result in awaited(live, collect)] == [first.image, second.image]


def test_both_stream_the_same_events(live: LiveServer, client: Client) -> None:
    async def collect(client: AsyncClient) -> list[type]:
        events = client.stream(1, model="small", steps=4, progress_every_steps=4)
        return [type(event) async for event in events]

    events = client.stream(1, model="small", steps=4, progress_every_steps=4)
    assert [type(event) for event in events] == [Accepted, Progress, Maximization]
    assert awaited(live, collect) == [Accepted, Progress, Maximization]


def test_both_read_the_same_catalogue(live: LiveServer, client: Client) -> None:
    async def read(client: AsyncClient) -> tuple[Any, ...]:
        return await client.models(), await client.model("small"), await client.layers("small")

    assert awaited(live, read) == (client.models(), client.model("small"), client.layers("small"))


def test_both_ask_for_health(live: LiveServer, client: Client) -> None:
    assert client.health() == "SERVING"
    assert awaited(live, AsyncClient.health) == "SERVING"


def test_both_raise_the_errors_of_the_engine(live: LiveServer, client: Client) -> None:
    with pytest.raises(NotFound) as caught:
        client.maximize("catt", model="small")
    assert (caught.value.kind, caught.value.name) == ("label", "catt")
    assert "cat" in caught.value.nearest
    with pytest.raises(InvalidRequest, match="steps: got 0"):
        awaited(live, lambda client: client.maximize(1, model="small", steps=0))


def test_progress_is_told(client: Client) -> None:
    told: list[Progress] = []
    result = client.maximize(1, model="small", steps=6, on_progress=told.append)
    assert told[-1].step == result.metrics.steps == 6


def test_a_timeout_is_told_whoever_notices_it(live: LiveServer, client: Client) -> None:
    async def wait(client: AsyncClient) -> None:
        async for _ in client.stream(1, model="small", steps=ENDLESS, timeout_seconds=0.2):
            pass

    with pytest.raises(DeadlineExceeded):
        client.maximize(1, model="small", steps=ENDLESS, timeout_seconds=0.2)
    with pytest.raises(DeadlineExceeded):
        awaited(live, wait)


def test_nobody_there_is_a_failed_call() -> None:
    with Client("127.0.0.1:1") as client, pytest.raises(CallFailed) as caught:
        client.health()
    assert caught.value.reason == "UNAVAILABLE"


def test_leaving_the_stream_cancels_the_request(live: LiveServer) -> None:
    async def leave(client: AsyncClient) -> None:
        stream = client.stream(1, model="small", steps=2048)
        async for event in stream:
            if isinstance(event, Progress):
                break
        await stream.aclose()
        await client.maximize(1, model="small", steps=1)

    awaited(live, leave)
