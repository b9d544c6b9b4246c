"""How long a model is left alone."""

from __future__ import annotations

import pytest

from unitscope.engine.deaths import LONGEST_PAUSE_SECONDS, Deaths
from unitscope.errors import WorkerDied


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_first_death_is_forgiven() -> None:
    deaths = Deaths(Clock())
    assert deaths.add("small", "it died").retry_after_seconds == 0
    deaths.check("small")


def test_the_pause_doubles_up_to_a_minute_and_ends() -> None:
    clock = Clock()
    deaths = Deaths(clock)
    pauses = [deaths.add("small", "it died").retry_after_seconds for _ in range(100)]
    assert pauses[:5] == [0, 1, 2, 4, 8]
    assert pauses[-1] == LONGEST_PAUSE_SECONDS
    clock.now += LONGEST_PAUSE_SECONDS - 1
    with pytest.raises(WorkerDied, match=r"it died, 100 times in a row; retry in 1\.0 s"):
        deaths.check("small")
    deaths.check("other")
    clock.now += 1
    deaths.check("small")


def test_success_begins_the_count_anew() -> None:
    deaths = Deaths(Clock())
    for _ in range(5):
        deaths.add("small", "it died")
    deaths.forget("small")
    assert deaths.add("small", "it died").retry_after_seconds == 0
