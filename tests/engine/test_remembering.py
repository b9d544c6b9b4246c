"""A service that remembers: what it answers is what a run would have given, and runs are few."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import onnx
import pytest

from tests.engine.results import Counts
from tests.images import encoded, random_pixels
from tests.models import CARD, small_classifier
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.limits import Limits
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.remembering import CacheSettings, Remembering
from unitscope.engine.repository import Repository
from unitscope.engine.request import (
    NOBODY,
    Accepted,
    Caller,
    ImageFormat,
    Maximization,
    MaximizeRequest,
    Progress,
)
from unitscope.engine.ticket import Ticket
from unitscope.errors import (
    Cancelled,
    DeadGradient,
    DeadlineExceeded,
    InvalidRequest,
    ModelRejected,
    NotFound,
    RequestIdTaken,
    ShuttingDown,
)

ENDLESS = 10**9
LIMITS = Limits(max_steps=ENDLESS)
IMAGE = encoded(random_pixels(0))


class Kept:
    """A service in front of an engine, and what both told."""

    def __init__(
        self,
        repository: Repository,
        directory: Path | None,
        limits: Limits,
        engine: type[Engine],
    ) -> None:
        self.counts = Counts()
        self.engine = engine(repository, EngineSettings(limits=limits), self.counts)
        cache = CacheSettings(cache_directory=directory)
        self.service = Remembering(self.engine, limits, cache, self.counts)

    def submit(self, unit: int | str | None = 1, **options: Any) -> Ticket:
        caller = options.pop("caller", Caller())
        asked: dict[str, Any] = {"model": "small", "steps": 4} | options
        return self.service.submit(MaximizeRequest(unit=unit, **asked), caller)

    def result(self, unit: int | str | None = 1, **options: Any) -> Maximization:
        return self.submit(unit, **options).result()


@contextmanager
def kept(
    repository: Repository,
    directory: Path | None = None,
    limits: Limits = LIMITS,
    engine: type[Engine] = Engine,
) -> Iterator[Kept]:
    kept = Kept(repository, directory, limits, engine)
    with closing(kept.service):
        yield kept


def new_id() -> str:
    return str(uuid.uuid4())


def bare(result: Maximization) -> Maximization:
    """Without what differs between two runs of one request."""
    metrics = replace(
        result.metrics,
        queued_seconds=0,
        compiling_seconds=0,
        running_seconds=0,
        measuring_seconds=0,
        steps_per_second=0,
    )
    return replace(result, metrics=metrics, request_id="", cached=False)


def climbing(ticket: Ticket) -> Iterator[Any]:
    """The events of a request after its first step."""
    events = ticket.events()
    assert isinstance(next(events), Accepted) and isinstance(next(events), Progress)
    return events


# Results on disk


@pytest.mark.parametrize(
    "options",
    [
        *({"image_format": name} for name in get_args(ImageFormat)),
        {"natural_images": (IMAGE, encoded(random_pixels(1))), "colors": "images"},
        {"start_image": IMAGE},
        {"unit": None, "objective": "caricature", "reference": IMAGE, "layer": "relu_out"},
        {"unit": "bee", "target": 0.1},
    ],
    ids=lambda options: ",".join(options),
)
def test_a_hit_is_what_a_fresh_run_gives(
    repository: Repository, tmp_path: Path, options: dict[str, Any]
) -> None:
    with kept(repository, tmp_path) as first:
        made = first.result(**options)
    with kept(repository, tmp_path) as second:
        ticket = second.submit(**options)
        accepted, hit = ticket.events()
        assert (second.counts.hits, second.counts.misses, second.counts.steps) == (1, 0, 0)
    with kept(repository) as third:
        (fresh_accepted, *_, fresh) = third.submit(**options).events()
    assert isinstance(accepted, Accepted) and isinstance(hit, Maximization)
    assert isinstance(fresh_accepted, Accepted) and isinstance(fresh, Maximization)
    assert hit.cached and not made.cached and not fresh.cached
    assert hit == replace(made, cached=True, request_id=ticket.request_id)
    assert hit.image == fresh.image and bare(hit) == bare(fresh)
    assert replace(accepted, request_id="") == replace(fresh_accepted, request_id="")
    assert ticket.request_id == accepted.request_id == hit.request_id
    assert made.request_id not in hit.record and made.request_id != hit.request_id


def test_a_default_that_is_stated_is_a_hit_and_gives_the_bytes_it_would_have(
    repository: Repository, tmp_path: Path
) -> None:
    stated: dict[str, Any] = {"layer": "logits", "octaves": 1, "request_id": new_id()}
    with kept(repository, tmp_path) as both:
        both.result()
        hit = both.result(**stated)
        assert hit.cached and hit.request_id == stated["request_id"]
    with kept(repository) as alone:
        assert alone.result(**stated).image == hit.image


def test_another_request_is_a_miss(repository: Repository, tmp_path: Path) -> None:
    with kept(repository, tmp_path) as both:
        assert both.result(seed=1).image != both.result(seed=2).image
        assert (both.counts.hits, both.counts.misses) == (0, 2)
        assert both.counts.bytes > 1000


def test_a_model_that_was_replaced_is_climbed_anew(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    path.with_suffix(".toml").write_text(CARD)
    onnx.save(small_classifier(), path)
    repository = Repository(tmp_path)
    with kept(repository, tmp_path / "cache") as both:
        before = both.result()
        onnx.save(small_classifier(seed=9), path)
        repository.load("small")
        after = both.result()
        assert not after.cached and after.metrics.model_sha256 != before.metrics.model_sha256
        path.with_suffix(".toml").write_text(CARD.replace("bee", "wasp"))
        repository.load("small")
        assert both.result().metrics.label == "wasp"


class Overtaken(Engine):
    """The file of its model changes while a request is on its way in."""

    path: Path

    def submit(self, request: MaximizeRequest, caller: Caller = NOBODY) -> Ticket:
        onnx.save(small_classifier(seed=9), self.path)
        self.models.load("small")
        return super().submit(request, caller)


def test_a_model_that_is_replaced_while_a_request_goes_in_spoils_nothing(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    Overtaken.path = path
    with kept(Repository(tmp_path), tmp_path, engine=Overtaken) as both:
        spoilt = both.result()
    onnx.save(small_classifier(), path)
    with kept(Repository(tmp_path), tmp_path) as later:
        result = later.result()
        assert not result.cached and result.image != spoilt.image


def test_previews_are_all_made_and_the_result_is_kept(
    repository: Repository, tmp_path: Path
) -> None:
    with kept(repository, tmp_path) as both:
        for _ in range(2):
            events = list(both.submit(preview_every_steps=2).events())
            assert sum(isinstance(event, Progress) and bool(event.preview) for event in events) == 2
        assert both.counts.steps == 8
    with kept(repository, tmp_path) as later:
        assert later.result().cached


def test_limits_hold_for_what_is_known(repository: Repository, tmp_path: Path) -> None:
    with kept(repository, tmp_path) as wide:
        wide.result(steps=9)
    with kept(repository, tmp_path, Limits(max_steps=8)) as narrow:
        asked = [narrow.result(steps=8)]
        with pytest.raises(InvalidRequest, match="steps"):
            asked.append(narrow.result(steps=9))
        assert not asked[0].cached


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": "smal"}, NotFound),
        ({"model": "text"}, ModelRejected),
        ({"unit": 5}, NotFound),
        ({"preset": "magic"}, InvalidRequest),
        ({"model": "dead", "steps": 64}, DeadGradient),
    ],
)
def test_a_failure_is_told_and_not_kept(
    repository: Repository, tmp_path: Path, options: dict[str, Any], error: type[Exception]
) -> None:
    with kept(repository, tmp_path) as both:
        for request_id in ("", "", new_id()):
            with pytest.raises(error):
                both.result(**options, request_id=request_id)
        assert both.counts.hits == both.counts.joins == 0


def test_a_disk_that_refuses_costs_nothing_but_time(
    repository: Repository, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    with kept(repository, tmp_path / "file") as both:
        assert both.result().image == both.result().image
        assert both.result(seed=1).image != both.result(seed=2).image
    assert both.counts.failures > 2
    assert caplog.text.count("cannot be read or written") == 1


# Request ids


@pytest.mark.parametrize("with_store", [True, False])
def test_an_id_gets_its_result_again(
    repository: Repository, tmp_path: Path, with_store: bool
) -> None:
    with kept(repository, tmp_path if with_store else None) as both:
        request_id = new_id()
        first, *others = [both.result(request_id=request_id) for _ in range(3)]
        assert others == [replace(first, cached=True)] * 2
        assert both.counts.steps == 4 and both.counts.joins == 2


def test_an_id_of_another_request_is_refused(repository: Repository) -> None:
    with kept(repository) as both:
        running, ended = both.submit(request_id=new_id(), steps=ENDLESS), new_id()
        both.result(request_id=ended)
        for options in ({"seed": 1}, {"preview_every_steps": 2}, {"image_format": "jpeg"}):
            for taken in (running.request_id, ended):
                with pytest.raises(RequestIdTaken, match=taken):
                    both.submit(request_id=taken, **options)
        running.cancel()
        assert both.result(request_id=running.request_id).metrics.steps == 4


def test_an_id_that_cannot_be_served_in_time_is_refused_and_may_come_again(
    repository: Repository,
) -> None:
    with kept(repository) as both:
        both.result()  # it is known how long a step takes
        request_id, hasty = new_id(), Caller(timeout_seconds=60.0)
        with pytest.raises(DeadlineExceeded, match="steps take about"):
            both.submit(request_id=request_id, steps=ENDLESS, caller=hasty)
        climbing(both.submit(request_id=request_id, steps=ENDLESS))
        both.submit(request_id=request_id, steps=ENDLESS, caller=hasty)
        assert both.counts.joins == 1


def test_one_of_two_leaves_and_the_other_goes_on(repository: Repository) -> None:
    with kept(repository) as both:
        request_id = new_id()
        one = both.submit(request_id=request_id, steps=ENDLESS)
        ones = climbing(one)
        other = both.submit(request_id=request_id, steps=ENDLESS)
        others = climbing(other)
        one.cancel()
        one.cancel()
        with pytest.raises(Cancelled):
            list(ones)
        step = next(others).step
        assert next(others).step > step and both.engine.stats().active == 1
        other.cancel()
        with pytest.raises(Cancelled):
            list(others)
        assert both.engine.stats().active == 0
        again = both.submit(request_id=request_id, steps=ENDLESS)
        assert next(climbing(again)).step > 1 and both.counts.joins == 1


def test_who_cancels_after_the_end_hurts_nobody(repository: Repository) -> None:
    with kept(repository) as both:
        request_id = new_id()
        for _ in range(2):
            ticket = both.submit(request_id=request_id)
            ticket.result()
            ticket.cancel()
        assert both.result(request_id=request_id).cached


def test_old_results_are_forgotten(repository: Repository, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unitscope.engine.remembering.REMEMBERED_BYTES", 10_000)
    with kept(repository) as both:
        ids = [new_id() for _ in range(6)]
        for request_id in ids:
            both.result(request_id=request_id)
        assert both.result(request_id=ids[-1]).cached
        assert not both.result(request_id=ids[0]).cached


# Several at once


class Gated(Repository):
    """Its models take as long to be given as the test wants."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered, self.gate = threading.Event(), threading.Event()

    def get(self, name: str = "", version: str = "") -> LoadedModel:
        self.entered.set()
        assert self.gate.wait(60)
        return super().get(name, version)


@pytest.fixture
def gated(model_directory: Path) -> Gated:
    return Gated(model_directory)


def test_who_comes_while_a_request_goes_in_shares_the_run(gated: Gated) -> None:
    request_id = new_id()
    with kept(gated) as both, ThreadPoolExecutor(1) as pool:
        first = pool.submit(both.result, request_id=request_id)
        assert gated.entered.wait(60)
        joined = [both.submit(request_id=request_id) for _ in range(5)]
        gated.gate.set()
        results = [first.result(60), *(ticket.result() for ticket in joined)]
        assert results == [results[0]] * 6 and not results[0].cached
        assert both.counts.steps == 4 and both.counts.joins == 5


def test_who_comes_while_a_request_goes_in_hears_why_it_was_refused(gated: Gated) -> None:
    asked: dict[str, Any] = {"request_id": new_id(), "model": "text"}
    with kept(gated) as both, ThreadPoolExecutor(1) as pool:
        first = pool.submit(both.submit, **asked)
        assert gated.entered.wait(60)
        joined = both.submit(**asked)
        gated.gate.set()
        with pytest.raises(ModelRejected):
            first.result(60)
        with pytest.raises(ModelRejected):
            joined.result()


def test_a_request_that_all_give_up_while_it_goes_in_does_not_run(gated: Gated) -> None:
    request_id = new_id()
    with kept(gated) as both, ThreadPoolExecutor(1) as pool:
        first = pool.submit(both.submit, request_id=request_id, steps=ENDLESS)
        assert gated.entered.wait(60)
        joined = both.submit(request_id=request_id, steps=ENDLESS)
        joined.cancel()
        gated.gate.set()
        first.result(60).cancel()
        for ticket in (joined, first.result()):
            with pytest.raises(Cancelled):
                ticket.result()
        stats = both.engine.stats()
        assert stats.active == stats.queue_depth == 0


def test_the_same_requests_share_a_run_each_under_its_own_id(
    repository: Repository, tmp_path: Path
) -> None:
    with kept(repository, tmp_path) as both:
        one = both.submit(steps=ENDLESS)
        ones = climbing(one)
        mine = both.submit(steps=ENDLESS, request_id=new_id())
        others = both.submit(steps=ENDLESS, layer="logits")
        assert len({ticket.request_id for ticket in (one, mine, others)}) == 3
        for ticket in (mine, others):
            accepted = next(ticket.events())
            assert isinstance(accepted, Accepted) and accepted.request_id == ticket.request_id
        assert both.engine.stats().active == 1 and both.counts.joins == 2
        with pytest.raises(RequestIdTaken):
            both.submit(request_id=mine.request_id)
        for ticket in (one, mine, others):
            ticket.cancel()
        with pytest.raises(Cancelled):
            list(ones)
        assert both.engine.stats().active == 0


@pytest.mark.parametrize(
    ("first", "second", "shares"),
    [
        (Caller(), Caller(client="other"), True),
        (Caller(), Caller(timeout_seconds=60), True),
        (Caller(timeout_seconds=3600), Caller(timeout_seconds=60), True),
        (Caller(timeout_seconds=60), Caller(timeout_seconds=3600), False),
        (Caller(timeout_seconds=3600), Caller(), False),
        (Caller(priority="low"), Caller(), False),
        (Caller(priority="high"), Caller(), True),
    ],
)
def test_nobody_shares_a_run_that_serves_worse(
    repository: Repository, tmp_path: Path, first: Caller, second: Caller, shares: bool
) -> None:
    with kept(repository, tmp_path) as both:
        tickets = [both.submit(steps=40_000, caller=caller) for caller in (first, second)]
        assert both.counts.joins == shares
        for ticket in tickets:
            ticket.cancel()


def test_a_finished_run_serves_everybody_while_its_result_is_written(
    repository: Repository, tmp_path: Path
) -> None:
    with kept(repository, tmp_path) as both:
        for seed in range(20):
            for seconds in (60, 3600):
                result = both.result(seed=seed, caller=Caller(timeout_seconds=seconds))
            assert result.cached


def test_without_a_store_each_runs_by_itself(repository: Repository) -> None:
    with kept(repository) as both:
        tickets = [both.submit(steps=ENDLESS) for _ in range(2)]
        stats = both.engine.stats()
        assert stats.active + stats.queue_depth == 2
        for ticket in tickets:
            ticket.cancel()


@pytest.mark.parametrize("ask", [{}, {"request_id": new_id()}], ids=["no id", "an id"])
def test_closing_ends_what_is_shared(
    repository: Repository, tmp_path: Path, ask: dict[str, Any]
) -> None:
    with kept(repository, tmp_path) as both:
        both.result(**ask)
        tickets = [both.submit(steps=ENDLESS, seed=1) for _ in range(2)]
        both.service.close()
        for ticket in tickets:
            with pytest.raises(ShuttingDown):
                ticket.result()
        with pytest.raises(ShuttingDown):
            both.submit(**ask)


def test_a_crowd_gets_what_it_asked_for(repository: Repository, tmp_path: Path) -> None:
    """Many threads, few requests, some give up: everybody gets the right picture or Cancelled."""
    ids = [new_id() for _ in range(4)]

    def ask(number: int) -> bytes:
        request_id = ids[number % 4] if number % 3 else ""
        ticket = both.submit(seed=number % 4, steps=30, request_id=request_id)
        if number % 5 == 0:
            ticket.cancel()
            return b""
        return ticket.result().image

    with kept(repository) as alone:
        expected = [alone.result(seed=seed, steps=30).image for seed in range(4)]
    with kept(repository, tmp_path) as both, ThreadPoolExecutor(16) as pool:
        found = list(pool.map(ask, range(120)))
    assert found == [b"" if n % 5 == 0 else expected[n % 4] for n in range(120)]
    assert both.counts.steps < 120 * 30 / 4
