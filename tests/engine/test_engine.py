"""The engine: many requests, each its own result, errors and cancellations that stay alone."""

from __future__ import annotations

import asyncio
import gc
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import numpy as np
import onnx
import pytest

from tests.images import encoded, random_pixels
from tests.models import CARD, small_classifier
from tests.services import Models, serving
from unitscope.ascent.presets import PRESETS, Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.climber import NoObserver
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.limits import Limits
from unitscope.engine.picture import decode
from unitscope.engine.repository import Repository
from unitscope.engine.request import (
    Accepted,
    Caller,
    Event,
    Maximization,
    MaximizeRequest,
    Progress,
    Term,
)
from unitscope.engine.service import Service
from unitscope.errors import (
    Cancelled,
    DeadGradient,
    DeadlineExceeded,
    InvalidRequest,
    ProgramTooLarge,
    QueueFull,
    ShuttingDown,
)


@pytest.fixture(scope="module")
def engine(models: Models) -> Iterator[Service]:
    with serving(models) as engine:
        yield engine


def request(
    unit: int | str | None = 1, *, model: str = "small", steps: int = 20, **options: Any
) -> MaximizeRequest:
    return MaximizeRequest(**({"unit": unit} | options), model=model, steps=steps)


def test_a_request_from_accepted_to_result(engine: Service) -> None:
    events = list(engine.submit(request("bee", preview_every_steps=5)).events())
    assert isinstance(events[0], Accepted) and events[0].unit == 1
    assert all(isinstance(event, Progress) for event in events[1:-1])
    previews = [event for event in events if isinstance(event, Progress) and event.preview]
    assert [event.step for event in previews] == [5, 10, 15, 20]
    result = events[-1]
    assert isinstance(result, Maximization)
    metrics = result.metrics
    assert metrics.activation_end > metrics.activation_start
    assert [point.step for point in metrics.trajectory] == [*range(20), 20]
    assert metrics.trajectory[-1].activation == metrics.activation_end
    assert metrics.label == "bee"
    ranking = [score.label for score in metrics.top_classes]
    assert metrics.rank == 1 + ranking.index("bee")
    assert sum(score.probability for score in metrics.top_classes) == pytest.approx(1)
    assert metrics.steps == 20 and metrics.gradient_norm > 0 and metrics.gradient_status == "ok"
    assert metrics.activation_best >= metrics.activation_end
    assert metrics.margin is not None and (metrics.margin > 0) == (metrics.rank == 1)
    assert metrics.probability == pytest.approx(
        metrics.top_classes[ranking.index("bee")].probability
    )
    assert metrics.noise_z_score is not None and np.isfinite(metrics.noise_z_score)
    assert metrics.robustness is not None and 0 <= metrics.robustness <= 1
    assert metrics.measuring_seconds > 0
    assert (
        metrics.compiling_seconds > 0
        and metrics.steps_per_second > 0
        and metrics.queued_seconds >= 0
    )
    assert decode(result.image, 3).shape == (3, result.height_px, result.width_px)


def test_the_same_request_gives_the_same_bytes_whoever_else_is_served(engine: Service) -> None:
    alone = engine.submit(request(seed=5)).result()
    others = [engine.submit(request(unit, seed=seed)) for unit in range(3) for seed in (5, 6)]
    again = engine.submit(request(seed=5)).result()
    crowd = [ticket.result() for ticket in others]
    assert again.image == alone.image == crowd[2].image
    assert len({result.image for result in crowd}) == len(crowd)


@pytest.mark.parametrize(
    "options",
    [
        {"position": (2, 3), "layer": "features.conv"},
        {"layer": "features.conv"},
        {"image_size_px": 20},
        {"transforms": ()},
        {"parameterization": "pixel", "optimizer": "gradient_ascent"},
        {"image_format": "jpeg"},
        {"model": "grey"},
        {"model": "nhwc"},
        {"model": "bands"},
        {"model": "bands", "parameterization": "pixel", "image_format": "webp"},
        {"octaves": 3, "image_size_px": 40},
        {"octaves": 2, "parameterization": "pyramid", "image_size_px": 40},
        {"octaves": 2, "parameterization": "maco", "image_size_px": 40, "steps": 60},
        {"views": 3, "transforms": (Transform("crop"), Transform("noise"), Transform("blur"))},
        {"weight": -1.0},
        {"terms": (Term(unit=2, weight=-1.0), Term(unit=3, layer="relu_out", weight=0.1))},
        {"unit": None, "direction": (1.0, -1.0, 0.5, 0.0, 0.0)},
        {"unit": None, "objective": "layer", "layer": "relu_out"},
        {"schedule": "cosine", "penalties": (Regularizer("total_variation", 1e-3),)},
    ],
    ids=str,
)
def test_options_ascend(engine: Service, options: dict[str, Any]) -> None:
    metrics = engine.submit(request(**({"steps": 30} | options))).result().metrics
    assert metrics.activation_end > metrics.activation_start


@pytest.mark.parametrize("preset", PRESETS)
@pytest.mark.parametrize("model", ["small", "perceptron"])
def test_every_preset_ascends(engine: Service, preset: str, model: str) -> None:
    """Also a hidden unit, an entry of a vector, of a perceptron."""
    layer = "hidden" if model == "perceptron" else ""
    options: dict[str, Any] = {"views": 2} if PRESETS[preset].views > 2 else {}
    ticket = engine.submit(request(model=model, layer=layer, preset=preset, steps=60, **options))
    metrics = ticket.result().metrics
    assert metrics.activation_end > metrics.activation_start


def test_a_target_is_reached_and_ends_the_ascent(engine: Service) -> None:
    free = engine.submit(request(steps=200)).result().metrics
    target = (free.activation_start + free.activation_end) / 2
    metrics = engine.submit(request(steps=200, target=target)).result().metrics
    assert metrics.steps < 200
    assert abs(metrics.activation_end - target) < 0.3 * (free.activation_end - target)


def test_a_unit_brought_down_is_not_doubted_for_being_low(engine: Service) -> None:
    low = engine.submit(request(0, weight=-1.0, steps=60)).result().metrics
    assert low.rank is not None and low.rank > 1 and low.doubts == ()


def test_an_image_can_be_begun_with(engine: Service) -> None:
    first = engine.submit(request(steps=40)).result()
    second = engine.submit(request(steps=1, start_image=first.image)).result().metrics
    assert second.activation_start == pytest.approx(first.metrics.activation_end, rel=0.05)


def test_transforms_never_move_the_picture_itself(engine: Service) -> None:
    """However far the views stray, what is not climbed stays where it was."""
    strayed = (Transform("jitter", 0.5, 0.5), Transform("rotate", 90, 90), Transform("flip"))
    first = engine.submit(request(steps=40)).result()
    options: dict[str, Any] = {"start_image": first.image, "learning_rate": 1e-9}
    still = engine.submit(request(steps=30, transforms=strayed, **options)).result()
    before, after = (decode(result.image, 3).astype(int) for result in (first, still))
    assert np.abs(after - before).max() <= 1


@pytest.mark.parametrize("objective", ["inversion", "caricature"])
def test_an_image_can_be_compared_with(engine: Service, objective: str) -> None:
    reference = engine.submit(request(steps=40)).result().image
    asked = request(None, layer="relu_out", objective=objective, reference=reference, steps=40)
    metrics = engine.submit(asked).result().metrics
    assert metrics.activation_end > metrics.activation_start
    assert metrics.unit is None and metrics.rank is None


@pytest.mark.parametrize("layer", ["", "relu_out"])
def test_a_sleeping_unit_is_woken(engine: Service, layer: str) -> None:
    metrics = engine.submit(request(model="asleep", layer=layer, steps=64)).result().metrics
    assert metrics.gradient_status == "redirected"
    assert metrics.activation_end > metrics.activation_start


@pytest.mark.parametrize("steps", [1, 64, 200])
def test_a_unit_behind_dead_relus_ends_with_a_reason(engine: Service, steps: int) -> None:
    ticket = engine.submit(MaximizeRequest(unit=1, model="dead", steps=steps))
    with pytest.raises(DeadGradient, match="unit 1 of layer 'fc'"):
        ticket.result()


def test_an_error_in_one_request_hurts_no_other(engine: Service) -> None:
    dead = engine.submit(MaximizeRequest(unit=1, model="dead", steps=64))
    fine = engine.submit(request())
    with pytest.raises(DeadGradient):
        dead.result()
    assert fine.result().metrics.steps == 20
    assert engine.stats().active == engine.stats().queue_depth == 0


def test_cancelling_frees_the_place_and_hurts_nobody(models: Models) -> None:
    with serving(models, EngineSettings(max_active=1, max_requests=2)) as engine:
        long = engine.submit(request(steps=4096))
        events = long.events()
        assert isinstance(next(events), Accepted) and isinstance(next(events), Progress)
        waiting = engine.submit(request())
        long.cancel()
        long.cancel()
        with pytest.raises(Cancelled):
            list(events)
        assert waiting.result().metrics.steps == 20


def test_a_full_queue_refuses_and_says_when_to_come_again(models: Models) -> None:
    with serving(models, EngineSettings(max_active=1, max_requests=2)) as engine:
        tickets = [engine.submit(request(steps=4096)) for _ in range(2)]
        with pytest.raises(QueueFull) as caught:
            engine.submit(request())
        assert caught.value.retry_after_seconds > 0
        for ticket in tickets:
            ticket.cancel()
        assert engine.submit(request()).result().metrics.steps == 20


@pytest.mark.parametrize("isolated", [False, True])
def test_a_card_limits_the_requests_of_its_model(tmp_path: Path, isolated: bool) -> None:
    for name in ("small", "other"):
        onnx.save(small_classifier(), tmp_path / f"{name}.onnx")
    (tmp_path / "small.toml").write_text(f"{CARD}[limits]\nrequests = 1\n")
    with serving(tmp_path if isolated else Repository(tmp_path)) as engine:
        first = engine.submit(request(steps=4096))
        with pytest.raises(QueueFull, match="the queue of model 'small' is full"):
            engine.submit(request())
        assert engine.submit(request(model="other", steps=2)).result().metrics.steps == 2
        first.cancel()
        assert engine.submit(request()).result().metrics.steps == 20


def test_an_unloaded_model_leaves_the_memory_with_its_last_request(tmp_path: Path) -> None:
    onnx.save(small_classifier(seed=2026), tmp_path / "small.onnx")  # no other has its weights
    models = Repository(tmp_path)
    with serving(models) as engine:
        engine.attribute(
            AttributeRequest(image=encoded(random_pixels()), unit=1, model="small")
        ).result()
        weights = models.get("small").subject.model.weights["features.conv.weight"]
        watched, running = weakref.ref(weights), engine.submit(request(steps=4096))
        events = running.events()
        assert isinstance(next(events), Accepted) and isinstance(next(events), Progress)
        del weights
        models.unload("small")
        assert engine.stats().programs == 1
        running.cancel()
        with pytest.raises(Cancelled):
            list(events)
        assert engine.stats().programs == 0
        del running, events
    gc.collect()
    assert watched() is None


class Told(SimpleQueue[Event]):
    """What a request that is given up was told, in the thread that climbs."""

    def close(self, error: BaseException | None = None) -> None:
        assert isinstance(error, Cancelled)


def test_a_client_that_is_paused_climbs_no_further(repository: Repository) -> None:
    with Engine(repository) as engine:
        paused, free = (
            engine.submit(request(steps=4096), Caller(client)) for client in ("paused", "free")
        )
        told, others = Told(), free.events()
        paused.forward(told)
        assert isinstance(told.get(), Accepted) and isinstance(told.get(), Progress)
        engine.pause("paused").result(60)
        before = told.qsize()
        assert all(not isinstance(next(others), Maximization) for _ in range(20))
        assert told.qsize() == before
        engine.resume("paused")
        assert all(isinstance(told.get(timeout=60), Progress) for _ in range(before + 1))
        paused.cancel()
        free.cancel()


@pytest.mark.parametrize(("client", "places"), [("other", 16), ("", 1)])
def test_others_climb_while_a_picture_is_measured(
    repository: Repository, client: str, places: int
) -> None:
    others = Told()

    class Counted:
        """How many events the other request had had at each kind of event of this one."""

        def __init__(self) -> None:
            self.counts: dict[type[Event], int] = {}
            self.ended = threading.Event()

        def put(self, event: Event) -> None:
            self.counts[type(event)] = others.qsize()

        def close(self, error: BaseException | None = None) -> None:
            assert error is None
            self.ended.set()

    settings = EngineSettings(limits=Limits(max_steps=10**9), max_active=places)
    with Engine(repository, settings) as engine:
        images, counted = tuple(encoded(random_pixels(seed)) for seed in range(32)), Counted()
        for model in ("small", "grey"):  # whoever comes first is to have the first turn
            engine.submit(request(model=model, steps=1)).result()
        engine.submit(request(steps=64, natural_images=images)).forward(counted)
        other = engine.submit(request(model="grey", steps=10**9), Caller(client))
        other.forward(others)
        assert counted.ended.wait(60)
        assert counted.counts[Maximization] - counted.counts[Progress] > 5
        other.cancel()


def test_closing_drains_and_then_cuts(models: Models) -> None:
    with serving(models) as engine:
        short, long = engine.submit(request(steps=2)), engine.submit(request(steps=4096))
        assert isinstance(next(long.events()), Accepted)
        short.result()
        closer = threading.Thread(target=engine.close, args=(0.2,))
        closer.start()
        with pytest.raises(ShuttingDown):
            list(long.events())
        closer.join(timeout=30)
        with pytest.raises(ShuttingDown):
            engine.submit(request())


def test_a_wrong_request_never_enters(engine: Service) -> None:
    with pytest.raises(InvalidRequest):
        engine.submit(request(steps=0))
    assert engine.stats().queue_depth == 0


def test_programs_are_shared_and_bounded(models: Models) -> None:
    with serving(models, EngineSettings(program_memory_bytes=7 << 18)) as engine:
        for size in (8, 8, 16, 20):
            engine.submit(request(image_size_px=size, steps=1)).result()
        assert engine.stats().programs == 2
        assert engine.stats().program_bytes <= 7 << 18


def test_a_program_over_the_budget_is_refused_with_what_it_would_take(models: Models) -> None:
    with serving(models, EngineSettings(program_memory_bytes=7 << 18)) as engine:
        engine.submit(request(image_size_px=8, steps=1)).result()
        with pytest.raises(ProgramTooLarge) as caught:
            engine.submit(request(image_size_px=512, steps=1)).result()
        assert caught.value.estimated_bytes > caught.value.available_bytes == 7 << 18
        assert engine.submit(request(image_size_px=8, steps=1)).result().metrics.steps == 1
        assert engine.stats().programs == 1


def test_requests_wait_while_others_take_the_memory(models: Models) -> None:
    with serving(models, EngineSettings(program_memory_bytes=5 << 18)) as engine:
        sizes = (8, 16, 20, 8, 16, 20)
        tickets = [engine.submit(request(image_size_px=size)) for size in sizes]
        octaves = engine.submit(request(octaves=3, image_size_px=40, steps=9))
        found = [ticket.result().metrics.steps for ticket in (*tickets, octaves)]
        assert found == [20] * 6 + [9]
        assert engine.stats().program_bytes <= 5 << 18


def test_who_waits_for_memory_lets_those_pass_that_find_some(models: Models) -> None:
    """Beside the picture of 8 pixels there is room for one of 16, and not for one of 96."""
    settings = EngineSettings(limits=Limits(max_steps=10**9), program_memory_bytes=7 << 18)
    with serving(models, settings) as engine:
        running = engine.submit(request(image_size_px=8, steps=10**9))
        events = running.events()
        assert isinstance(next(events), Accepted) and isinstance(next(events), Progress)
        waiting = engine.submit(request(image_size_px=96))
        assert engine.submit(request(image_size_px=16)).result().metrics.steps == 20
        assert engine.stats().queue_depth == 1
        running.cancel()
        assert waiting.result().metrics.steps == 20


def test_who_finds_a_program_does_not_wait_for_anothers(repository: Repository) -> None:
    class Slow(NoObserver):
        """Building takes as long as it is told to."""

        def __init__(self) -> None:
            self.building = threading.Semaphore(1)

        def compiled(self, seconds: float) -> None:
            with self.building:
                assert seconds > 0

    slow = Slow()
    with Engine(repository, observer=slow) as engine:
        engine.submit(request(image_size_px=8)).result()
        with slow.building:
            waiting = engine.submit(request(image_size_px=16))
            assert engine.submit(request(image_size_px=8)).result().metrics.steps == 20
            assert engine.stats().queue_depth == 1
        assert waiting.result().metrics.steps == 20


def test_who_waits_is_let_go_when_the_deadline_is_over(repository: Repository) -> None:
    """Behind another, or with nobody there to take a step."""
    settings = EngineSettings(limits=Limits(max_steps=10**9), max_active=1)
    with Engine(repository, settings) as engine:
        endless = engine.submit(request(steps=10**9))
        events = endless.events()
        assert isinstance(next(events), Accepted) and isinstance(next(events), Progress)
        late = engine.submit(request(target=1e9), Caller(timeout_seconds=0.05))
        with pytest.raises(DeadlineExceeded, match="the time that the caller gave is over"):
            late.result()
        engine.pause("").result(60)
        late = engine.submit(request(target=1e9), Caller(timeout_seconds=0.05))
        with pytest.raises(DeadlineExceeded, match="the time that the caller gave is over"):
            late.result()
        endless.cancel()


def test_events_can_be_awaited(engine: Service) -> None:
    async def climb() -> list[object]:
        return [event async for event in engine.submit(request()).aevents()]

    events = asyncio.run(climb())
    assert isinstance(events[0], Accepted) and isinstance(events[-1], Maximization)


def test_the_observer_is_told_of_every_step(models: Models) -> None:
    class Count:
        def __init__(self) -> None:
            self.steps: list[float] = []
            self.programs: list[float] = []

        def step(self, seconds: float, rows: int) -> None:
            self.steps += [seconds / rows] * rows

        def compiled(self, seconds: float) -> None:
            self.programs.append(seconds)

    count = Count()
    with serving(models, observer=count) as engine:
        engine.submit(request()).result()
    assert len(count.steps) == 20 and len(count.programs) == 1
    assert np.min(count.steps) > 0


@pytest.mark.parametrize(("every", "told"), [(0, []), (1, [*range(1, 8)]), (3, [3, 6, 7])])
def test_progress_is_told_as_often_as_the_caller_wants(
    every: int, told: list[int], engine: Service
) -> None:
    asked = MaximizeRequest(unit=1, model="small", steps=7, preview_every_steps=0)
    events = engine.submit(asked, Caller(progress_every_steps=every)).aevents()

    async def steps() -> list[int]:
        return [event.step async for event in events if isinstance(event, Progress)]

    seen = asyncio.run(steps())
    assert set(seen) <= set(told)
    assert seen[-1:] == told[-1:]


def test_a_request_that_may_end_early_is_not_refused_for_its_deadline(engine: Service) -> None:
    engine.submit(request(steps=20)).result()
    hasty = Caller(timeout_seconds=0.3)
    with pytest.raises(DeadlineExceeded, match="4096 steps take about"):
        engine.submit(request(steps=4096), hasty)
    engine.submit(request(steps=4096, patience_steps=1), hasty).cancel()
