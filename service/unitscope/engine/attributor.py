"""Attributions on a thread of their own, one at a time, beside the climber."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from types import TracebackType
from typing import Self

from unitscope.engine.attribute import attribute
from unitscope.engine.attribution import AttributeRequest, Attribution
from unitscope.engine.repository import Repository
from unitscope.engine.score import forget_scores
from unitscope.engine.ticket import AttributionTicket
from unitscope.errors import Cancelled, QueueFull, ShuttingDown

MAX_WAITING = 16
"""Requests behind the one that runs. Each takes seconds: who must wait longer asks another."""


class Attributor:
    """Serves requests until closed. All methods may be called from any thread."""

    def __init__(self, repository: Repository) -> None:
        self._repository = repository
        self._tickets: set[AttributionTicket] = set()
        self._seconds = 1.0
        self._closing = False
        self._changed = threading.Condition()
        self._worker = ThreadPoolExecutor(1, thread_name_prefix="unitscope-attribute")

    def submit(self, request: AttributeRequest) -> AttributionTicket:
        """Take a request in, at once; models are loaded and pictures read when it is its turn.

        Raises InvalidRequest, QueueFull or ShuttingDown.
        """
        request.options()
        with self._changed:
            if self._closing:
                raise ShuttingDown("the server is shutting down and takes no new requests")
            if len(self._tickets) > MAX_WAITING:
                raise QueueFull(len(self._tickets) - 1, self._seconds)
            ticket = AttributionTicket(self.cancel)
            self._tickets.add(ticket)
            self._worker.submit(self._run, request, ticket)
        return ticket

    def cancel(self, ticket: AttributionTicket) -> None:
        """End a request before its next gradient; nothing happens if it has ended."""
        self._leave(ticket, Cancelled("the request was cancelled"))

    def tidy(self) -> None:
        """Models have left the memory: keep nothing of them."""
        forget_scores()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more; let requests finish for `drain_seconds`, then cancel the rest."""
        with self._changed:
            self._closing = True
            self._changed.wait_for(lambda: not self._tickets, timeout=drain_seconds)
            left = list(self._tickets)
        for ticket in left:
            self._leave(ticket, ShuttingDown("the server shut down before the request finished"))
        self._worker.shutdown()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _run(self, request: AttributeRequest, ticket: AttributionTicket) -> None:
        if ticket not in self._tickets:
            return
        started = time.monotonic()
        try:
            model = self._repository.get(request.model, request.model_version)
            outcome = attribute(request, model, partial(self._tickets.__contains__, ticket))
        except Exception as error:  # ends this request, whatever it was, and no other
            self._leave(ticket, error)
            return
        self._seconds = time.monotonic() - started
        self._leave(ticket, outcome)

    def _leave(self, ticket: AttributionTicket, outcome: Attribution | Exception) -> None:
        """Let a request go, once, with what came of it."""
        with self._changed:
            if ticket not in self._tickets:
                return
            self._tickets.remove(ticket)
            self._changed.notify_all()
        if isinstance(outcome, Exception):
            ticket.future.set_exception(outcome)
        else:
            ticket.future.set_result(outcome)
