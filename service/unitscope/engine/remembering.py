"""A service that remembers what it was asked, so that nothing is done twice.

A `request_id` makes a request idempotent (AIP-155): asked again, it joins the run or gets its
result. With a store, a request whose result is known is answered from there, and requests for the
same result share one run while it lasts; one that wants previews runs alone, since it is there to
see all of the way.
"""

from __future__ import annotations

import threading
import uuid
from collections import OrderedDict
from dataclasses import dataclass, replace
from pathlib import Path

from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.device import THE_PROCESSOR, Device
from unitscope.engine.limits import Limits, check
from unitscope.engine.request import NOBODY, Caller, MaximizeRequest
from unitscope.engine.result_key import request_digest, result_key
from unitscope.engine.result_store import CacheObserver, ResultStore
from unitscope.engine.service import Models, Service, Stats
from unitscope.engine.shared_run import SharedRun
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.errors import RequestIdTaken, ShuttingDown, UnitscopeError

REMEMBERED_BYTES = 64 << 20
"""Of results by `request_id`, in memory; the oldest are forgotten first."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """Where results are kept: nowhere unless there is a `cache_directory`.

    `cache_bytes`: of all results in it; the least recently used leave first. Several servers may
    have the same directory.
    """

    cache_directory: Path | None = None
    cache_bytes: int = 1 << 30


@dataclass(frozen=True, slots=True)
class _Known:
    """What was asked under an id, as a digest, and what came of it."""

    asked: str
    run: SharedRun

    @property
    def bytes(self) -> int:
        finished = self.run.finished
        return 0 if finished is None else len(finished.result.image) + len(finished.result.record)


class Remembering:
    """`service`, asked once for what it is asked several times; it is closed with this one.

    `limits`: those of the service; what lies beyond them is refused also where it is known.
    `device`: the service's, on which results depend.
    """

    def __init__(
        self,
        service: Service,
        limits: Limits,
        settings: CacheSettings,
        observer: CacheObserver,
        device: Device = THE_PROCESSOR,
    ) -> None:
        self._service = service
        self._device = device
        self._limits = limits
        self._observer = observer
        self._store: ResultStore | None = None
        if settings.cache_directory is not None:
            self._store = ResultStore(settings.cache_directory, settings.cache_bytes, observer)
        self._running: dict[str, _Known] = {}
        self._finished: OrderedDict[str, _Known] = OrderedDict()
        self._finished_bytes = 0
        self._by_key: dict[str, SharedRun] = {}
        self._closing = False
        self._lock = threading.Lock()

    @property
    def models(self) -> Models:
        """What can be asked for."""
        return self._service.models

    def submit(self, request: MaximizeRequest, caller: Caller = NOBODY) -> Ticket:
        """A ticket of a run, be it new, another's, or one whose result is known.

        A request with an id that has begun runs until its callers give it up, since they may come
        again with more time. Raises RequestIdTaken, and what the service raises.
        """
        check(request, self._limits)
        key = self._key(request)
        if key is None and not request.request_id:
            return self._service.submit(request, caller)
        asked = ""
        if request.request_id:
            asked = request_digest(request)
            caller = replace(caller, timeout_seconds=None, useful_seconds=caller.timeout_seconds)
        caller = replace(caller, progress_every_steps=1)  # others may join who want to hear more
        named = replace(request, request_id=request.request_id or str(uuid.uuid4()))
        with self._lock:
            if self._closing:
                raise ShuttingDown("the server is shutting down and takes no new requests")
            ticket = self._join(self._find(request, caller, asked, key), named.request_id, asked)
            if ticket is not None:
                self._observer.joined()
                return ticket
            run = SharedRun(key, caller, self._ended)
            if key is not None and not request.preview_every_steps:
                self._by_key[key] = run
            ticket = self._join(run, named.request_id, asked)
        assert ticket is not None  # a new run has not ended
        self._start(run, named)
        return ticket

    def attribute(self, request: AttributeRequest) -> AttributionTicket:
        """As the service does it."""
        return self._service.attribute(request)

    def stats(self) -> Stats:
        """Those of the service."""
        return self._service.stats()

    def close(self, drain_seconds: float = 0.0) -> None:
        """Close the service, then write what it finished."""
        with self._lock:
            self._closing = True
        self._service.close(drain_seconds)
        if self._store is not None:
            self._store.close()

    def _key(self, request: MaximizeRequest) -> str | None:
        """The key of the result; None where none is kept, or the service says what is wrong."""
        if self._store is None:
            return None
        try:
            info = self._service.models.known(request.model, request.model_version)
        except UnitscopeError:
            return None
        return result_key(request, info, self._device) if info.fingerprint else None

    def _find(
        self, request: MaximizeRequest, caller: Caller, asked: str, key: str | None
    ) -> SharedRun | None:
        """The run that answers the request, too; raises RequestIdTaken."""
        request_id = request.request_id
        known = self._running.get(request_id) or self._finished.get(request_id)
        if known is not None:
            if known.asked != asked:
                raise RequestIdTaken(request_id)
            return known.run
        if key is None or request.preview_every_steps:
            return None
        run = self._by_key.get(key)
        return run if run is not None and run.suits(caller) else None

    def _join(self, run: SharedRun | None, request_id: str, asked: str) -> Ticket | None:
        """A ticket of `run`, unless it ended without a result; the id of a caller is noted."""
        ticket = None if run is None else run.join(request_id)
        if run is not None and asked and request_id in run.request_ids:
            self._running[request_id] = _Known(asked, run)
        return ticket

    def _start(self, run: SharedRun, request: MaximizeRequest) -> None:
        """Let the store or the service answer."""
        try:
            if not request.preview_every_steps and self._recall(run):
                return
            ticket = self._service.submit(request, run.caller)
        except Exception as error:  # whatever it was, nobody is to wait for it
            run.close(error)
            raise
        if run.key is not None and self._key(request) != run.key:
            run.key = None  # the model was replaced while the request went in
        run.follow(ticket)

    def _recall(self, run: SharedRun) -> bool:
        """Answer from the store, if it knows the result."""
        if self._store is None or run.key is None:
            return False
        finished = self._store.get(run.key)
        if finished is None:
            self._observer.cache_miss()
            return False
        self._observer.cache_hit()
        run.put(finished.accepted)
        run.put(replace(finished.result, cached=True))
        run.close()
        return True

    def _ended(self, run: SharedRun) -> None:
        """Remember the result by the ids of its callers, and keep it in the store."""
        finished = run.finished
        with self._lock:
            for request_id in run.request_ids:
                known = self._running.get(request_id)
                if known is not None and known.run is run:
                    del self._running[request_id]
                    self._remember(request_id, known)
        if (
            self._store is not None
            and run.key is not None
            and finished is not None
            and not finished.result.cached
        ):
            keeping = self._store.put(run.key, finished)
            keeping.add_done_callback(lambda _: self._unlist(run))
        else:
            self._unlist(run)

    def _remember(self, request_id: str, known: _Known) -> None:
        if known.run.finished is None:
            return
        self._finished[request_id] = known
        self._finished_bytes += known.bytes
        while self._finished_bytes > REMEMBERED_BYTES:
            _, oldest = self._finished.popitem(last=False)
            self._finished_bytes -= oldest.bytes

    def _unlist(self, run: SharedRun) -> None:
        """From now on the store knows its result, or nobody does."""
        with self._lock:
            self._by_key = {key: other for key, other in self._by_key.items() if other is not run}
