"""Who climbs next: decides without doing.

The scheduler holds no thread, clock, session or future. A row waits, runs, and leaves; running
rows take turns, one step each, so a short request never waits for a long one to finish.

    waiting → running → gone        (finished, cancelled or taken out)
"""

from __future__ import annotations

from collections import deque
from typing import Generic, TypeVar

Row = TypeVar("Row")
"""Whatever identifies a request to the caller; compared by identity of value."""


class Scheduler(Generic[Row]):
    """Round robin over at most `max_active` rows, first come first served behind them."""

    def __init__(self, *, max_active: int) -> None:
        self._max_active = max_active
        self._waiting: deque[Row] = deque()
        self._running: deque[Row] = deque()

    @property
    def waiting(self) -> int:
        """Rows that have not had a turn."""
        return len(self._waiting)

    @property
    def running(self) -> int:
        """Rows that take turns."""
        return len(self._running)

    def add(self, row: Row) -> None:
        """Let `row` wait for its first turn."""
        self._waiting.append(row)

    def schedule(self) -> Row | None:
        """The row whose turn it is, or None when there is nothing to do."""
        while self._waiting and len(self._running) < self._max_active:
            self._running.append(self._waiting.popleft())
        if not self._running:
            return None
        self._running.rotate(-1)
        return self._running[-1]

    def remove(self, row: Row) -> bool:
        """Take `row` out wherever it is; False if it is not here."""
        for line in (self._running, self._waiting):
            if row in line:
                line.remove(row)
                return True
        return False
