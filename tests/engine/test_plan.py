"""What is asked is resolved before any work."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.images import encoded, random_pixels
from tests.models import CLASSES, SIZE, model_of
from unitscope.ascent.parameterizations import ImageSpec
from unitscope.ascent.presets import PRESETS, Regularizer
from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.transforms import Transform
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import load_model
from unitscope.engine.plan import resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest, Term
from unitscope.errors import InvalidRequest


def test_defaults_are_settled(repository: Repository) -> None:
    plan = resolve(MaximizeRequest(unit="dog", model="small"), repository.get("small"))
    assert (plan.layer.tensor, plan.unit, plan.label) == ("logits", 3, "dog")
    assert plan.recipe == PRESETS["unitscope"]
    (stage,) = plan.stages
    assert stage.steps == plan.recipe.steps
    assert stage.spec.image == ImageSpec(3, SIZE, SIZE) and stage.spec.views == 1
    assert stage.spec.terms[0].objective == "channel"
    other = resolve(MaximizeRequest(unit="dog", model="small"), repository.get("small"))
    assert plan.request_id and plan.request_id != other.request_id
    accepted = plan.accepted()
    assert (accepted.tensor, accepted.unit, accepted.image_width_px) == ("logits", 3, SIZE)


def spec_of(repository: Repository, **options: Any) -> ProgramSpec:
    request = MaximizeRequest(**({"unit": 0} | options))
    return resolve(request, repository.get("small")).stages[-1].spec


@pytest.mark.parametrize(
    "options",
    [
        {"seed": 1, "steps": 5},
        {"unit": 4, "learning_rate": 0.1},
        {"unit": None, "direction": (1.0, 0.0, -1.0, 0.0, 2.0)},
        {"weight": -1.0, "schedule": "cosine"},
        {"transforms": (Transform("jitter", 0.1, 0.2), Transform("rotate"))},
        {"colors": "none"},
        {"colors": "images", "natural_images": (encoded(random_pixels()),)},
    ],
    ids=str,
)
def test_requests_that_differ_in_rows_share_a_program(
    repository: Repository, options: dict[str, Any]
) -> None:
    assert spec_of(repository) == spec_of(repository, **options)
    assert hash(spec_of(repository)) == hash(spec_of(repository, **options))


def test_requests_that_differ_in_their_spectrum_share_a_program(repository: Repository) -> None:
    images = (encoded(random_pixels()),)
    natural = spec_of(repository, preset="maco")
    assert natural == spec_of(repository, preset="maco", spectrum="images", natural_images=images)


@pytest.mark.parametrize(
    "options",
    [
        {"image_size_px": 24},
        {"optimizer": "gradient_ascent"},
        {"layer": "relu_out"},
        {"transforms": ()},
        {"transforms": (Transform("noise"),)},
        {"views": 2},
        {"penalties": (Regularizer("l1", 1.0),)},
        {"target": 1.0},
        {"terms": (Term(unit=1),)},
    ],
    ids=str,
)
def test_requests_that_differ_in_graphs_do_not(
    repository: Repository, options: dict[str, Any]
) -> None:
    assert spec_of(repository) != spec_of(repository, **options)


@pytest.mark.parametrize(
    ("options", "divided"),
    [
        ({}, True),
        ({"unit": None, "direction": (1.0, 0.0, -1.0, 0.0, 2.0)}, True),
        ({"layer": "relu_out"}, False),
        ({"objective": "probability"}, False),
        ({"terms": (Term(unit=1),)}, False),
        ({"target": 1.0}, False),
        ({"preset": "lucid"}, False),
        ({"unlike": (encoded(random_pixels()),), "diversity": 0.0}, True),
    ],
    ids=str,
)
def test_a_single_class_is_divided_by_its_features(
    repository: Repository, options: dict[str, Any], divided: bool
) -> None:
    spec = spec_of(repository, **options)
    assert (spec.features and spec.features.tensor) == ("flat" if divided else None)
    assert not spec.selective


def test_a_class_that_keeps_away_from_others_has_to_stand_out(repository: Repository) -> None:
    spec = spec_of(repository, unlike=(encoded(random_pixels()),))
    assert spec.selective and spec.features is None


def test_a_class_without_features_has_to_stand_out(tmp_path: Path) -> None:
    weight = np.ones((3 * SIZE * SIZE, CLASSES), np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["pixels"]),
        helper.make_node("MatMul", ["pixels", "weight"], ["one"]),
        helper.make_node("Mul", ["one", "one"], ["other"]),
        helper.make_node("Add", ["one", "other"], ["output"]),
    ]
    path = tmp_path / "forked.onnx"
    onnx.save(model_of(nodes, {"weight": weight}, image=("N", 3, SIZE, SIZE)), path)
    (stage,) = resolve(MaximizeRequest(unit=0), Repository(tmp_path).get("forked")).stages
    assert stage.spec.selective and stage.spec.features is None


def test_octaves_grow_and_share_the_steps(repository: Repository) -> None:
    request = MaximizeRequest(unit=0, octaves=3, steps=10, image_size_px=48)
    stages = resolve(request, repository.get("small")).stages
    assert [stage.spec.image.height_px for stage in stages] == [24, 34, 48]
    assert [stage.steps for stage in stages] == [3, 3, 4]


def test_weights_are_multiplied_once(repository: Repository) -> None:
    terms = (-Term(unit=3) * 2, 0.5 * Term(unit=4, layer="logits"))
    request = MaximizeRequest(unit=1, weight=3.0, terms=terms)
    rows = [term.weights for term in resolve(request, repository.get("small")).terms]
    np.testing.assert_array_equal(rows, np.diag([0, 3.0, 0, -2.0, 0.5])[[1, 3, 4]])
    assert request.terms[0] == Term(unit=3, weight=-2.0)


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"unit": None, "direction": (1.0, 2.0)}, "direction: got '2 numbers', expected 5 numbers"),
        ({"layer": "relu_out", "objective": "probability"}, "only the logits have probabilities"),
        (
            {"natural_images": (encoded(random_pixels()), b"GIF89a")},
            "natural_images: got '6 bytes in image 1', expected a PNG, JPEG or WebP",
        ),
        (
            {"natural_images": (encoded(np.full((3, 8, 8), 9, np.uint8)),), "colors": "images"},
            "natural_images: got 'nothing but one colour'",
        ),
        ({"start_image": b"GIF89a"}, "start_image: got '6 bytes', expected a PNG, JPEG or WebP"),
        (
            {"unit": None, "objective": "inversion", "reference": b"?"},
            "reference: got '1 bytes', expected a PNG, JPEG or WebP",
        ),
    ],
    ids=str,
)
def test_what_does_not_fit_the_model_is_refused(
    repository: Repository, options: dict[str, Any], expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected):
        resolve(MaximizeRequest(**({"unit": 0} | options)), repository.get("small"))


def test_a_model_of_one_picture_has_one_view(repository: Repository) -> None:
    model = repository.get("small")
    alone = LoadedModel(
        replace(model.info, batchable=False),
        model.subject,
        model.layers,
        model.labels,
        model.after_logits,
    )
    with pytest.raises(InvalidRequest, match="views: got 2, expected 1"):
        resolve(MaximizeRequest(unit=0, views=2), alone)


@pytest.mark.parametrize("layer", ["logits", "relu_out"])
def test_a_position_must_lie_in_a_map(repository: Repository, layer: str) -> None:
    request = MaximizeRequest(unit=0, layer=layer, position=(SIZE, 0))
    with pytest.raises(InvalidRequest, match="position"):
        resolve(request, repository.get("small"))


def test_a_picture_far_longer_than_wide_is_refused(tmp_path: Path) -> None:
    weight = np.ones((9001, CLASSES), np.float32)
    nodes = [helper.make_node("MatMul", ["image", "weight"], ["output"])]
    onnx.save(model_of(nodes, {"weight": weight}, image=("N", 9001)), tmp_path / "long.onnx")
    model = load_model(tmp_path / "long.onnx")
    with pytest.raises(InvalidRequest, match=r"at most 8192 pixels a side, not 1×9001"):
        resolve(MaximizeRequest(unit=0), model)
