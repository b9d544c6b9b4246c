"""The caller's end of a request."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import Future

from unitscope.engine.attribution import Attribution
from unitscope.engine.mailbox import Mailbox, Sink
from unitscope.engine.request import Event, Maximization


class Ticket:
    """Of a picture to be made. `cancel`: what to do when the caller gives it up."""

    def __init__(self, request_id: str, mailbox: Mailbox, cancel: Callable[[], None]) -> None:
        self.request_id = request_id
        self._mailbox = mailbox
        self._cancel = cancel

    def events(self) -> Iterator[Event]:
        """Accepted, then Progress, last Maximization; raises the error that ended the request."""
        return iter(self._mailbox)

    def aevents(self) -> AsyncIterator[Event]:
        """The same for asyncio."""
        return aiter(self._mailbox)

    def result(self) -> Maximization:
        """Wait for the picture; raises the error that ended the request."""
        *_, last = self.events()
        assert isinstance(last, Maximization)
        return last

    def forward(self, sink: Sink) -> None:
        """Let `sink` have the events instead."""
        self._mailbox.forward(sink)

    def cancel(self) -> None:
        """Give the request up: it ends within one step, and `events` raises Cancelled."""
        self._cancel()


class AttributionTicket:
    """Of an attribution. `future`: the attribution, or the error that ended the request."""

    def __init__(self, cancel: Callable[[AttributionTicket], None]) -> None:
        self.future: Future[Attribution] = Future()
        self.future.set_running_or_notify_cancel()  # only `cancel` ends it, and says so
        self._cancel = cancel

    def result(self) -> Attribution:
        """Wait for the attribution; raises the error that ended the request."""
        return self.future.result()

    def cancel(self) -> None:
        """Give the request up: it ends before its next gradient, and `result` raises Cancelled."""
        self._cancel(self)
