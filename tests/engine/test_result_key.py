"""The key of a result: whatever decides its bytes changes it, and nothing else."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.images import encoded, random_pixels
from tests.models import CARD, small_classifier
from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.device import THE_PROCESSOR
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.record import DELIVERY
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest, Term
from unitscope.engine.result_key import request_digest, result_key

IMAGE = encoded(random_pixels(0))
PLAIN = MaximizeRequest(unit=1, model="small")
OTHER: dict[str, Any] = {
    "unit": "bee", "layer": "features.conv", "position": (1, 1), "direction": (1.0,),
    "reference": IMAGE, "objective": "layer", "weight": 2.0, "terms": (Term(unit=2),),
    "target": 1.0, "seed": 1, "image_size_px": 20, "start_image": IMAGE,
    "natural_images": (IMAGE,), "image_format": "npy", "preset": "lucid", "steps": 7,
    "parameterization": "pixel", "colors": "none", "spectrum": "images", "transforms": (),
    "views": 3, "optimizer": "momentum", "learning_rate": 0.5, "schedule": "cosine",
    "penalties": (Regularizer("l2", 1.0),), "constraints": (Regularizer("decay", 0.1),),
    "octaves": 3, "patience_steps": 5, "attempts": 2, "unlike": (IMAGE,), "diversity": 0.5,
    "transparent": True,
}  # fmt: skip


@pytest.fixture
def info(repository: Repository) -> ModelInfo:
    return repository.info("small")


def test_every_field_is_tried() -> None:
    tried = {*OTHER, *DELIVERY, "model", "model_version"}
    assert {field.name for field in fields(MaximizeRequest)} == tried


@pytest.mark.parametrize("name", OTHER)
def test_what_decides_the_bytes_changes_it(info: ModelInfo, name: str) -> None:
    changed = replace(PLAIN, **{name: OTHER[name]})
    assert result_key(changed, info, THE_PROCESSOR) != result_key(PLAIN, info, THE_PROCESSOR)


@pytest.mark.parametrize(
    "options",
    [
        {"request_id": "3b241101-e2bb-4255-8caf-4136c566a962"},
        {"preview_every_steps": 4},
        {"steps": 224},
        {"layer": "logits", "objective": "channel", "weight": 1},
        {"image_size_px": 12},
        {"parameterization": "fourier", "octaves": 1, "penalties": ()},
    ],
    ids=str,
)
def test_what_asks_for_the_same_shares_it(info: ModelInfo, options: dict[str, Any]) -> None:
    assert result_key(replace(PLAIN, **options), info, THE_PROCESSOR) == result_key(
        PLAIN, info, THE_PROCESSOR
    )


def test_half_a_range_is_the_range(info: ModelInfo) -> None:
    half, whole = (replace(PLAIN, transforms=(Transform("flip", *low),)) for low in ((), (0.5,)))
    assert result_key(half, info, THE_PROCESSOR) == result_key(whole, info, THE_PROCESSOR)


@pytest.mark.parametrize(
    ("was", "now"),
    [("mean = [0.5,", "mean = [0.25,"), ('"cat"', '"cow"'), ("[labels]", "[constants]\n[labels]")],
)
def test_what_the_card_says_counts(tmp_path: Path, was: str, now: str) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    keys = []
    for card in (CARD, CARD.replace(was, now)):
        path.with_suffix(".toml").write_text(card)
        keys.append(result_key(PLAIN, Repository(tmp_path).info("small"), THE_PROCESSOR))
    assert (keys[0] == keys[1]) == ("constants" in now)


def test_another_file_name_or_version_counts(repository: Repository, info: ModelInfo) -> None:
    others = (
        replace(repository.info("bare"), name=info.name),
        replace(info, name="other"),
        replace(info, version="2"),
    )
    assert len({result_key(PLAIN, other, THE_PROCESSOR) for other in (info, *others)}) == 4


def test_a_digest_of_a_request_leaves_only_its_name_out() -> None:
    assert request_digest(replace(PLAIN, request_id="a")) == request_digest(PLAIN)
    assert request_digest(replace(PLAIN, preview_every_steps=1)) != request_digest(PLAIN)
