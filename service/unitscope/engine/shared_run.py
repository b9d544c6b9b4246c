"""One run of a request and everybody who waits for it."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from unitscope.engine.mailbox import Mailbox
from unitscope.engine.request import (
    PRIORITIES,
    Accepted,
    Caller,
    Event,
    Maximization,
    Progress,
)  # fmt: skip
from unitscope.engine.ticket import Ticket
from unitscope.errors import Cancelled


@dataclass(frozen=True, slots=True)
class Finished:
    """All that a caller who comes later needs to be told."""

    accepted: Accepted
    result: Maximization


class SharedRun:
    """Takes the events of a run (it is a `Sink`) and gives them to each caller by the caller's id.

    It is given up when the last caller leaves. `key`: of its result, None where that is not to be
    kept. `caller`: for whom it runs. `ended`: told once, when nothing follows. `request_ids`: of
    all who joined while it ran.
    """

    def __init__(self, key: str | None, caller: Caller, ended: Callable[[SharedRun], None]) -> None:
        self.key = key
        self.caller = caller
        self.request_ids: set[str] = set()
        self.finished: Finished | None = None
        self._deadline = _deadline(caller)
        self._ended = ended
        self._over = False
        self._accepted: Accepted | None = None
        self._ticket: Ticket | None = None
        self._callers: dict[Mailbox, str] = {}
        self._lock = threading.Lock()

    def suits(self, caller: Caller) -> bool:
        """Whether it is done, or as patient and as important as a run for `caller` would be."""
        important = PRIORITIES[self.caller.priority] >= PRIORITIES[caller.priority]
        return self.finished is not None or (important and self._deadline >= _deadline(caller))

    def join(self, request_id: str) -> Ticket | None:
        """A ticket for all events from now on; None where the run ended without a result."""
        mailbox = Mailbox()
        with self._lock:
            if self.finished is not None:
                _answer(mailbox, self.finished, request_id)
            elif self._over:
                return None
            else:
                self._callers[mailbox] = request_id
                self.request_ids.add(request_id)
                if self._accepted is not None:
                    mailbox.put(_addressed(self._accepted, request_id))
        return Ticket(request_id, mailbox, partial(self._leave, mailbox))

    def follow(self, ticket: Ticket) -> None:
        """Take the events of `ticket`, and give it up when nobody waits any more."""
        with self._lock:
            self._ticket = ticket
            given_up = self._over
        ticket.forward(self)
        if given_up:
            ticket.cancel()

    def put(self, event: Event) -> None:
        """Give an event to everybody."""
        with self._lock:
            if isinstance(event, Accepted):
                self._accepted = event
            if isinstance(event, Maximization):
                assert self._accepted is not None
                self.finished = Finished(self._accepted, event)
            for mailbox, request_id in self._callers.items():
                mailbox.put(_addressed(event, request_id))

    def close(self, error: BaseException | None = None) -> None:
        """End it for everybody."""
        with self._lock:
            if self._over:
                return
            self._over = True
            for mailbox in self._callers:
                mailbox.close(error)
            self._callers.clear()
        self._ended(self)

    def _leave(self, mailbox: Mailbox) -> None:
        with self._lock:
            if self._callers.pop(mailbox, None) is None:
                return
            mailbox.close(Cancelled("the request was cancelled"))
            if self._callers:
                return
            self._over = True
        if self._ticket is not None:
            self._ticket.cancel()
        self._ended(self)


def _deadline(caller: Caller) -> float:
    given = caller.timeout_seconds
    return math.inf if given is None else time.monotonic() + given


def _answer(mailbox: Mailbox, finished: Finished, request_id: str) -> None:
    mailbox.put(_addressed(finished.accepted, request_id))
    mailbox.put(_addressed(replace(finished.result, cached=True), request_id))
    mailbox.close()


def _addressed(event: Event, request_id: str) -> Event:
    return event if isinstance(event, Progress) else replace(event, request_id=request_id)
