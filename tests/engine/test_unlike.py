"""Pictures of one unit that differ: each keeps away from those before it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.images import encoded, random_pixels
from unitscope.api import several
from unitscope.engine.engine import Engine
from unitscope.engine.executor import Executor
from unitscope.engine.given_image import read_image
from unitscope.engine.plan import resolve
from unitscope.engine.record import parse
from unitscope.engine.request import Maximization, MaximizeRequest
from unitscope.errors import InvalidRequest


def climbed(engine: Engine, **options: Any) -> Maximization:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 40} | options
    return engine.submit(MaximizeRequest(**asked)).result()


def likeness(engine: Engine, *results: Maximization) -> float:
    """How alike the textures of two pictures are, 0..1."""
    request = MaximizeRequest(unit=1, model="small", unlike=(results[0].image,))
    spec = resolve(request, engine.models.get("small")).stages[0].spec
    assert spec.unlike is not None
    pictures = [read_image("", result.image, *spec.image.shape) for result in results]
    one, other = Executor().textures(spec, spec.unlike, pictures)
    assert np.linalg.norm(one) == pytest.approx(1, rel=1e-3)
    return float(one @ other)


def test_a_picture_keeps_away_from_others_and_is_climbed_all_the_same(engine: Engine) -> None:
    first, twin = climbed(engine), climbed(engine, seed=1)
    other = climbed(engine, seed=1, unlike=(first.image,))
    assert likeness(engine, first, other) < likeness(engine, first, twin)
    assert other.metrics.activation_end > other.metrics.activation_start
    assert climbed(engine, seed=1, unlike=(first.image,)).image == other.image


def test_more_diversity_is_farther_away_and_none_is_as_without(engine: Engine) -> None:
    first = climbed(engine)
    found = [climbed(engine, unlike=(first.image,), diversity=share) for share in (0.0, 1.0, 4.0)]
    alike = [likeness(engine, first, other) for other in found]
    assert alike[0] > alike[1] > alike[2]
    assert found[0].metrics.activation_end == pytest.approx(first.metrics.activation_end, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [
        {"octaves": 2, "image_size_px": 30},
        {"views": 2},
        {"weight": -1.0},
        {"target": 0.5, "transforms": ()},
        {"layer": "features.conv", "position": (2, 3)},
        {"model": "nhwc"},
        {"model": "grey"},
    ],
    ids=str,
)
def test_whatever_is_climbed_can_keep_away(engine: Engine, options: dict[str, Any]) -> None:
    first, second = several(lambda **given: climbed(engine, **options, **given), 2)
    assert second.metrics.activation_end > second.metrics.activation_start
    assert first.image != second.image


def test_the_record_holds_the_pictures_as_they_were_used(engine: Engine) -> None:
    *_, last = several(lambda **given: climbed(engine, steps=4, **given), 3)
    request = parse(last.record).request
    assert len(request.unlike) == 2 and not any(b"tEXt" in image for image in request.unlike)
    again = engine.submit(request).result()
    assert (again.image, again.record) == (last.image, last.record)


def test_no_seed_is_tried_twice(engine: Engine) -> None:
    made = several(lambda **given: climbed(engine, steps=2, **given), 2, seed=4, attempts=3)
    seeds = [[attempt.seed for attempt in result.metrics.attempts] for result in made]
    assert seeds == [[4, 5, 6], [7, 8, 9]]


def test_the_texture_is_that_of_the_last_map_up_to_what_is_climbed(engine: Engine) -> None:
    model = engine.models.get("small")
    for layer, expected in (("", "relu_out"), ("conv_out", "conv_out"), ("pooled", "relu_out")):
        request = MaximizeRequest(unit=1, layer=layer, unlike=(encoded(random_pixels(0)),))
        unlike = resolve(request, model).stages[0].spec.unlike
        assert unlike is not None and unlike.tensor == expected


def test_a_model_without_a_map_is_refused(engine: Engine) -> None:
    with pytest.raises(InvalidRequest, match="expected none: the model has no map of at most 768"):
        climbed(engine, model="perceptron", unlike=(encoded(random_pixels(0)),))


def test_several_arrays_are_refused(engine: Engine) -> None:
    asked = several(lambda **given: climbed(engine, **given), 2, image_format="npy")
    with pytest.raises(InvalidRequest, match="pictures: got 2, expected 1 for"):
        next(asked)
