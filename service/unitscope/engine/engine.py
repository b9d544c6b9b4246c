"""The engine: takes requests, lets them take turns on one executor, loses none.

One thread climbs, one thread compiles, callers only leave and read messages. The loop is:
schedule, execute, update.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from types import TracebackType
from typing import Self

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.admission import Admission
from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.attributor import Attributor
from unitscope.engine.batches import ROWS, Batches
from unitscope.engine.builder import Builder
from unitscope.engine.climber import Climber, End, NoObserver, Observer
from unitscope.engine.device import find_device
from unitscope.engine.executor import Executor, Program
from unitscope.engine.job import Job
from unitscope.engine.limits import Limits, check
from unitscope.engine.plan import resolve
from unitscope.engine.programs import Programs
from unitscope.engine.repository import Repository
from unitscope.engine.request import NOBODY, PRIORITIES, Caller, MaximizeRequest
from unitscope.engine.scheduler import Scheduler
from unitscope.engine.service import Stats
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.errors import Cancelled, DeadlineExceeded, ShuttingDown, UnitscopeError

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """How much is taken on.

    `max_requests` are taken in by a server, `max_requests_per_client` of one client, whatever their
    models. `max_active` of a client climb in a process while its others wait.
    `program_memory_bytes`: what compiled programs may take together, those of running requests
    first; a request whose program would take more is refused, one whose program does not fit now
    waits, and a few that find room may pass it. `threads` 0 = all cores. `device`: where programs
    run, "cpu", "cuda" or, of several, "cuda:1". `precision`: of models and their gradients on CUDA,
    "float32" or "float16".
    """

    limits: Limits = field(default_factory=Limits)
    max_requests: int = 256
    max_requests_per_client: int = 128
    max_active: int = 16
    program_memory_bytes: int = 4 << 30
    threads: int = 0
    device: str = "cpu"
    precision: str = "float32"


class Engine:
    """Serves requests until closed. All methods may be called from any thread.

    Raises InvalidRequest where there is no such device as the settings name.
    """

    def __init__(
        self,
        repository: Repository,
        settings: EngineSettings = EngineSettings(),
        observer: Observer | None = None,
    ) -> None:
        self.models = repository
        self._settings = settings
        self._observer = observer or NoObserver()
        self._attributor = Attributor(repository)
        self._executor = Executor(
            threads=settings.threads, device=find_device(settings.device, settings.precision)
        )
        self._scheduler: Scheduler[Job] = Scheduler(max_active=settings.max_active)
        self._jobs: set[Job] = set()
        self._held: dict[Job, Program] = {}
        self._in_turn: list[Job] = []
        self._resting: list[Future[None]] = []
        self._programs = Programs(
            self._executor,
            memory_bytes=settings.program_memory_bytes,
            compiled=self._observer.compiled,
        )
        self._closing = False
        self._changed = threading.Condition()
        self._builder = Builder(self._build)
        self._prover = ThreadPoolExecutor(1, thread_name_prefix="unitscope-prove")
        self._batches = Batches(
            self._executor, self._prover, build=self._build_larger, find=self._programs.find
        )
        self._climber = Climber(self._executor, self._batches, self._observer)
        self._admission = Admission(
            self._jobs,
            self._scheduler,
            self._climber,
            self._batches,
            settings.max_requests,
            settings.max_requests_per_client,
        )
        self._thread = threading.Thread(target=self._run, name="unitscope-climb", daemon=True)
        self._thread.start()
        repository.watch(self)

    def submit(self, request: MaximizeRequest, caller: Caller = NOBODY) -> Ticket:
        """Take a request in; loads its model if need be.

        Raises InvalidRequest, NotFound, ModelRejected, QueueFull, DeadlineExceeded or ShuttingDown.
        """
        check(request, self._settings.limits)
        self._check_room(caller)
        plan = resolve(request, self.models.get(request.model, request.model_version))
        job = Job(plan, caller)
        with self._changed:
            self._check_room(caller)
            self._admission.check_model(plan)
            self._admission.check_time(plan, caller)
            self._jobs.add(job)
            job.mailbox.put(job.plan.accepted())
            self._changed.notify_all()  # its deadline may be the next
        self._enter(job)
        given_up = Cancelled("the request was cancelled")
        return Ticket(job.plan.request_id, job.mailbox, partial(self._leave, job, given_up))

    def attribute(self, request: AttributeRequest) -> AttributionTicket:
        """Take an attribution in, at once; its ticket knows what loading its model raises.

        Raises InvalidRequest, QueueFull or ShuttingDown.
        """
        return self._attributor.submit(request)

    def stats(self) -> Stats:
        """Requests waiting (or compiling) and running, and programs in memory."""
        with self._changed:
            running = self._scheduler.running
            waiting = len(self._jobs) - running
        programs = self._programs
        return Stats(
            waiting, running, len(programs), programs.taken_bytes, programs.nodes_elsewhere
        )

    def seconds_until_room(self) -> float:
        """Until the shortest running request ends, all of them taking turns."""
        with self._changed:
            return self._admission.seconds_until_room()

    def pause(self, client: str) -> Future[None]:
        """Let no request of `client` have a turn; the answer comes when none has one any more."""
        rest: Future[None] = Future()
        with self._changed:
            self._scheduler.pause(client)
            if any(job.caller.client == client for job in self._in_turn):
                self._resting.append(rest)
            else:
                rest.set_result(None)
        return rest

    def resume(self, client: str) -> None:
        """Let requests of `client` have turns again."""
        with self._changed:
            self._scheduler.resume(client)
            self._changed.notify_all()

    def tidy(self) -> None:
        """Models have left the memory: keep nothing of them once no request uses it."""
        self._attributor.tidy()
        self._drop_unused()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more; let requests finish for `drain_seconds`, then cancel the rest."""
        with ThreadPoolExecutor(1) as beside:
            attributions = beside.submit(self._attributor.close, drain_seconds)
            self._close(drain_seconds)
            attributions.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close(self, drain_seconds: float) -> None:
        with self._changed:
            self._closing = True
            self._changed.notify_all()
            self._changed.wait_for(lambda: not self._jobs, timeout=drain_seconds)
            left = list(self._jobs)
        for job in left:
            self._leave(job, ShuttingDown("the server shut down before the request was finished"))
        self._thread.join()
        self._prover.shutdown(cancel_futures=True)
        self._builder.close()

    def _run(self) -> None:
        while True:
            with self._changed:
                jobs = self._next()
                while not jobs:
                    if self._closing and not self._jobs:
                        return
                    self._changed.wait(self._seconds_until_late())
                    jobs = self._next()
                self._in_turn = jobs
            self._turn(jobs)
            self._rest()

    def _rest(self) -> None:
        """Between turns: say so to those who pause a client."""
        with self._changed:
            self._in_turn, resting, self._resting = [], self._resting, []
        for rest in resting:
            rest.set_result(None)

    def _next(self) -> list[Job]:
        """Whose turn it is, and who may come along; who is late is let go."""
        now = time.monotonic()
        for job in [job for job in self._jobs if job.deadline < now]:
            self._leave(job, DeadlineExceeded("the time that the caller gave is over"))
        head = self._scheduler.schedule()
        if head is None:
            return []
        if not (head.is_ready and head.is_climbing and head.plan.model.info.batchable):
            return [head]
        return [head, *self._scheduler.company(head, ROWS[0] - 1, partial(_share_program, head))]

    def _seconds_until_late(self) -> float | None:
        """Until somebody is; None where nobody will be."""
        soonest = min((job.deadline for job in self._jobs), default=math.inf)
        return None if soonest == math.inf else max(soonest - time.monotonic(), 0.0)

    def _turn(self, jobs: list[Job]) -> None:
        head, started = jobs[0], time.monotonic()
        if not head.is_ready:
            self._rebuild(head)
        else:
            had, ends = self._climber.turn(jobs)
            with self._changed:
                self._scheduler.charge(had, time.monotonic() - started)
                self._make_room(had)
            for job, end in ends:
                self._finish(job, end)

    def _make_room(self, jobs: Sequence[Job]) -> None:
        """Let others climb while pictures are measured: one by one they would not step together."""
        for job in jobs:
            if job in self._jobs and not job.is_climbing:
                self._scheduler.make_room(job)

    def _finish(self, job: Job, end: End) -> None:
        if isinstance(end, Exception):
            self._leave(job, end)
        else:
            job.mailbox.put(end)
            self._leave(job)

    def _rebuild(self, job: Job) -> None:
        """Take the job out of the turns until the other program it needs is there."""
        with self._changed:
            if self._scheduler.remove(job):
                job.program = None
                self._let_go(job)
        self._enter(job)

    def _enter(self, job: Job) -> None:
        """Let the job take turns, at once if its program is there and nobody waits for memory."""
        with self._changed:
            if job not in self._jobs:
                return
            program = None if self._builder.is_short else self._programs.hold_found(job.spec)
            if program is None:
                self._builder.add(job)
                return
        self._begin(job, program)

    def _build(self, job: Job) -> bool:
        """On the builder's thread: find or compile the job's program, then let it take turns.

        Returns False where others hold the memory that it takes.
        """
        if job not in self._jobs:
            return True
        started = time.monotonic()
        try:
            program = self._programs.hold(job.spec)
        except Exception as error:  # ends this request, whatever it was, and no other
            self._leave(job, error)
            return True
        finally:
            job.clock.compiling += time.monotonic() - started
        if program is not None:
            self._begin(job, program)
        return program is not None

    def _begin(self, job: Job, program: Program) -> None:
        """Let the job take turns with the program that is held for it."""
        started = time.monotonic()
        self._held[job] = program
        try:
            job.prepare(self._executor, program)
        except Exception as error:  # ends this request, whatever it was, and no other
            self._leave(job, error)
        job.clock.compiling += time.monotonic() - started
        with self._changed:
            if job in self._jobs:
                weight = PRIORITIES[job.caller.priority]
                self._scheduler.add(job, client=job.caller.client, weight=weight)
                self._changed.notify_all()
            else:
                self._let_go(job)

    def _build_larger(self, spec: ProgramSpec) -> Program:
        """On the prover's thread: what was kept for it meanwhile may be free again."""
        try:
            return self._programs.get(spec)
        finally:
            self._builder.retry()

    def _leave(self, job: Job, error: Exception | None = None) -> None:
        """Let `job` go, once: with its result already in the mailbox, or with an error."""
        with self._changed:
            if job not in self._jobs:
                return
            self._jobs.remove(job)
            self._scheduler.remove(job)
            self._let_go(job)
            self._changed.notify_all()
        if error is not None and not isinstance(error, UnitscopeError):
            _log.error("request %s failed", job.plan.request_id, exc_info=error)
        job.mailbox.close(error)

    def _let_go(self, job: Job) -> None:
        """Release what `job` holds, if it holds something; others may wait for that."""
        program = self._held.pop(job, None)
        if program is not None:
            self._programs.release(program)
            self._batches.retry(self._programs.room_bytes)
            self._drop_unused()
        self._builder.retry()

    def _drop_unused(self) -> None:
        """Drop what was made of models that are neither in memory nor in use."""
        with self._changed:
            used = {*self.models.loaded(), *(job.plan.model for job in self._jobs)}
        digests = {model.info.sha256 for model in used}
        self._programs.keep_only(digests)
        self._batches.keep_only(digests)

    def _check_room(self, caller: Caller) -> None:
        with self._changed:
            if self._closing:
                raise ShuttingDown("the server is shutting down and takes no new requests")
            self._admission.check_room(caller.client)


def _share_program(one: Job, other: Job) -> bool:
    return other.program is one.program and other.is_climbing and other.is_ready
