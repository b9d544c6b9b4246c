"""The thread that builds programs, and requests that wait until there is memory for theirs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Generic, TypeVar

Row = TypeVar("Row")
"""Whatever identifies a request to the caller."""

MAX_PASSED = 16
"""So many requests may pass one that waits for memory; then it is the next that is given any."""


class Builder(Generic[Row]):
    """`build`: does what there is to do for a request, and says False where memory is short.

    Its own thread calls it, for one request at a time. Who waits is asked for again in order of
    arrival. All methods may be called from any thread.
    """

    def __init__(self, build: Callable[[Row], bool]) -> None:
        self._build = build
        self._waiting: list[Row] = []  # of the thread
        self._passed = 0
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="unitscope-build")

    @property
    def is_short(self) -> bool:
        """Whether somebody waits for memory, and must not be passed by too many."""
        return bool(self._waiting)

    def add(self, row: Row) -> None:
        """Build for `row`, when it is its turn."""
        self._pool.submit(self._try, row)

    def retry(self) -> None:
        """There may be more memory, or one less that waits for it."""
        self._pool.submit(self._try_again)

    def close(self) -> None:
        """Do what was asked for, and no more."""
        self._pool.shutdown()

    def _try(self, row: Row) -> None:
        if (self._waiting and self._passed >= MAX_PASSED) or not self._build(row):
            self._waiting.append(row)
        elif self._waiting:
            self._passed += 1

    def _try_again(self) -> None:
        waiting, self._waiting = self._waiting, []
        for row in waiting:
            self._try(row)
        if self._waiting[:1] != waiting[:1]:
            self._passed = 0
