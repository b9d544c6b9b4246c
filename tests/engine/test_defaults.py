"""Defaults that are stated: nothing else is asked for, and nothing is left to state."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.models import CARD, SIZE, small_classifier
from unitscope.ascent.presets import PRESETS
from unitscope.ascent.transforms import Transform
from unitscope.engine.defaults import state_defaults
from unitscope.engine.engine import Engine
from unitscope.engine.limits import Limits, check
from unitscope.engine.record import parse
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest, Term

ASKED: dict[str, dict[str, Any]] = {
    "as little as can be": {},
    "a target": {"target": 2},
    "another optimizer": {"optimizer": "momentum"},
    "a neuron": {"layer": "features.conv", "position": (2, 3)},
    "half a range": {"transforms": (Transform("crop", low=0.5), Transform("flip"))},
    "terms": {"terms": (Term(unit=2, weight=-1), Term(unit="bee"))},
    "another size": {"image_size_px": 20},
    "the model's own size": {"image_size_px": 12},
}
asked = pytest.mark.parametrize("options", ASKED.values(), ids=list(ASKED))


def request(**options: Any) -> MaximizeRequest:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 6} | options
    return MaximizeRequest(**asked)


@asked
def test_nothing_is_left_to_state(repository: Repository, options: dict[str, Any]) -> None:
    info = repository.info(request(**options).model)
    stated = state_defaults(request(**options), info)
    assert state_defaults(stated, info) == stated
    assert None not in (stated.steps, stated.transforms, stated.learning_rate, stated.octaves)
    check(stated, Limits())


@asked
def test_it_gives_the_same_bytes(engine: Engine, options: dict[str, Any]) -> None:
    asked = request(**options)
    stated = state_defaults(asked, engine.models.info(asked.model))
    assert engine.submit(stated).result().image == engine.submit(asked).result().image


@pytest.mark.parametrize("preset", PRESETS)
def test_a_preset_with_all_of_itself_stated_is_the_same_recipe(
    repository: Repository, preset: str
) -> None:
    asked = request(preset=preset, steps=None)
    stated = state_defaults(asked, repository.info("small"))
    ranges = {"transforms": stated.recipe().transforms}
    assert stated.recipe() == type(stated.recipe())(
        **{name: getattr(asked.recipe(), name) for name in stated.recipe().__slots__} | ranges
    )


@pytest.mark.parametrize("size", [SIZE, 2 * SIZE])
def test_a_size_that_a_model_of_any_size_is_asked_for_stays(tmp_path: Path, size: int) -> None:
    model, card = small_classifier(), CARD
    for dim in model.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "any"
    onnx.save(model, tmp_path / "open.onnx")
    (tmp_path / "open.toml").write_text(card)
    with Engine(Repository(tmp_path)) as engine:
        result = engine.submit(request(model="open", image_size_px=size)).result()
    assert result.width_px == size
    assert parse(result.record).request.image_size_px == size
