"""A limit of time that native code cannot overrun: the kernel ends the process."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

SIGNAL = signal.SIGALRM
"""What ends the process; it must be left at its default."""

_AT_ONCE = 1e-6


class TimeLimit:
    """Ends the process when what is done within it takes longer than `seconds`; 0 = no limit.

    A thread could not do that: what never ends may hold Python's lock. There is one timer in a
    process, so there is to be one limit; several threads may be within it, each from its own start.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._ends: list[float] = []
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self) -> Iterator[None]:
        """For the length of a block."""
        end = time.monotonic() + self._seconds
        if not self._seconds:
            yield
            return
        self._ends.append(end)
        self._arm()
        try:
            yield
        finally:
            self._ends.remove(end)
            self._arm()

    def _arm(self) -> None:
        """Let the timer be that of whoever has least time left."""
        with self._lock:
            left = max(min(self._ends) - time.monotonic(), _AT_ONCE) if self._ends else 0.0
            signal.setitimer(signal.ITIMER_REAL, left)
