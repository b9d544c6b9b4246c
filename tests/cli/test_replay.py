"""A picture is made again from its own record, here and at a server, and differences are said."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

from tests.engine.test_record import climbed, formats, saved
from tests.models import CARD, small_classifier
from tests.rpc.live import LiveServer
from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.cli.replay import replay
from unitscope.engine.engine import Engine
from unitscope.engine.picture import decode, encode
from unitscope.engine.record import embed
from unitscope.engine.request import ImageFormat, Term
from unitscope.errors import InvalidRequest


@pytest.fixture
def small(model_directory: Path) -> str:
    """The path of the model."""
    return str(model_directory / "small.onnx")


@formats
def test_the_same_bytes_here_and_at_a_server(
    engine: Engine, live: LiveServer, small: str, image_format: ImageFormat, tmp_path: Path
) -> None:
    result = climbed(engine, unit="bee", image_format=image_format, image_size_px=16)
    path = saved(result, tmp_path)
    here, there = replay(path, model=small), replay(path, server=live.target)
    assert here.differences == there.differences == ()
    assert here.result.image == there.result.image == result.image
    assert here.result.record == there.result.record == result.record


PHOTOGRAPH = encode(np.random.default_rng(0).integers(0, 256, (3, 20, 16), np.uint8), "png")


@pytest.mark.parametrize(
    "options",
    [
        {"learning_rate": 0.1, "transforms": (Transform("jitter", 0.1, 0.2), Transform("noise"))},
        {"terms": (Term(unit=1, weight=-0.5), Term(unit=0, layer="features.conv"))},
        {"start_image": PHOTOGRAPH, "penalties": (Regularizer("l2", 0.1),), "octaves": 2},
        {"unit": None, "objective": "caricature", "reference": PHOTOGRAPH, "layer": "relu_out"},
        {"preset": "yosinski2015", "target": 0.5, "position": (1, 2), "layer": "features.conv"},
    ],
    ids=lambda options: ",".join(options),
)
def test_whatever_was_asked_is_asked_again(
    engine: Engine, live: LiveServer, small: str, options: dict[str, Any], tmp_path: Path
) -> None:
    path = saved(climbed(engine, **options), tmp_path)
    assert replay(path, model=small).differences == ()
    assert replay(path, server=live.target).differences == ()


def test_natural_images_are_asked_for(
    engine: Engine, live: LiveServer, small: str, tmp_path: Path
) -> None:
    images = (
        PHOTOGRAPH,
        encode(np.random.default_rng(1).integers(0, 256, (3, 9, 9), np.uint8), "png"),
    )
    options: dict[str, Any] = {"preset": "maco", "views": 2, "spectrum": "images", "octaves": 2}
    path = saved(climbed(engine, colors="images", natural_images=images, **options), tmp_path)
    with pytest.raises(InvalidRequest, match="expected among them the image with SHA-256"):
        replay(path, model=small)
    given = (b"another", *images[::-1])
    assert replay(path, model=small, images=given).differences == ()
    assert replay(path, server=live.target, images=given).differences == ()


def changed(path: Path, change: Callable[[dict[str, Any]], object]) -> None:
    """Write the picture at `path` anew with another record."""
    with Image.open(path) as image:
        record = json.loads(image.info["unitscope"])
    pixels = decode(path.read_bytes(), 3)
    change(record)
    path.write_bytes(encode(pixels, "png", embed(json.dumps(record), "png")))


def test_differences_are_said(engine: Engine, small: str, tmp_path: Path) -> None:
    path = saved(climbed(engine), tmp_path)

    def change(record: dict[str, Any]) -> None:
        record["versions"]["numpy"] = "1.0"
        record["platform"]["machine"] = "pdp11"
        record["platform"]["\x1b"] = "\x1b" * 999
        record["request"]["seed"] = 8
        record["metrics"]["rank"] = None

    changed(path, change)
    said = replay(path, model=small).differences
    assert f"versions.numpy: 1.0 in the file, {np.__version__} now" in said
    assert any(line.startswith("platform.machine: pdp11 in the file") for line in said)
    assert any(line.startswith("metrics.rank: None in the file") for line in said)
    assert "\x1b" not in "".join(said) and max(map(len, said)) < 250
    assert not any(line.startswith("request") for line in said)
    assert "% differ, by at most" in said[-1] and said[-1].endswith("of 255")


def test_other_bytes_of_the_same_pixels(engine: Engine, small: str, tmp_path: Path) -> None:
    path = saved(climbed(engine), tmp_path)
    changed(path, dict.copy)  # nothing but the spaces between
    assert replay(path, model=small).differences == ("pixels: the same",)


def test_other_pixels(engine: Engine, small: str, tmp_path: Path) -> None:
    result = climbed(engine)
    path, pixels = saved(result, tmp_path), decode(result.image, 3)
    pixels[1, 0, 0] ^= 1 << 5
    path.write_bytes(encode(pixels, "png", embed(result.record, "png")))
    (said,) = replay(path, model=small).differences
    assert said == f"pixels: {1 / 144:.2%} differ, by at most 32 of 255"
    path.write_bytes(encode(pixels[:, :6], "png", embed(result.record, "png")))
    assert replay(path, model=small).differences == ("pixels: 3×6×12 in the file, 3×12×12 now",)


def test_alpha_can_differ(engine: Engine, small: str, tmp_path: Path) -> None:
    result = climbed(engine, transparent=True)
    path = saved(result, tmp_path)
    assert replay(path, model=small).differences == ()
    with Image.open(path) as picture:
        alpha = np.asarray(picture.getchannel("A")) / 255
    alpha[0, 0] = 1 - np.round(alpha[0, 0])
    metadata = embed(result.record, "png")
    path.write_bytes(encode(decode(result.image, 3), "png", metadata, alpha))
    (said,) = replay(path, model=small).differences
    assert said.startswith(f"pixels: {1 / 144:.2%} differ")


def test_an_array_differs_in_fractions(engine: Engine, small: str, tmp_path: Path) -> None:
    result = climbed(engine, image_format="npy")
    path, array = saved(result, tmp_path), decode(result.image, 3)
    array[0, 0, 0] += 0.25
    path.write_bytes(encode(array, "npy"))
    assert replay(path, model=small).differences == (
        f"pixels: {1 / 144:.2%} differ, by at most 0.25 of 1",
    )


def test_another_model_of_the_name_is_refused(
    engine: Engine, live: LiveServer, tmp_path: Path
) -> None:
    onnx.save(small_classifier(seed=3), tmp_path / "small.onnx")
    (tmp_path / "small.toml").write_text(CARD)
    path = saved(climbed(engine), tmp_path)
    with pytest.raises(
        InvalidRequest, match=r"model: got 'small with SHA-256 .*, expected the one"
    ):
        replay(path, model=str(tmp_path / "small.onnx"))
    with pytest.raises(InvalidRequest, match=r"model: got 'bare with SHA-256 .*, expected the one"):
        replay(path, model="bare", server=live.target)
    with pytest.raises(InvalidRequest, match="model: got 'small', expected the path of the file"):
        replay(path)


def test_a_name_in_a_record_is_no_path(engine: Engine, small: str, tmp_path: Path) -> None:
    path = saved(climbed(engine), tmp_path)
    changed(path, lambda record: record["request"].update(model=small))
    with pytest.raises(InvalidRequest, match="expected the path of the file"):
        replay(path)


def test_another_card_is_a_difference(engine: Engine, small: str, tmp_path: Path) -> None:
    path = saved(climbed(engine), tmp_path)
    (tmp_path / "small.onnx").write_bytes(Path(small).read_bytes())
    (tmp_path / "small.toml").write_text(CARD.replace("std = [1.0", "std = [0.5"))
    said = replay(path, model=str(tmp_path / "small.onnx")).differences
    assert "preprocessing.std: [1.0, 1.0, 1.0] in the file, [0.5, 1.0, 1.0] now" in said
