"""What a step is fed: decided by the seed and the step alone."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.ascent.test_program import spec_of
from unitscope.ascent.inputs import step_inputs
from unitscope.ascent.presets import Opening, Recipe
from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.transforms import Transform

RECIPE = Recipe(
    steps=100,
    transforms=(Transform("crop"),),
    purity=0.9,
    selectivity=3.0,
    opening=Opening(share=0.25, rate=4.0, contrast=0.1),
    learning_rate=0.01,
)
OF_CLASS = replace(spec_of("logits"), features=spec_of("relu_out").terms[0].layer)


@pytest.mark.parametrize(
    ("spec", "besides", "strength"),
    [(OF_CLASS, "purity", 0.9), (spec_of("logits", selective=True), "selectivity", 3.0)],
    ids=["purity", "selectivity"],
)
def test_an_opening_is_for_the_score_alone_on_the_whole_picture(
    spec: ProgramSpec, besides: str, strength: float
) -> None:
    last, next_ = (step_inputs(spec, RECIPE, 0, step) for step in (25, 26))
    assert [x["learning_rate"].item() for x in (last, next_)] == pytest.approx([0.04, 0.01])
    assert [x[besides].item() for x in (last, next_)] == pytest.approx([0.0, strength])
    whole = np.eye(2, 3, dtype=np.float32)[None]
    assert np.array_equal(last["matrices"], whole)
    assert not np.array_equal(next_["matrices"], whole)


def test_without_anything_besides_the_score_there_is_no_opening() -> None:
    first, plain = (
        step_inputs(spec_of("logits"), recipe, 0, 1)
        for recipe in (RECIPE, replace(RECIPE, opening=None))
    )
    assert {name: fed.tobytes() for name, fed in first.items()} == {
        name: fed.tobytes() for name, fed in plain.items()
    }
