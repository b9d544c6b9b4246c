"""What is asked is checked and resolved before any work."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.models import CLASSES, SIZE, model_of
from unitscope.ascent.parameterizations import ImageSpec
from unitscope.engine.loading import load_model
from unitscope.engine.plan import Limits, check, resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.errors import InvalidRequest


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("steps", 0, "1..4096"),
        ("steps", 4097, "1..4096"),
        ("seed", -1, "0.."),
        ("image_size_px", 0, "8..1024"),
        ("image_size_px", 1025, "8..1024"),
        ("learning_rate", float("nan"), "a finite number above 0"),
        ("learning_rate", float("inf"), "a finite number above 0"),
        ("learning_rate", 0.0, "a finite number above 0"),
        ("preview_every_steps", -1, "0.."),
        ("parameterization", "wavelet", "pixel, fourier"),
        ("optimizer", "sgd", "adam, gradient_ascent"),
        ("image_format", "gif", "png, jpeg, webp"),
        ("transforms", ("pad", "twist"), "pad, jitter, scale, rotate"),
    ],
)
def test_a_value_that_cannot_be_served_is_refused_by_field(
    field: str, value: Any, expected: str
) -> None:
    with pytest.raises(InvalidRequest, match=expected) as caught:
        check(MaximizeRequest(unit=0, **{field: value}), Limits())
    assert caught.value.field == field


def test_defaults_are_settled(repository: Repository) -> None:
    request = MaximizeRequest(unit="dog", model="small")
    check(request, Limits())
    plan = resolve(request, repository.get("small"))
    assert (plan.layer.tensor, plan.unit, plan.label, plan.learning_rate) == (
        "logits",
        3,
        "dog",
        0.05,
    )
    assert (
        plan.spec.image == ImageSpec(3, SIZE, SIZE)
        and plan.spec.objective == "channel"
        and plan.spec.views
    )
    assert (
        plan.request_id and plan.request_id != resolve(request, repository.get("small")).request_id
    )
    accepted = plan.accepted()
    assert (accepted.tensor, accepted.unit, accepted.image_width_px) == ("logits", 3, SIZE)


def test_requests_that_differ_in_rows_share_a_program(repository: Repository) -> None:
    model = repository.get("small")
    first = resolve(MaximizeRequest(unit=0, seed=1, steps=5), model).spec
    assert first == resolve(MaximizeRequest(unit=4, seed=2, learning_rate=0.1), model).spec
    assert hash(first) == hash(resolve(MaximizeRequest(unit=1), model).spec)
    for other in (
        {"image_size_px": 24},
        {"optimizer": "gradient_ascent"},
        {"layer": "relu_out"},
        {"transforms": ()},
    ):
        assert first != resolve(MaximizeRequest(unit=0, **other), model).spec


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
