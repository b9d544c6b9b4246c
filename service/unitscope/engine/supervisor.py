"""The supervisor: a worker process for each model in use, and no request lost with one.

It is the `Service` that the doors see. A model that crashes or takes all memory in native code ends
its worker; the requests it had are asked once more of a new one, and end with WorkerDied if that
dies too. Turns and programs belong to the workers, each with an engine of its own; requests are
counted over all of them, and a client has its models climbed in turn while others wait.
"""

from __future__ import annotations

import logging
import os
import threading
from collections import OrderedDict, defaultdict
from collections.abc import Collection, Mapping
from concurrent.futures import Future, wait
from functools import partial
from itertools import count
from typing import Any

from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.calls import Climb, Inquiry, OpenCall
from unitscope.engine.climber import NoObserver, Observer
from unitscope.engine.deaths import Deaths
from unitscope.engine.engine import EngineSettings
from unitscope.engine.isolated_models import IsolatedModels
from unitscope.engine.pipe import Call, Ended, Message, Method, Observed, Report, Said, Setup
from unitscope.engine.process import BUSY_SECONDS, WorkerProcess
from unitscope.engine.rehearsal import Rehearsal
from unitscope.engine.repository import Repository
from unitscope.engine.request import NOBODY, Accepted, Caller, MaximizeRequest
from unitscope.engine.service import Stats
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.engine.timekeeper import Timekeeper
from unitscope.errors import (
    Cancelled,
    DeadlineExceeded,
    QueueFull,
    ShuttingDown,
    UnitscopeError,
    WorkerDied,
)

_log = logging.getLogger(__name__)

_LAST_WORDS_SECONDS = 5.0
"""How long after the drain a worker may take to say how its requests ended."""


class Supervisor:
    """Serves requests until closed. All methods may be called from any thread."""

    def __init__(
        self,
        models: str | os.PathLike[str] | None,
        settings: EngineSettings,
        observer: Observer | None = None,
        *,
        max_workers: int,
        worker_memory_bytes: int,
        load_seconds: float,
    ) -> None:
        repository = Repository(models)
        self.models = IsolatedModels(repository, self)
        self._directory = repository.directory
        self._settings = settings
        self._max_workers = max_workers
        self._worker_memory_bytes = worker_memory_bytes
        self._load_seconds = load_seconds
        self._observer = observer or NoObserver()
        self._workers: OrderedDict[str, WorkerProcess] = OrderedDict()  # the last used at the end
        self._rehearsals: set[Rehearsal] = set()
        self._deaths = Deaths()
        self._deaths_rehearsing = Deaths()
        self._numbers = count(1)
        self._closing = False
        self._changed = threading.Condition()
        self._timekeeper = Timekeeper(self, self._changed)

    def submit(self, request: MaximizeRequest, caller: Caller = NOBODY) -> Ticket:
        """Take a request in; starts a worker and loads its model if need be.

        Raises InvalidRequest, NotFound, ModelRejected, QueueFull, DeadlineExceeded, ShuttingDown or
        WorkerDied.
        """
        climb = Climb(self.models.resolve(request.model), request, caller)
        self._place(climb)
        try:
            accepted = climb.accepted.result(caller.timeout_seconds)
        except TimeoutError:
            self._cancel(climb)
            raise DeadlineExceeded("the time that the caller gave is over") from None
        return Ticket(accepted.request_id, climb.mailbox, partial(self._cancel, climb))

    def attribute(self, request: AttributeRequest) -> AttributionTicket:
        """Take an attribution in, at once; its ticket knows what loading its model raises.

        Raises InvalidRequest, NotFound, QueueFull, ShuttingDown or WorkerDied.
        """
        request.options()
        ticket = AttributionTicket(lambda _: self._cancel(asked))
        model = self.models.resolve(request.model)
        asked = Inquiry(model, "attribute", request, future=ticket.future)
        self._place(asked)
        return ticket

    def ask(self, model: str, method: Method, *arguments: Any) -> Any:
        """The answer of the worker of `model`, which is started if need be."""
        inquiry = Inquiry(model, method, *arguments)
        self._place(inquiry)
        return inquiry.future.result()

    def rehearse(self, model: str, versions: Collection[str]) -> None:
        """Load versions of a model that is in use where it harms nobody. Raises WorkerDied."""
        with self._changed:
            self._check_open()
            self._deaths_rehearsing.check(model)
            try:
                rehearsal = Rehearsal(self._setup(model), versions)
            except OSError as error:
                raise self._deaths_rehearsing.add(model, _not_started(model, error)) from error
            self._rehearsals.add(rehearsal)
        try:
            fault = rehearsal.fault()
        finally:
            self._rehearsals.discard(rehearsal)
        with self._changed:
            self._check_open()
            if fault:
                _log.error("%s; what was loaded before is served on", fault)
                raise self._deaths_rehearsing.add(model, fault)
            self._deaths_rehearsing.forget(model)

    def reports(self) -> Mapping[str, Report]:
        """How the workers are that have told, by model."""
        with self._changed:
            workers = list(self._workers.values())
        return {worker.model: worker.report for worker in workers if worker.report is not None}

    def stats(self) -> Stats:
        """A glance at all workers; a request waits, too, while its worker starts."""
        with self._changed:
            taken = len(self._climbs())
        found = [report.stats for report in self.reports().values()]
        active = min(sum(stats.active for stats in found), taken)
        return Stats(
            taken - active,
            active,
            sum(stats.programs for stats in found),
            sum(stats.program_bytes for stats in found),
            sum(stats.nodes_elsewhere for stats in found),
        )

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more; let requests finish for `drain_seconds`, then cancel the rest."""
        with self._changed:
            self._closing = True
            workers = list(self._workers.values())
            busy = [worker for worker in workers if worker.calls]
            closings = [Inquiry(worker.model, "close", drain_seconds) for worker in busy]
            for worker, closing in zip(busy, closings, strict=True):
                worker.give(next(self._numbers), closing)
            for rehearsal in list(self._rehearsals):
                rehearsal.dismiss()
        wait([closing.future for closing in closings], drain_seconds + _LAST_WORDS_SECONDS)
        self._timekeeper.close()
        for worker in workers:
            worker.dismiss()
            worker.join()

    def climbing(self) -> Mapping[str, Collection[str]]:
        """The models that each client has requests for; of the timekeeper."""
        found: defaultdict[str, set[str]] = defaultdict(set)
        for climb in self._climbs():
            if climb.begun:
                found[climb.caller.client].add(climb.model)
        return found

    def pause(self, model: str, client: str) -> Future[None]:
        """Let `client` climb `model` no further; of the timekeeper."""
        inquiry = Inquiry(model, "pause", client)
        inquiry.retried = True  # the next worker has other orders
        self._workers[model].give(next(self._numbers), inquiry)
        return inquiry.future

    def resume(self, model: str, client: str) -> None:
        """Let `client` climb `model` again; of the timekeeper."""
        if model in self._workers:
            self._workers[model].send(Call(next(self._numbers), "resume", (client,)))

    def _place(self, call: OpenCall) -> None:
        """Give `call` to the worker of its model.

        Raises ShuttingDown, QueueFull or WorkerDied.
        """
        with self._changed:
            self._check_open()
            if isinstance(call, Climb):
                self._check_room(call.caller)
            worker = self._workers.get(call.model) or self._start(call.model)
            if call.method == "attribute":
                worker.check_room()
            if call.method not in ("refresh", "news"):
                self._workers.move_to_end(call.model)
            worker.give(next(self._numbers), call)

    def _climbs(self) -> list[Climb]:
        """Requests for pictures that somebody waits for."""
        calls = [call for worker in self._workers.values() for call in worker.calls.values()]
        return [call for call in calls if isinstance(call, Climb) and not call.cancelled]

    def _check_room(self, caller: Caller) -> None:
        """As an engine does, over all workers."""
        climbs, settings = self._climbs(), self._settings
        own = sum(climb.caller.client == caller.client for climb in climbs)
        if len(climbs) >= settings.max_requests or own >= settings.max_requests_per_client:
            reports = [worker.report for worker in self._workers.values() if worker.report]
            busy = [report for report in reports if report.stats.active]
            soonest = min((report.seconds_until_room for report in busy), default=BUSY_SECONDS)
            active = sum(report.stats.active for report in busy)
            raise QueueFull(max(len(climbs) - active, 0), soonest)

    def _check_open(self) -> None:
        if self._closing:
            raise ShuttingDown("the server is shutting down and takes no new requests")

    def _setup(self, model: str) -> Setup:
        return Setup(
            model=model,
            unloaded=self.models.unloaded(model),
            directory=self._directory,
            settings=self._settings,
            memory_bytes=self._worker_memory_bytes,
            load_seconds=self._load_seconds,
        )

    def _start(self, model: str) -> WorkerProcess:
        self._deaths.check(model)
        self._make_room()
        try:
            worker = WorkerProcess(self._setup(model), self._received, self._died)
        except OSError as error:
            raise self._deaths.add(model, _not_started(model, error)) from error
        self._workers[model] = worker
        return worker

    def _make_room(self) -> None:
        """Dismiss the worker that was idle for the longest time, if there are too many."""
        if len(self._workers) < self._max_workers:
            return
        idle = next((worker for worker in self._workers.values() if not worker.calls), None)
        if idle is None:
            open_calls = sum(len(worker.calls) for worker in self._workers.values())
            raise QueueFull(open_calls, BUSY_SECONDS)
        idle.dismiss()
        self._forget(idle)

    def _forget(self, worker: WorkerProcess) -> None:
        if self._workers.get(worker.model) is worker:
            del self._workers[worker.model]
            self.models.rest(worker.model)
            self._timekeeper.died(worker.model)

    def _cancel(self, call: OpenCall) -> None:
        with self._changed:
            call.cancelled = True
            self._changed.notify_all()
            worker = self._workers.get(call.model)
            if worker is not None and call.number in worker.calls:
                worker.send(Call(next(self._numbers), "cancel", (call.number,)))

    def _received(self, worker: WorkerProcess, message: Message) -> None:
        match message:
            case Said(number, content):
                worker.calls[number].said(content)
                if isinstance(content, Accepted):
                    with self._changed:
                        self._changed.notify_all()
            case Ended(number, error):
                self._ended(worker, number, error)
            case Report() as report:
                worker.report = report
                self.models.learn(worker.model, report.info, report.seen)
            case Observed(told):
                for method, arguments in told:
                    getattr(self._observer, method)(*arguments)

    def _ended(self, worker: WorkerProcess, number: int, error: Exception | None) -> None:
        with self._changed:
            call = worker.calls.pop(number)
            self._changed.notify_all()
            if error is None and call.method in ("submit", "attribute"):
                self._deaths.forget(worker.model)
        call.ended(error)

    def _died(self, worker: WorkerProcess, manner: str) -> None:
        """Ask its open calls again, once, and end those that cannot be."""
        with self._changed:
            self._forget(worker)
            error = self._reason(worker, manner)
            calls, worker.calls = worker.calls, {}
            lost = [call for call in calls.values() if not self._give_again(call, worker)]
            self._changed.notify_all()
        for call in lost:
            call.ended(Cancelled("the request was cancelled") if call.cancelled else error)

    def _reason(self, worker: WorkerProcess, manner: str) -> UnitscopeError:
        if worker.dismissed:
            return ShuttingDown("the server shut down before the request was finished")
        error = self._deaths.add(worker.model, worker.fault(manner))
        _log.error("%s; it had %d requests", error, len(worker.calls))
        return error

    def _give_again(self, call: OpenCall, dead: WorkerProcess) -> bool:
        """Unless its model would take as long again to load."""
        waited = dead.overdue and not call.begun
        if waited or call.retried or call.cancelled or self._closing:
            return False
        call.retried = True
        try:
            worker = self._workers.get(call.model) or self._start(call.model)
        except (QueueFull, WorkerDied):
            return False
        worker.give(next(self._numbers), call)
        return True


def _not_started(model: str, error: OSError) -> str:
    return f"no worker could be started for model {model!r} ({error})"
