"""Calls that a supervisor has not had the whole answer to, wherever they are answered by now."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any, Protocol

from unitscope.engine.mailbox import Mailbox
from unitscope.engine.pipe import Method
from unitscope.engine.request import Accepted, Caller, Event, MaximizeRequest, Progress


class OpenCall(Protocol):
    """A call, until it has `ended`. `number`: at the worker that has it now, the second perhaps."""

    model: str
    method: Method
    number: int
    retried: bool
    cancelled: bool

    @property
    def begun(self) -> bool:
        """Whether its model was there for it."""

    def arguments(self) -> Sequence[Any]:
        """What is asked for, as of now."""

    def said(self, content: Any) -> None:
        """A part of the answer came."""

    def ended(self, error: Exception | None) -> None:
        """The answer is complete, or never will be."""


class Inquiry:
    """A call that has one answer, which its future waits for."""

    def __init__(
        self, model: str, method: Method, *arguments: Any, future: Future[Any] | None = None
    ) -> None:
        self.model = model
        self.method = method
        self.number = 0
        self.retried = self.cancelled = False
        self.future: Future[Any] = future or Future()
        self._arguments = arguments
        self._answer: Any = None

    @property
    def begun(self) -> bool:
        return False  # nothing is heard of it before its end

    def arguments(self) -> Sequence[Any]:
        return self._arguments

    def said(self, content: Any) -> None:
        self._answer = content

    def ended(self, error: Exception | None) -> None:
        if error is None:
            self.future.set_result(self._answer)
        else:
            self.future.set_exception(error)


class Climb:
    """A request for a picture. `accepted`: how it begins, `mailbox`: all of it.

    Its fields decide a request, its seed among them, so a second worker takes the same steps
    again: those that were heard of are not told twice.
    """

    method: Method = "submit"

    def __init__(self, model: str, request: MaximizeRequest, caller: Caller) -> None:
        self.model = model
        self.caller = caller
        self.number = 0
        self.retried = self.cancelled = False
        self.accepted: Future[Accepted] = Future()
        self.mailbox = Mailbox()
        self._request = replace(request, request_id=request.request_id or str(uuid.uuid4()))
        self._begun = time.monotonic()
        self._step = 0

    @property
    def begun(self) -> bool:
        return self.accepted.done()

    def arguments(self) -> Sequence[Any]:
        """The request, and the caller with the time that is left."""
        timeout = self.caller.timeout_seconds
        if timeout is None:
            return self._request, self.caller
        left = max(self._begun + timeout - time.monotonic(), 0.0)
        return self._request, replace(self.caller, timeout_seconds=left)

    def said(self, content: Event) -> None:
        if isinstance(content, Progress):
            if content.step <= self._step:
                return
            self._step = content.step
        if isinstance(content, Accepted):
            if self.accepted.done():
                return
            self.accepted.set_result(content)
        self.mailbox.put(content)

    def ended(self, error: Exception | None) -> None:
        if self.accepted.done():
            self.mailbox.close(error)
        else:
            self.accepted.set_exception(error or RuntimeError("the answer lacks its beginning"))
