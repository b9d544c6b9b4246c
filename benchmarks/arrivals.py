"""Callers that arrive at random and do not wait for one another: one process of them.

Arrivals are a Poisson process at a stated rate, so that a slow server is not spared by callers who
hold back (open loop; Schroeder, Wierman, Harchol-Balter 2006).
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass

from unitscope.client import AsyncClient
from unitscope.engine.request import Event, Maximization, Progress
from unitscope.errors import QueueFull

PROGRESSES = 4
"""So often a caller hears of progress."""


@dataclass(frozen=True, slots=True)
class Load:
    """What one process asks for: requests a second, for how many seconds, of which units.

    `core`: where it runs.
    """

    target: str
    model: str
    rate: float
    seconds: float
    units: Sequence[tuple[str, int]]
    steps: int
    seed: int
    core: int


@dataclass(frozen=True, slots=True)
class Answer:
    """Seconds since the experiment began and since the arrival; None where it did not come."""

    arrived: float
    first_progress: float | None
    finished: float | None


def arrive(load: Load) -> list[Answer]:
    """Ask, and wait for the last answer."""
    os.sched_setaffinity(0, [load.core])
    return asyncio.run(_arrive(load))


def crowd(load: Load, requests: int) -> float:
    """Seconds until so many requests that are asked at once have been answered."""
    os.sched_setaffinity(0, [load.core])
    return asyncio.run(_crowd(load, requests))


async def _crowd(load: Load, requests: int) -> float:
    client = AsyncClient(load.target, name=f"client-{load.seed}")
    await client.health()  # it is connected
    begun = time.monotonic()
    asked = [_ask(client, load, load.units[i % len(load.units)], i) for i in range(requests)]
    await asyncio.gather(*(_answer(events, begun) for events in asked))
    await client.close()
    return time.monotonic() - begun


def _ask(client: AsyncClient, load: Load, unit: tuple[str, int], seed: int) -> AsyncIterator[Event]:
    layer, index = unit
    return client.stream(
        index,
        model=load.model,
        layer=layer,
        steps=load.steps,
        seed=seed,
        progress_every_steps=max(load.steps // PROGRESSES, 1),
    )


async def _arrive(load: Load) -> list[Answer]:
    rng = random.Random(load.seed)
    client = AsyncClient(load.target, name=f"client-{load.seed}")
    begun, calls = time.monotonic(), []
    at = rng.expovariate(load.rate)
    while at < load.seconds:
        await asyncio.sleep(max(begun + at - time.monotonic(), 0.0))
        asked = _ask(client, load, rng.choice(load.units), rng.getrandbits(32))
        calls.append(asyncio.create_task(_answer(asked, begun)))
        at += rng.expovariate(load.rate)
    answers = await asyncio.gather(*calls)
    await client.close()
    return answers


async def _answer(events: AsyncIterator[Event], begun: float) -> Answer:
    arrived, first = time.monotonic(), None
    try:
        async for event in events:
            if isinstance(event, Progress) and first is None:
                first = time.monotonic() - arrived
            if isinstance(event, Maximization):
                return Answer(arrived - begun, first, time.monotonic() - arrived)
    except QueueFull:
        return Answer(arrived - begun, first, None)
    raise RuntimeError("a stream ended without a result")
