"""A unit is compared on natural images: of a hand-made model, where the answer is known."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.images import encoded, random_pixels
from tests.models import CARD, CLASSES, SIZE, model_of
from unitscope.engine.engine import Engine
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization, MaximizeRequest

REDS = (50, 220, 100, 200, 30, 150, 120)


@pytest.fixture
def colour_engine(tmp_path: Path) -> Iterator[Engine]:
    """Of a model whose units 0 to 2 are how red, green and blue a picture is, 0..1, on average."""
    weights = {"kernel": np.eye(3, dtype=np.float32)[:, :, None, None]}
    weights |= {"fc": np.eye(3, CLASSES, dtype=np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["map"], name="/map/Conv"),
        helper.make_node("GlobalAveragePool", ["map"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["output"]),
    ]
    onnx.save(model_of(nodes, weights), tmp_path / "colour.onnx")
    (tmp_path / "colour.toml").write_text(
        CARD.replace("mean = [0.5, 0.5, 0.5]", "mean = [0, 0, 0]")
    )
    with Engine(Repository(tmp_path)) as engine:
        yield engine


def flat(red: int, size: int = SIZE) -> bytes:
    return encoded(np.full((3, size, size), [[[red]], [[60]], [[70]]], np.uint8))


def climbed(engine: Engine, **options: Any) -> Maximization:
    """One step too small to change the picture that it begins with."""
    asked: dict[str, Any] = {"unit": 0, "model": "colour", "steps": 1, "learning_rate": 1e-9}
    asked |= {"preset": "simonyan2013", "penalties": (), "start_image": flat(120)}
    return engine.submit(MaximizeRequest(**asked | options)).result()


def test_the_picture_is_placed_among_the_images(colour_engine: Engine) -> None:
    images = tuple(flat(red, size) for red, size in zip(REDS, range(10, 24, 2), strict=True))
    metrics = climbed(colour_engine, natural_images=images).metrics
    assert metrics.activation_end == pytest.approx(120 / 255, rel=1e-4)
    found = metrics.calibration
    assert found is not None
    assert found.percentile == pytest.approx(100 * 3 / 7)
    assert found.ratio == pytest.approx(120 / 220, rel=1e-4)
    assert [exemplar.index for exemplar in found.exemplars] == [1, 3, 5, 6, 2]
    reds = [255 * exemplar.activation for exemplar in found.exemplars]
    assert reds == pytest.approx([220, 200, 150, 120, 100], rel=1e-4)
    assert "the unit responds as much or more to natural image 1" in metrics.doubts


def test_a_picture_above_all_images_leaves_no_doubt_of_it(colour_engine: Engine) -> None:
    metrics = climbed(colour_engine, natural_images=(flat(100), flat(60))).metrics
    assert metrics.calibration is not None and metrics.calibration.percentile == 100
    assert metrics.calibration.ratio == pytest.approx(1.2, rel=1e-4)
    assert not any("natural image" in doubt for doubt in metrics.doubts)


def test_a_neuron_looks_at_its_own_place(colour_engine: Engine) -> None:
    pixels = np.zeros((3, SIZE, SIZE), np.uint8)
    pixels[0, 4, 2] = 255
    options: dict[str, Any] = {"layer": "map", "position": (2, 4)}
    images = (flat(90), encoded(pixels))
    found = climbed(colour_engine, natural_images=images, **options).metrics.calibration
    assert found is not None and found.percentile == 50
    assert [exemplar.index for exemplar in found.exemplars] == [1, 0]
    activations = [exemplar.activation for exemplar in found.exemplars]
    assert activations == pytest.approx([1.0, 90 / 255])


def test_octaves_are_compared_at_the_last_size(colour_engine: Engine) -> None:
    options: dict[str, Any] = {"octaves": 2, "steps": 2, "image_size_px": 24}
    found = climbed(colour_engine, natural_images=(flat(90),), **options).metrics.calibration
    assert found is not None and found.percentile == 100
    assert found.ratio == pytest.approx(120 / 90, rel=1e-3)


@pytest.mark.parametrize(
    "options",
    [{}, {"unit": None, "objective": "layer", "layer": "map", "natural_images": (flat(90),)}],
    ids=["no images", "no unit"],
)
def test_without_images_or_a_unit_nothing_is_said(
    colour_engine: Engine, options: dict[str, Any]
) -> None:
    assert climbed(colour_engine, **options).metrics.calibration is None


@pytest.mark.parametrize(
    "options",
    [
        {"colors": "images"},
        {"colors": "images", "parameterization": "pixel", "octaves": 2, "image_size_px": 24},
        {"preset": "maco", "views": 2, "spectrum": "images"},
        {"preset": "maco", "views": 2, "spectrum": "images", "colors": "images", "octaves": 2},
        {"colors": "images", "start_image": encoded(random_pixels(9))},
    ],
    ids=str,
)
def test_what_is_computed_from_images_ascends(engine: Engine, options: dict[str, Any]) -> None:
    images = tuple(encoded(random_pixels(seed)) for seed in range(3))
    asked = MaximizeRequest(unit=1, model="small", steps=40, natural_images=images, **options)
    metrics = engine.submit(asked).result().metrics
    assert metrics.activation_end > metrics.activation_start


def test_a_start_image_is_written_in_the_colours_of_the_images(engine: Engine) -> None:
    start = random_pixels(9)
    images = tuple(encoded(random_pixels(seed)) for seed in range(3))
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 1, "learning_rate": 1e-9}
    asked |= {"colors": "images", "natural_images": images, "start_image": encoded(start)}
    from_images = engine.submit(MaximizeRequest(**asked)).result()
    assert from_images.metrics.activation_end == pytest.approx(
        engine.submit(MaximizeRequest(**asked | {"colors": "none"}))
        .result()
        .metrics.activation_end,
        rel=1e-2,
    )
