"""Who is refused for want of time, and how much of it the others leave."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.engine.test_batches import Bench
from unitscope.engine.admission import Admission
from unitscope.engine.climber import Climber, NoObserver
from unitscope.engine.executor import Executor
from unitscope.engine.job import Job
from unitscope.engine.plan import Plan, resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import Caller, MaximizeRequest
from unitscope.engine.scheduler import Scheduler
from unitscope.errors import DeadlineExceeded


class Door:
    """Of an engine whose rows take a second alone, and half of one in company."""

    def __init__(self, repository: Repository, pool: ThreadPoolExecutor) -> None:
        self.model = repository.get("small")
        bench = Bench(repository, pool)
        bench.run(9, {1: 1.0})
        pool.submit(int).result()  # the one before it is done
        for _ in range(20):
            bench.run(9, {1: 1.0, 8: 0.5})
        self.batches = bench.batches

    def plan(self, steps: int, patience_steps: int | None = None) -> Plan:
        asked = MaximizeRequest(unit=1, model="small", steps=steps, patience_steps=patience_steps)
        return resolve(asked, self.model)

    def takes(self, present: Sequence[Job], seconds: float, client: str = "") -> bool:
        """Whether ten steps are taken in for a caller that waits so long."""
        scheduler, executor = Scheduler[Job](max_active=16), Executor()
        climber = Climber(executor, self.batches, NoObserver())
        admission = Admission(present, scheduler, climber, self.batches, 256, 128)
        try:
            admission.check_time(self.plan(10), Caller(client, timeout_seconds=seconds))
        except DeadlineExceeded:
            return False
        return True


@pytest.fixture(scope="module")
def door(repository: Repository) -> Iterator[Door]:
    with ThreadPoolExecutor(1) as pool:
        yield Door(repository, pool)


def test_alone_it_has_all_the_time(door: Door) -> None:
    assert door.takes([], 10.1) and not door.takes([], 9.9)


def test_one_client_has_equal_parts_for_each_of_its_requests(door: Door) -> None:
    """Of the first it is at most half done, of the others no more than there is to do."""
    present = [Job(door.plan(steps), Caller()) for steps in (1000, 4, 4, *[8] * 8)]
    assert door.takes(present, 46.1) and not door.takes(present, 45.9)


def test_who_may_end_early_or_comes_after_counts_for_nothing(door: Door) -> None:
    present = [
        *[Job(door.plan(1000, patience_steps=1), Caller())] * 100,
        *[Job(door.plan(1000), Caller(priority="low"))] * 100,
    ]
    assert door.takes(present, 10.1)


def test_a_hundred_of_another_client_are_one(door: Door) -> None:
    present = [Job(door.plan(1000), Caller("other")) for _ in range(100)]
    own = [Job(door.plan(1000), Caller()) for _ in range(3)]
    assert door.takes(present, 10.1)
    assert door.takes(present + own, 40.1) and not door.takes(present + own, 39.9)
