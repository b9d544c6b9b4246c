"""How often the workers of a model died in a row, and how long it is left alone for that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from unitscope.errors import WorkerDied

FIRST_PAUSE_SECONDS = 1.0
LONGEST_PAUSE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Death:
    count: int
    manner: str
    until: float


class Deaths:
    """By model. The first death is forgiven; after each further one the pause is twice as long."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._last: dict[str, _Death] = {}

    def add(self, model: str, manner: str) -> WorkerDied:
        """A worker of `model` died; `manner` is a clause with a verb in it."""
        last = self._last.get(model)
        count = 1 if last is None else last.count + 1
        pause = 0.0 if count == 1 else FIRST_PAUSE_SECONDS * 2.0 ** min(count - 2, 30)
        until = self._clock() + min(pause, LONGEST_PAUSE_SECONDS)
        self._last[model] = _Death(count, manner, until)
        return self._error(model)

    def forget(self, model: str) -> None:
        """A worker of `model` did what it was asked."""
        self._last.pop(model, None)

    def check(self, model: str) -> None:
        """Raises WorkerDied while `model` is left alone."""
        last = self._last.get(model)
        if last is not None and self._clock() < last.until:
            raise self._error(model)

    def _error(self, model: str) -> WorkerDied:
        last = self._last[model]
        times = f", {last.count} times in a row" if last.count > 1 else ""
        return WorkerDied(model, last.manner + times, max(last.until - self._clock(), 0.0))
