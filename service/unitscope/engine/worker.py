"""A worker process: the engine of one model behind a pipe, which may crash and is missed by few.

It is started by `process.WorkerProcess` as `python -m unitscope.engine.worker FD`. Standard input
is its lifeline: when the other end is closed, by whatever death, the kernel ends the worker, also
in the midst of native code. The server alone decides when a worker ends, so it ignores the signals
that end a server.
"""

from __future__ import annotations

import asyncio
import contextlib
import faulthandler
import fcntl
import logging
import os
import resource
import signal
import sys
import threading
import time
import traceback
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future
from dataclasses import replace
from functools import partial
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Literal

from unitscope.engine.engine import Engine
from unitscope.engine.loaded import LoadedModel, ModelInfo
from unitscope.engine.pipe import Call, Ended, Message, Observed, Report, Said, Setup
from unitscope.engine.repository import Repository
from unitscope.engine.request import Accepted, Event, Maximization, Progress
from unitscope.engine.sharing import share_threads
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.engine.time_limit import TimeLimit
from unitscope.errors import NotFound, OutOfMemory, UnitscopeError

_OOM_SCORE = Path("/proc/self/oom_score_adj")
_FIRST_TO_GO = "500"
"""Of 1000: where memory runs out, the kernel ends a worker and not the server."""
_PASS_ON_SECONDS = 0.1


class _Models(Repository):
    """Calls `loaded` when it has a model to give, before anybody works with it."""

    def __init__(
        self, directory: Path | None, load_seconds: float, loaded: Callable[[], None]
    ) -> None:
        self._loaded = loaded
        super().__init__(directory, reading=TimeLimit(load_seconds))

    def get(self, name: str = "", version: str = "") -> LoadedModel:
        model = super().get(name, version)
        self._loaded()
        return model

    def rehearse(self, name: str, versions: Sequence[str]) -> str:
        """Load what another worker is to load; "" if this one outlives it."""
        for version in versions:
            with contextlib.suppress(UnitscopeError, MemoryError):  # the other will say it
                self.load(name, version)
        return ""


class Worker:
    """Answers calls until the pipe ends; it is the observer of its engine."""

    def __init__(self, pipe: Connection, setup: Setup) -> None:
        self._pipe = pipe
        self._writing = threading.Lock()
        self._model = setup.model
        self._models = _Models(setup.directory, setup.load_seconds, self._report)
        for version in setup.unloaded:
            with contextlib.suppress(NotFound):  # it is gone meanwhile
                self._models.unload(setup.model, version)
        self._engine = Engine(self._models, setup.settings, self)
        self._tickets: dict[int, Ticket | AttributionTicket] = {}
        self._cancelled: set[int] = set()
        self._tasks: dict[int, asyncio.Task[None]] = {}
        self._reported: Report | None = None
        self._reporting = threading.Lock()
        self._told: list[tuple[Literal["step", "compiled"], tuple[Any, ...]]] = []
        self._told_at = 0.0
        self._observing = threading.Lock()

    def step(self, seconds: float, rows: int) -> None:
        """So many requests took a step together."""
        with self._observing:
            self._told.append(("step", (seconds, rows)))
        if time.monotonic() > self._told_at + _PASS_ON_SECONDS:
            self._pass_on()
            self._report(whole=False)

    def compiled(self, seconds: float) -> None:
        """A program was built."""
        with self._observing:
            self._told.append(("compiled", (seconds,)))
        self._pass_on()

    async def serve(self) -> None:
        """Answer whatever comes; the process ends meanwhile."""
        asyncio.get_running_loop().add_reader(self._pipe.fileno(), self._receive)
        await asyncio.Event().wait()

    def _receive(self) -> None:
        try:
            call: Call = self._pipe.recv()
        except (EOFError, OSError):  # the supervisor is gone
            os._exit(0)
        if call.method == "cancel":
            self._cancel(*call.arguments)
        elif call.method == "resume":
            self._engine.resume(*call.arguments)
        else:
            self._tasks[call.number] = asyncio.create_task(self._answer(call))

    async def _answer(self, call: Call) -> None:
        error = None
        try:
            async for content in self._contents(call):
                self._tell(call.number, content)
        except Exception as caught:  # ends this call, whatever it was, and no other
            error = _portable(caught)
        self._tickets.pop(call.number, None)
        self._cancelled.discard(call.number)
        self._tasks.pop(call.number, None)
        self._pass_on()
        self._report(whole=call.method not in ("submit", "attribute", "pause"))
        self._send(Ended(call.number, error))

    async def _contents(self, call: Call) -> AsyncIterator[Any]:
        if call.method == "submit":
            ticket = await asyncio.to_thread(self._engine.submit, *call.arguments)
            self._keep(call.number, ticket)
            sink = _Sink(partial(self._tell, call.number))
            ticket.forward(sink)
            await asyncio.wrap_future(sink.ended)
        elif call.method == "attribute":
            attribution = self._engine.attribute(*call.arguments)
            self._keep(call.number, attribution)
            yield await asyncio.wrap_future(attribution.future)
        elif call.method == "pause":
            await asyncio.wrap_future(self._engine.pause(*call.arguments))
        elif call.method == "close":
            del self._tasks[call.number]  # it waits for the others
            await asyncio.to_thread(self._engine.close, *call.arguments)
            await asyncio.gather(*self._tasks.values())
        else:
            yield await asyncio.to_thread(getattr(self._models, call.method), *call.arguments)

    def _tell(self, number: int, content: Any) -> None:
        if isinstance(content, Maximization):
            self._pass_on()  # what its steps were counted by must not come after it
        elif not isinstance(content, Progress):
            self._report(whole=not isinstance(content, Accepted))
        elif self._reported is None or not self._reported.stats.active:
            self._report(whole=False)  # it climbs since the last report
        self._send(Said(number, content))

    def _keep(self, number: int, ticket: Ticket | AttributionTicket) -> None:
        self._tickets[number] = ticket
        if number in self._cancelled:
            ticket.cancel()

    def _cancel(self, number: int) -> None:
        """Its ticket may be yet to come, or have gone."""
        if number in self._tickets:
            self._tickets[number].cancel()
        elif number in self._tasks:
            self._cancelled.add(number)

    def _report(self, *, whole: bool = True) -> None:
        """Tell how things are, if they changed; the model does not while it is climbed."""
        with self._reporting:
            known = self._reported
            if known is not None and not whole:
                report = replace(known, stats=self._engine.stats())
            else:
                info, stats = self._info(), self._engine.stats()
                seen = self._models.seen(info.name, info.version) if info else None
                report = Report(stats, self._models.loaded_count(), info, seen)
            if report != known:
                seconds = self._engine.seconds_until_room()
                self._reported = replace(report, seconds_until_room=seconds)
                self._send(self._reported)

    def _info(self) -> ModelInfo | None:
        infos = self._models.catalogue()
        return next((info for info in infos if info.name == self._model), None)

    def _pass_on(self) -> None:
        """Pass on what the engine told: at every step it would cost as much as a small step."""
        with self._observing:  # until it is sent: the end of a request must not overtake it
            told, self._told = tuple(self._told), []
            self._told_at = time.monotonic()
            if told:
                self._send(Observed(told))

    def _send(self, message: Message) -> None:
        with self._writing:
            self._pipe.send(message)


class _Sink:
    """Tells events in the thread that has them: to wake another one takes longer than to tell."""

    def __init__(self, tell: Callable[[Event], None]) -> None:
        self._tell = tell
        self.ended: Future[None] = Future()

    def put(self, event: Event) -> None:
        if not self.ended.done():  # a step that was under way when the request was given up
            self._tell(event)

    def close(self, error: BaseException | None = None) -> None:
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)


def _portable(error: Exception) -> Exception:
    """The error as the other side can read it: one that is not ours, with its traceback."""
    if isinstance(error, UnitscopeError):
        return error
    if isinstance(error, MemoryError):
        return OutOfMemory("the request takes more memory than a worker may have")
    return RuntimeError("".join(traceback.format_exception(error)))


def main(descriptor: int) -> None:
    """Serve the supervisor at the other end of the socket `descriptor`."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    faulthandler.enable()
    fcntl.fcntl(sys.stdin, fcntl.F_SETOWN, os.getpid())
    fcntl.fcntl(sys.stdin, fcntl.F_SETFL, os.O_ASYNC)  # SIGIO, which ends the process, at its end
    with contextlib.suppress(OSError):  # only Linux has it, and not every sandbox lets it be
        _OOM_SCORE.write_text(_FIRST_TO_GO)
    pipe = Connection(descriptor)
    setup: Setup = pipe.recv()
    logging.basicConfig(format=f"%(asctime)s %(levelname)s %(name)s [{setup.model}] %(message)s")
    if setup.memory_bytes:
        resource.setrlimit(resource.RLIMIT_DATA, (setup.memory_bytes, setup.memory_bytes))
    share_threads(setup.settings.threads)
    asyncio.run(Worker(pipe, setup).serve())


if __name__ == "__main__":
    main(int(sys.argv[1]))
