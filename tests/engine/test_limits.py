"""What is asked is checked before the model is looked at."""

from __future__ import annotations

from typing import Any

import pytest

from unitscope.ascent.presets import PRESETS, Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.limits import Limits, check
from unitscope.engine.request import MaximizeRequest, Term
from unitscope.errors import InvalidRequest


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("steps", 0, "1..4096"),
        ("steps", 4097, "1..4096"),
        ("seed", -1, "0.."),
        ("patience_steps", 0, "1..4096"),
        ("attempts", 0, "1..16"),
        ("attempts", 17, "1..16"),
        ("image_size_px", 0, "8..1024"),
        ("image_size_px", 1025, "8..1024"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("learning_rate", float("inf"), "a finite number above 0"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("preview_every_steps", -1, "0.."),
        ("parameterization", "wavelet", "pixel, fourier"),
        ("optimizer", "sgd", "one of adam, adamw"),
        ("schedule", "stairs", "constant, linear, cosine"),
        ("colors", "lab", "one of imagenet, none, images"),
        ("colors", "images", "natural_images to compute it from"),
        ("spectrum", "pink", "one of natural, imagenet, images"),
        ("spectrum", "images", "natural, except with the parameterization maco"),
        ("natural_images", (b"",) * 65, "at most 64"),
        ("unlike", (b"",) * 17, "at most 16"),
        ("diversity", -1.0, "a finite number of 0 or more"),
        ("diversity", float("inf"), "a finite number of 0 or more"),
        ("preset", "dalle", "unitscope, erhan2009"),
        ("image_format", "gif", "png, jpeg, webp"),
        ("transforms", (Transform("twist"),), "pad, jitter, scale, rotate"),
        ("transforms", (Transform("crop", 0.5, 2.5),), "0.02 ≤ low ≤ high ≤ 2"),
        ("transforms", (Transform("scale", 2.0, 1.0),), "low ≤ high"),
        ("transforms", (Transform("pad", float("nan")),), "low ≤ high"),
        ("transforms", (Transform("pad"),) * 17, "at most 16"),
        ("views", 0, "1..64"),
        ("octaves", 9, "1..8"),
        ("target", float("nan"), "a finite number"),
        ("weight", float("inf"), "a finite number"),
        ("penalties", (Regularizer("l7", 1.0),), "l1, l2, l6"),
        ("penalties", (Regularizer("l1", -1.0),), "0 or more"),
        ("penalties", (Regularizer("l1", 1.0),) * 2, "each name once"),
        ("constraints", (Regularizer("blur", 1.0),), "parameterization pixel"),
        ("terms", (Term(unit=1),) * 8, "at most 7"),
        ("objective", "beauty", "one of channel, layer"),
        ("objective", "neuron", "one of channel, layer"),
    ],
)
def test_a_value_that_cannot_be_served_is_refused_by_field(
    field: str, value: Any, expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected) as caught:
        check(MaximizeRequest(unit=0, **{field: value}), Limits())
    assert caught.value.field == field


def test_a_spectrum_of_images_needs_images_and_maco() -> None:
    maco: dict[str, Any] = {"unit": 0, "preset": "maco", "spectrum": "images"}
    with pytest.raises(InvalidRequest, match="spectrum: got 'images', expected natural_images"):
        check(MaximizeRequest(**maco), Limits())
    check(MaximizeRequest(**maco, natural_images=(b"",) * 64), Limits())
    request = MaximizeRequest(**maco, natural_images=(b"",), parameterization="pyramid")
    with pytest.raises(InvalidRequest, match="spectrum: got 'images', expected natural, except"):
        check(request, Limits())


def test_the_attempts_of_a_request_share_its_steps_and_have_seeds() -> None:
    check(MaximizeRequest(unit=0, steps=512, attempts=8), Limits())
    with pytest.raises(InvalidRequest, match="attempts: got 9, expected at most 4096 steps in all"):
        check(MaximizeRequest(unit=0, steps=512, attempts=9), Limits())
    check(MaximizeRequest(unit=0, seed=2**63 - 2, attempts=2), Limits())
    with pytest.raises(InvalidRequest, match="seed: got"):
        check(MaximizeRequest(unit=0, seed=2**63 - 2, attempts=3), Limits())


def test_a_jpeg_is_opaque() -> None:
    with pytest.raises(InvalidRequest, match="image_format: got 'jpeg', expected png, webp or npy"):
        check(MaximizeRequest(unit=0, transparent=True, image_format="jpeg"), Limits())


@pytest.mark.parametrize("preset", PRESETS)
def test_every_preset_is_within_the_limits(preset: str) -> None:
    check(MaximizeRequest(unit=0, preset=preset), Limits())


@pytest.mark.parametrize(
    ("options", "got", "expected"),
    [
        ({}, "None", "a unit or a direction"),
        ({"unit": 1, "direction": (1.0,)}, "unit and direction", "a unit or a direction"),
        ({"unit": 1, "objective": "layer"}, "unit", "no unit for the objective layer"),
        ({"unit": 1, "objective": "inversion"}, "unit", "a reference"),
        ({"objective": "caricature"}, "None", "a reference"),
        ({"unit": 1, "reference": b"x"}, "unit and reference", "a unit or a direction"),
    ],
    ids=str,
)
def test_an_objective_needs_what_it_is_about(
    options: dict[str, Any], got: str, expected: str
) -> None:
    for request in (MaximizeRequest(**options), MaximizeRequest(unit=0, terms=(Term(**options),))):
        with pytest.raises(InvalidRequest, match=f"unit: got .*{got}.*, expected {expected}"):
            check(request, Limits())


def test_only_a_unit_has_a_position() -> None:
    with pytest.raises(InvalidRequest, match="position"):
        check(MaximizeRequest(objective="layer", position=(0, 0)), Limits())


def test_another_optimizer_brings_its_learning_rate() -> None:
    assert MaximizeRequest(unit=0, optimizer="momentum").recipe().learning_rate == 0.01
    asked = MaximizeRequest(unit=0, optimizer="momentum", learning_rate=0.3)
    assert asked.recipe().learning_rate == 0.3
    assert MaximizeRequest(unit=0, preset="maco").recipe().learning_rate == 0.1
