"""Attributions in turn: places, callers that leave, and the end."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.images import encoded, random_pixels
from unitscope.ascent.parameterizations import Array
from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.attributor import MAX_WAITING, Attributor
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.repository import Repository
from unitscope.engine.score import Score
from unitscope.engine.ticket import AttributionTicket
from unitscope.errors import Cancelled, InvalidRequest, NotFound, QueueFull, ShuttingDown


class GatedRepository(Repository):
    """Its models take as long to load as the test wants."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered = threading.Semaphore(0)
        self.gate = threading.Event()

    def get(self, name: str = "", version: str = "") -> LoadedModel:
        self.entered.release()
        assert self.gate.wait(60)
        return super().get(name, version)


@pytest.fixture
def gated(model_directory: Path) -> Iterator[GatedRepository]:
    repository = GatedRepository(model_directory)
    yield repository
    repository.gate.set()


@pytest.fixture
def attributor(gated: GatedRepository) -> Iterator[Attributor]:
    attributor = Attributor(gated)
    yield attributor
    gated.gate.set()
    attributor.close()


def request_of(**changes: Any) -> AttributeRequest:
    asked: dict[str, Any] = {"unit": 2, "model": "small", "method": "gradient"}
    return AttributeRequest(image=encoded(random_pixels()), **(asked | changes))


def filled(attributor: Attributor, gated: GatedRepository) -> list[AttributionTicket]:
    """One request that runs and as many as may wait."""
    tickets = [attributor.submit(request_of()) for _ in range(1 + MAX_WAITING)]
    assert gated.entered.acquire(timeout=60)
    return tickets


def test_requests_are_answered_in_turn(attributor: Attributor, gated: GatedRepository) -> None:
    tickets = [attributor.submit(request_of(unit=unit)) for unit in range(5)]
    gated.gate.set()
    assert [ticket.result().unit for ticket in tickets] == list(range(5))


def test_an_error_ends_its_own_request(attributor: Attributor, gated: GatedRepository) -> None:
    broken, sound = (attributor.submit(request_of(unit=unit)) for unit in ("catt", "cat"))
    gated.gate.set()
    with pytest.raises(NotFound, match="catt"):
        broken.result()
    assert sound.result().label == "cat"


def test_a_bad_option_is_refused_at_the_door(attributor: Attributor) -> None:
    with pytest.raises(InvalidRequest, match="samples"):
        attributor.submit(request_of(samples=3))


def test_a_full_queue_takes_no_more_until_somebody_leaves(
    attributor: Attributor, gated: GatedRepository
) -> None:
    tickets = filled(attributor, gated)
    with pytest.raises(QueueFull) as caught:
        attributor.submit(request_of())
    assert caught.value.waiting == MAX_WAITING
    assert caught.value.retry_after_seconds > 0
    tickets[-1].cancel()
    with pytest.raises(Cancelled):
        tickets[-1].result()
    late = attributor.submit(request_of(unit=4))
    gated.gate.set()
    assert late.result().unit == 4


def test_who_leaves_while_it_is_their_turn_holds_nobody_up(
    attributor: Attributor, gated: GatedRepository
) -> None:
    leaver = attributor.submit(request_of(method="smoothgrad", samples=256))
    assert gated.entered.acquire(timeout=60)
    leaver.cancel()
    with pytest.raises(Cancelled):
        leaver.result()
    gated.gate.set()
    assert attributor.submit(request_of(unit=3)).result().unit == 3
    leaver.cancel()  # once more does no harm


def test_a_request_that_runs_stops_before_its_next_gradient(
    attributor: Attributor, gated: GatedRepository, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, left, taken = threading.Event(), threading.Event(), []
    gradient = Score.gradient

    def watched(score: Score, picture: Array) -> Array:
        taken.append(picture)
        begun.set()
        assert left.wait(60)
        return gradient(score, picture)

    monkeypatch.setattr(Score, "gradient", watched)
    gated.gate.set()
    leaver = attributor.submit(request_of(method="smoothgrad"))
    assert begun.wait(60)
    leaver.cancel()
    left.set()
    assert attributor.submit(request_of()).result().samples == 1
    assert len(taken) == 2


def test_a_drain_lets_requests_finish(attributor: Attributor, gated: GatedRepository) -> None:
    tickets = filled(attributor, gated)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(attributor.close, 60.0)
        gated.gate.set()
        closing.result(60)
    assert all(ticket.result().unit == 2 for ticket in tickets)
    with pytest.raises(ShuttingDown):
        attributor.submit(request_of())


def test_what_a_drain_cannot_finish_is_told(attributor: Attributor, gated: GatedRepository) -> None:
    tickets = filled(attributor, gated)
    with ThreadPoolExecutor(1) as pool:
        closing = pool.submit(attributor.close)
        for ticket in tickets:
            with pytest.raises(ShuttingDown):
                ticket.result()
        gated.gate.set()
        closing.result(60)
