"""A request's mailbox: the engine puts, one reader takes, neither waits for the other."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from unitscope.engine.request import Event, Progress

_KEPT_PREVIEWS = 16
"""Unread frames with a preview that are kept; a reader slower than that misses some."""


@dataclass(frozen=True, slots=True)
class _Closed:
    error: BaseException | None


class Sink(Protocol):
    """Takes events, in the thread that has them."""

    def put(self, event: Event) -> None:
        """Take an event."""

    def close(self, error: BaseException | None = None) -> None:
        """Nothing follows; `error`: what ended the request, if it did not end well."""


class Mailbox:
    """Events in order; of unread progress only the latest is kept, and the latest previews."""

    def __init__(self) -> None:
        self._events: deque[Event | _Closed] = deque()
        self._changed = threading.Condition()
        self._wake: Callable[[], object] = _nobody
        self._sink: Sink | None = None

    def put(self, event: Event) -> None:
        """Leave an event for the reader; a new progress replaces an unread one."""
        with self._changed:
            if isinstance(event, Progress):
                self._forget_old_progress()
            self._append(event)

    def close(self, error: BaseException | None = None) -> None:
        """Nothing follows: the reader's iteration ends, or raises `error`."""
        with self._changed:
            self._append(_Closed(error))

    def forward(self, sink: Sink) -> None:
        """Let `sink` have what is unread and all that follows; nobody reads here any more."""
        with self._changed:
            unread, self._events = self._events, deque()
            self._sink = sink
            for event in unread:
                self._append(event)

    def __iter__(self) -> Iterator[Event]:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._events)
                event = self._events.popleft()
            if isinstance(event, _Closed):
                return _end(event)
            yield event

    async def __aiter__(self) -> AsyncIterator[Event]:
        loop, ready = asyncio.get_running_loop(), asyncio.Event()
        with self._changed:
            self._wake = partial(loop.call_soon_threadsafe, ready.set)
        try:
            while True:
                ready.clear()
                with self._changed:
                    event = self._events.popleft() if self._events else None
                if event is None:
                    await ready.wait()
                elif isinstance(event, _Closed):
                    _end(event)
                    return
                else:
                    yield event
        finally:
            with self._changed:
                self._wake = _nobody

    def _append(self, event: Event | _Closed) -> None:
        if self._sink is None:
            self._events.append(event)
            self._changed.notify_all()
            self._wake()
        elif isinstance(event, _Closed):
            self._sink.close(event.error)
        else:
            self._sink.put(event)

    def _forget_old_progress(self) -> None:
        unread = [event for event in self._events if isinstance(event, Progress)]
        previews = [event for event in unread if event.preview is not None]
        for event in unread:
            if event.preview is None or event in previews[: 1 - _KEPT_PREVIEWS]:
                self._events.remove(event)


def _nobody() -> None:
    """No reader is waiting."""


def _end(closed: _Closed) -> None:
    if closed.error is not None:
        raise closed.error
