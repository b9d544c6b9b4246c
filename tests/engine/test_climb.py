"""Ascents: why they end, and which of several is kept."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unitscope.ascent.presets import PRESETS
from unitscope.engine.engine import Engine
from unitscope.engine.picture import decode
from unitscope.engine.request import Maximization, MaximizeRequest, Progress
from unitscope.errors import DeadGradient


def climbed(engine: Engine, **options: Any) -> Maximization:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 64} | options
    return engine.submit(MaximizeRequest(**asked)).result()


STILL: dict[str, Any] = {"learning_rate": 1e-9}
"""Steps so short that the picture stays as it is."""


def test_an_ascent_that_rises_does_all_its_steps(engine: Engine) -> None:
    metrics = climbed(engine, transforms=(), patience_steps=8).metrics
    assert (metrics.ending, metrics.steps) == ("steps", 64)
    (attempt,) = metrics.attempts
    assert (attempt.seed, attempt.steps, attempt.ending) == (0, 64, "steps")
    assert attempt.activation == metrics.activation_end == metrics.trajectory[-1].activation


@pytest.mark.parametrize(("patience", "steps"), [(1, 4), (8, 8), (10, 12)])
def test_a_plateau_ends_an_ascent(engine: Engine, patience: int, steps: int) -> None:
    metrics = climbed(engine, patience_steps=patience, **STILL).metrics
    assert (metrics.ending, metrics.steps) == ("plateau", steps)
    assert [point.step for point in metrics.trajectory] == list(range(0, steps + 1, 4))


def test_a_plateau_on_the_way_to_a_target_is_one_where_it_comes_no_nearer(engine: Engine) -> None:
    start = climbed(engine, steps=1, **STILL).metrics.activation_start
    options = {"patience_steps": 16, "transforms": ()}
    assert climbed(engine, target=start + 0.01, **options).metrics.ending == "target"
    far = climbed(engine, target=start + 100, **options, **STILL).metrics
    assert (far.ending, far.steps) == ("plateau", 16)


def test_an_opening_leaves_faint_traces_of_its_picture(engine: Engine) -> None:
    events = engine.submit(
        MaximizeRequest(unit=1, model="small", steps=64, preview_every_steps=1, transforms=())
    ).events()
    previews = [event.preview for event in events if isinstance(event, Progress)]
    shown = [decode(preview, 3) for preview in previews if preview is not None]
    peak, after = (np.std(shown[step - 1].astype(float)) for step in (12, 13))
    assert after < peak / 2


@pytest.mark.parametrize("besides", [{"patience_steps": 8}, {"start_image": b"PNG"}])
def test_there_is_no_opening_where_it_would_be_in_the_way(besides: dict[str, Any]) -> None:
    assert MaximizeRequest(unit=1).recipe().opening is not None
    assert MaximizeRequest(unit=1, **besides).recipe().opening is None


def test_octaves_end_at_the_last_size_only(engine: Engine) -> None:
    options: dict[str, Any] = {"octaves": 2, "image_size_px": 40, "patience_steps": 8}
    result = climbed(engine, **options, **STILL)
    assert (result.metrics.ending, result.metrics.steps) == ("plateau", 32 + 12)
    assert decode(result.image, 3).shape == (3, 40, 40)
    start = result.metrics.activation_start
    reached = climbed(engine, target=start - 1e-3, **options | {"patience_steps": None})
    assert reached.metrics.ending == "target" and reached.metrics.steps >= 32
    assert decode(reached.image, 3).shape == (3, 40, 40)


def test_a_sleeping_unit_is_not_on_a_plateau(engine: Engine) -> None:
    metrics = climbed(engine, model="asleep", patience_steps=1).metrics
    assert metrics.gradient_status == "redirected"
    assert metrics.activation_end > metrics.activation_start


@pytest.mark.parametrize("octaves", [1, 2])
def test_the_best_of_several_attempts_is_kept(engine: Engine, octaves: int) -> None:
    options: dict[str, Any] = {"steps": 16, "octaves": octaves, "image_size_px": 24}
    alone = [climbed(engine, seed=seed, **options) for seed in (5, 6, 7)]
    ends = [result.metrics.activation_end for result in alone]
    best = alone[int(np.argmax(ends))]
    together = climbed(engine, seed=5, attempts=3, **options)
    metrics = together.metrics
    assert [attempt.seed for attempt in metrics.attempts] == [5, 6, 7]
    assert [attempt.activation for attempt in metrics.attempts] == ends
    assert (metrics.seed, metrics.trajectory) == (best.metrics.seed, best.metrics.trajectory)
    np.testing.assert_array_equal(decode(together.image, 3), decode(best.image, 3))


def test_of_attempts_at_a_target_the_nearest_is_kept(engine: Engine) -> None:
    options: dict[str, Any] = {"steps": 2, "attempts": 4, "target": 0.5}
    metrics = climbed(engine, **options).metrics
    gaps = [abs(attempt.activation - 0.5) for attempt in metrics.attempts]
    assert abs(metrics.activation_end - 0.5) == min(gaps) < max(gaps)


def test_progress_counts_the_steps_of_all_attempts(engine: Engine) -> None:
    request = MaximizeRequest(unit=1, model="small", steps=4, attempts=3, preview_every_steps=4)
    first, *events = engine.submit(request).events()
    told = [event for event in events if isinstance(event, Progress)]
    assert [event.step for event in told if event.preview] == [4, 8, 12]
    assert {event.steps for event in told} == {12} and told[-1].step == 12
    assert getattr(first, "steps", None) == 12


def test_attempts_that_are_all_dead_end_with_a_reason(engine: Engine) -> None:
    with pytest.raises(DeadGradient, match="unit 1 of layer 'fc'"):
        climbed(engine, model="dead", attempts=3)


def test_of_attempts_some_of_which_are_dead_the_others_count(engine: Engine) -> None:
    """A neuron that is asleep under some noise; one step is too short to wake it."""
    options: dict[str, Any] = {"model": "asleep", "layer": "relu_out", "position": (2, 3)}
    metrics = climbed(engine, preset="erhan2009", steps=1, attempts=16, **options).metrics
    ends = {attempt.seed: attempt.activation for attempt in metrics.attempts}
    assert 0 < len(ends) < 16 and 15 not in ends
    assert ends[metrics.seed] == metrics.activation_end == max(ends.values())


def test_attempts_begin_where_the_recipe_does(engine: Engine) -> None:
    """One that has no chance in it makes the same picture every time, and the first is kept."""
    assert PRESETS["simonyan2013"].start.second == 0
    metrics = climbed(engine, preset="simonyan2013", attempts=2, steps=4).metrics
    assert metrics.seed == 0 and len({one.activation for one in metrics.attempts}) == 1
