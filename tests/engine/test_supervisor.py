"""Drills: what a worker's death does to its requests, and to nobody else (docs/promises.md)."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.engine.crashers import TRAPS, division_trap, endless, memory_bomb
from tests.engine.test_version import put
from tests.images import encoded, random_pixels
from tests.models import small_classifier
from unitscope.engine import rota
from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.engine import EngineSettings
from unitscope.engine.limits import Limits
from unitscope.engine.request import (
    Accepted,
    Caller,
    Event,
    Maximization,
    MaximizeRequest,
    Progress,
)
from unitscope.engine.supervisor import Supervisor
from unitscope.engine.ticket import Ticket
from unitscope.errors import (
    Cancelled,
    ModelUnloaded,
    NotFound,
    OutOfMemory,
    QueueFull,
    WorkerDied,
)

ENDLESS = 10**9
SETTINGS = EngineSettings(limits=Limits(max_steps=ENDLESS))


@pytest.fixture
def service(model_directory: Path) -> Iterator[Supervisor]:
    service = supervisor(model_directory)
    yield service
    service.close()


def supervisor(
    directory: Path,
    settings: EngineSettings = SETTINGS,
    *,
    max_workers: int = 8,
    worker_memory_bytes: int = 0,
    load_seconds: float = 60.0,
) -> Supervisor:
    return Supervisor(
        directory,
        settings,
        max_workers=max_workers,
        worker_memory_bytes=worker_memory_bytes,
        load_seconds=load_seconds,
    )


def request(model: str = "small", *, steps: int = 20, **options: Any) -> MaximizeRequest:
    return MaximizeRequest(unit=1, model=model, steps=steps, **options)


def kill(service: Supervisor, model: str = "small", number: int = signal.SIGKILL) -> None:
    """End a worker and wait until the supervisor has done what follows."""
    worker = service._workers[model]
    os.kill(worker.pid, number)
    worker.join()


def started(ticket: Ticket) -> Iterator[Any]:
    """The events after the first step."""
    events = ticket.events()
    assert isinstance(next(events), Accepted)
    assert isinstance(next(events), Progress)
    return events


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV, signal.SIGABRT])
def test_a_request_survives_the_death_of_its_worker(
    service: Supervisor, number: signal.Signals
) -> None:
    undisturbed = service.submit(request(steps=400)).result()
    ticket = service.submit(request(steps=400))
    seen: list[Any] = []
    for event in ticket.events():
        if isinstance(event, Progress) and not any(isinstance(e, Progress) for e in seen):
            kill(service, number=number)
        seen.append(event)
    accepted, *between, last = seen
    assert isinstance(accepted, Accepted) and isinstance(last, Maximization)
    steps = [event.step for event in between]
    assert steps == sorted(set(steps)) and steps[-1] == 400
    assert last.image == undisturbed.image
    assert accepted.request_id == last.request_id == ticket.request_id


def test_an_attribution_survives_the_death_of_its_worker(service: Supervisor) -> None:
    image = encoded(random_pixels())
    asked = AttributeRequest(image=image, unit=1, model="small", method="smoothgrad", samples=256)
    undisturbed = service.attribute(asked).result()
    ticket = service.attribute(asked)
    kill(service)
    assert ticket.result().values_npy == undisturbed.values_npy


def test_a_second_death_ends_a_request_and_no_other(service: Supervisor) -> None:
    other = service.submit(request("bare", steps=ENDLESS))
    others = started(other)
    ticket = service.submit(request(steps=ENDLESS))
    events = started(ticket)
    kill(service)
    started_again(service)
    kill(service)
    with pytest.raises(WorkerDied, match=r"'small' .*signal 9, SIGKILL.*2 times in a row") as died:
        list(events)
    assert died.value.model == "small" and 0 < died.value.retry_after_seconds <= 1
    with pytest.raises(WorkerDied):
        service.submit(request())
    assert isinstance(next(others), Progress)
    other.cancel()
    time.sleep(died.value.retry_after_seconds)
    assert service.submit(request()).result().metrics.steps == 20


def started_again(service: Supervisor) -> None:
    """Wait until the worker of `small` has a request again."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        report = service.reports().get("small")
        if report is not None and report.stats.active:
            return
    pytest.fail("nothing is asked again")


def test_who_gave_up_is_not_asked_for_again(service: Supervisor) -> None:
    ticket = service.submit(request(steps=ENDLESS))
    events = started(ticket)
    ticket.cancel()
    kill(service)
    with pytest.raises(Cancelled):
        list(events)
    assert service.stats().active == service.stats().queue_depth == 0


def test_a_model_that_kills_its_workers_is_refused_by_name(service: Supervisor) -> None:
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(service.submit, request())
        for _ in range(2):
            while "small" not in service._workers:
                assert not asked.done()
            kill(service, number=signal.SIGSEGV)
        message = r"loading model 'small' killed its worker \(signal 11, SIGSEGV\), 2 times"
        with pytest.raises(WorkerDied, match=message):
            asked.result(60)
    with pytest.raises(WorkerDied, match=message):
        service.submit(request())
    with pytest.raises(WorkerDied, match=message):
        service.attribute(AttributeRequest(image=b"", unit=1, model="small"))
    info = service.models.info("small")
    assert info.state == "unavailable" and "killed its worker" in info.error
    assert service.submit(request("bare")).result().metrics.steps == 20


def test_a_memory_bomb_harms_its_own_model_only(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "small.onnx")
    onnx.save(memory_bomb(), tmp_path / "bomb.onnx")
    service = supervisor(tmp_path, worker_memory_bytes=1 << 30)
    ticket = service.submit(request(steps=ENDLESS))
    events = started(ticket)
    with pytest.raises(OutOfMemory, match="Failed to allocate memory"):
        service.submit(request("bomb")).result()
    assert isinstance(next(events), Progress)
    service.close()


def test_a_load_that_never_ends_is_ended(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "small.onnx")
    onnx.save(endless(), tmp_path / "endless.onnx")
    with closing(supervisor(tmp_path, load_seconds=5)) as service:
        events = started(service.submit(request(steps=ENDLESS)))
        message = r"loading model 'endless' took longer than 5 s; retry in"  # once, not twice
        with pytest.raises(WorkerDied, match=message):
            service.submit(request("endless"))
        assert isinstance(next(events), Progress)
        with pytest.raises(WorkerDied, match="took longer than 5 s, 2 times in a row"):
            service.models.load("endless")
        assert service.models.info("endless").state == "unavailable"
        assert isinstance(next(events), Progress)


@pytest.mark.parametrize("harmful", [endless, pytest.param(division_trap, marks=TRAPS)])
def test_a_new_version_that_harms_whoever_loads_it_leaves_the_one_that_is_served(
    harmful: Callable[[], onnx.ModelProto], tmp_path: Path
) -> None:
    put(tmp_path, "1", small_classifier(seed=1))
    with closing(supervisor(tmp_path, load_seconds=5)) as service:
        events = started(service.submit(request("eyes", steps=ENDLESS)))
        pid = service._workers["eyes"].pid
        put(tmp_path, "2", harmful())
        with pytest.raises(WorkerDied, match=r"loading model 'eyes' (took longer|killed)"):
            service.models.load("eyes")
        service.models.refresh()  # nobody asked for it again: it is not tried
        (told,) = (info for info in service.models.catalogue() if info.name == "eyes")
        assert (told.version, told.state) == ("1", "ready")
        assert "loading model 'eyes'" in told.error and "2 times" not in told.error
        assert service.submit(request("eyes")).result().metrics.model_version == "1"
        put(tmp_path, "2", small_classifier(seed=2))
        assert service.models.load("eyes").version == "2"
        assert service.models.info("eyes").error == ""
        assert service.submit(request("eyes")).result().metrics.model_version == "2"
        assert isinstance(next(events), Progress)
        assert service._workers["eyes"].pid == pid


def test_the_longest_idle_worker_makes_room(model_directory: Path) -> None:
    service = supervisor(model_directory, max_workers=2)
    for model in ("small", "bare", "small", "grey"):
        service.submit(request(model, steps=1)).result()
    states = {info.name: info for info in service.models.catalogue()}
    assert [states[name].state for name in ("small", "grey", "bare")] == [
        "ready", "ready", "not_loaded"
    ]  # fmt: skip
    assert states["bare"].class_count == 5 and service.models.loaded_count() == 2
    busy = [service.submit(request(model, steps=ENDLESS)) for model in ("small", "grey")]
    with pytest.raises(QueueFull):
        service.submit(request("bare"))
    for ticket in busy:
        ticket.cancel()
    service.close()


def test_requests_are_counted_over_all_models(model_directory: Path) -> None:
    settings = replace(SETTINGS, max_requests=3, max_requests_per_client=2)
    one, other, third = (Caller(client) for client in ("one", "other", "third"))
    with closing(supervisor(model_directory, settings)) as service:
        tickets = [service.submit(request(m, steps=ENDLESS), one) for m in ("small", "bare")]
        for ticket in tickets:
            started(ticket)
        with pytest.raises(QueueFull) as full:
            service.submit(request("grey"), one)
        assert full.value.retry_after_seconds > 1000
        assert "grey" not in service._workers
        service.submit(request("grey", steps=ENDLESS), other)
        with pytest.raises(QueueFull):
            service.submit(request("small"), third)
        kill(service, "bare")  # it is asked again, and still counts
        with pytest.raises(QueueFull):
            service.submit(request("small"), third)
        for ticket in tickets:
            ticket.cancel()
            with pytest.raises(Cancelled):
                ticket.result()
        assert service.submit(request("small"), one).result().metrics.steps == 20


class Steps:
    """Counts the steps that a request has taken."""

    def __init__(self, ticket: Ticket) -> None:
        self.count = 0
        self._changed = threading.Condition()
        ticket.forward(self)

    def put(self, event: Event) -> None:
        with self._changed:
            self.count += isinstance(event, Progress)
            self._changed.notify_all()

    def close(self, error: BaseException | None = None) -> None:
        assert isinstance(error, Cancelled)

    def wait(self, more: int) -> None:
        with self._changed:
            wanted = self.count + more
            assert self._changed.wait_for(lambda: self.count >= wanted, 60)


def paused_at(service: Supervisor, client: str) -> str:
    """The one model that `client` does not climb, once that has come to rest."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with service._changed:
            line = service._timekeeper._rota._lines.get(client)
            if line is not None and list(line.paused.values()) == [None]:
                return next(iter(line.paused))
    pytest.fail("nobody is paused")


def test_beside_others_a_client_climbs_one_model_at_a_time(
    service: Supervisor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def climb(model: str, client: str) -> tuple[Ticket, Steps]:
        ticket = service.submit(request(model, steps=ENDLESS), Caller(client))
        return ticket, Steps(ticket)

    many = {model: climb(model, "many") for model in ("small", "bare")}
    for _, steps in many.values():
        steps.wait(1)
    few, others = climb("grey", "few")
    first = paused_at(service, "many")
    many[first][1].wait(2)  # it has its turn
    monkeypatch.setattr(rota, "TURN_SECONDS", 3600.0)
    paused = paused_at(service, "many")
    before = many[paused][1].count
    others.wait(50)
    (climbed,) = many.keys() - {paused}
    many[climbed][1].wait(50)
    assert many[paused][1].count == before
    few.cancel()
    many[paused][1].wait(2)  # nobody else is there
    for ticket, _ in many.values():
        ticket.cancel()


def test_what_is_known_of_unchanged_files_starts_no_worker(tmp_path: Path) -> None:
    put(tmp_path, "1", small_classifier(seed=1))
    with closing(supervisor(tmp_path)) as service:
        first = service.models.known("eyes")
        assert first.state == "ready" and first.fingerprint
        kill(service, "eyes")
        asleep = service.models.known("eyes")
        assert asleep.state == "not_loaded" and asleep.fingerprint == first.fingerprint
        assert "eyes" not in service._workers
        put(tmp_path, "1", small_classifier(seed=2))
        assert service.models.known("eyes").fingerprint not in ("", first.fingerprint)
        service.submit(request("eyes")).result()  # a death is forgiven
        service.models.unload("eyes")
        kill(service, "eyes")
        assert service.models.known("eyes").error == "it was unloaded"


def test_what_was_unloaded_stays_so_in_the_next_worker(service: Supervisor) -> None:
    service.models.unload("small")
    kill(service)
    with pytest.raises(ModelUnloaded):
        service.submit(request())
    service.models.load("small")
    assert service.submit(request()).result().metrics.steps == 20
    kill(service)
    assert service.submit(request()).result().metrics.steps == 20


@pytest.mark.parametrize("look", ["refresh", "load"])
def test_a_worker_forgets_what_is_gone_with_its_last_request(look: str, tmp_path: Path) -> None:
    for seed, name in enumerate(("small", "bare")):
        onnx.save(small_classifier(seed=seed), tmp_path / f"{name}.onnx")
    with closing(supervisor(tmp_path)) as service:
        ticket = service.submit(request(steps=ENDLESS))
        started(ticket)
        (tmp_path / "small.onnx").unlink()
        service.models.refresh() if look == "refresh" else service.models.load("bare")
        report = service.reports()["small"]
        assert (report.loaded, report.info, report.stats.programs) == (0, None, 1)
        with pytest.raises(NotFound):
            service.submit(request())
        ticket.cancel()
        with pytest.raises(Cancelled):
            ticket.result()
        assert service.reports()["small"].stats.programs == 0


def test_a_worker_forgets_what_was_replaced(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(seed=1), path)
    with closing(supervisor(tmp_path)) as service:
        before = service.submit(request()).result().metrics.model_sha256
        onnx.save(small_classifier(seed=2), tmp_path / "incoming")
        (tmp_path / "incoming").replace(path)
        service.models.refresh()
        assert service.models.loaded_count() == 1 and service.stats().programs == 0
        assert service.submit(request()).result().metrics.model_sha256 != before
        assert service.stats().programs == 1


def test_an_unknown_model_starts_no_worker(service: Supervisor) -> None:
    with pytest.raises(NotFound, match="smal"):
        service.submit(request("smal"))
    assert not service.reports()


def test_signals_for_the_server_do_not_end_a_worker(service: Supervisor) -> None:
    events = started(service.submit(request(steps=300)))
    for number in (signal.SIGINT, signal.SIGTERM):
        os.kill(service._workers["small"].pid, number)
    *_, last = events
    assert isinstance(last, Maximization)
    assert last.metrics.steps == 300
