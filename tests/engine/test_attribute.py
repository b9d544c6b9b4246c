"""Attributions against ONNX Runtime's forward of the model's own file, and what they say."""

from __future__ import annotations

import hashlib
import io
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from tests.engine.test_loading import saved
from tests.images import encoded, random_pixels
from tests.models import CARD, CLASSES, SIZE, model_of, small_classifier
from unitscope.ascent.attribution import METHODS, RANGES
from unitscope.ascent.probe import Probe, build_probe
from unitscope.ascent.subject import Subject
from unitscope.engine.attribute import attribute
from unitscope.engine.attribution import AttributeRequest, Attribution
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import load_model
from unitscope.engine.repository import Repository
from unitscope.engine.session import FileSession
from unitscope.errors import (
    Cancelled,
    DeadGradient,
    InvalidRequest,
    ModelRejected,
    NotFinite,
    NotFound,
)

PIXELS = random_pixels()
UNIT = 2


def attributed(model: LoadedModel, unit: int | str = UNIT, **options: Any) -> Attribution:
    options = {"image": encoded(PIXELS)} | options
    return attribute(AttributeRequest(unit=unit, **options), model, lambda: True)


def smooth_classifier() -> onnx.ModelProto:
    """Without a kink, so that differences and integrals are exact where steps are small."""
    model = small_classifier()
    model.graph.node[1].op_type = "Sigmoid"
    return model


@pytest.fixture(params=["RGB", "BGR"])
def smooth(request: pytest.FixtureRequest, tmp_path: Path) -> LoadedModel:
    """A model that takes its channels in either order, with a mean of their own."""
    card = CARD.replace('"RGB"', f'"{request.param}"').replace("0.5, 0.5, 0.5", "0.4, 0.5, 0.6")
    return load_model(saved(smooth_classifier(), tmp_path, card))


@pytest.fixture
def small(repository: Repository) -> LoadedModel:
    return repository.get("small")


class OwnFile:
    """The logits `[N, classes]` of the model's own file for pictures `[N, C, H, W]` in 0..1."""

    def __init__(self, path: Path, model: LoadedModel) -> None:
        self._session = FileSession(path, model.subject, model.info.logits_tensor)
        self._card = model.subject.card

    def __call__(self, pictures: np.ndarray) -> np.ndarray:
        ordered = pictures[:, ::-1] if self._card.channels == "BGR" else pictures
        mean = np.asarray(self._card.mean)[:, None, None]
        return self._session.run((ordered - mean).astype(np.float32)).astype(np.float64)


# What all methods have in common


@pytest.mark.parametrize("method", METHODS)
def test_every_method_answers_in_full(
    method: str, small: LoadedModel, model_directory: Path
) -> None:
    result = attributed(small, "cat", method=method)
    values = result.values
    assert values.shape == (3, SIZE, SIZE) and values.dtype == np.float32
    assert np.isfinite(values).all() and values.any()
    with Image.open(io.BytesIO(result.heat_map)) as heat:
        assert (heat.format, heat.mode, heat.size) == ("PNG", "L", (SIZE, SIZE))
        assert np.asarray(heat).max() == 255
    with Image.open(io.BytesIO(result.overlay)) as shown:
        assert (shown.format, shown.mode, shown.size) == ("PNG", "RGB", (SIZE, SIZE))
    assert (result.width_px, result.height_px) == (SIZE, SIZE)
    assert (result.method, result.model, result.tensor) == (method, "small", "logits")
    assert (result.unit, result.label) == (UNIT, "cat")
    own = model_directory / "small.onnx"
    assert result.model_sha256 == hashlib.sha256(own.read_bytes()).hexdigest()
    logits = OwnFile(own, small)(PIXELS[None] / 255)[0]
    assert result.activation == pytest.approx(logits[UNIT], rel=1e-5)
    assert [score.index for score in result.top_classes] == list(np.argsort(-logits))
    assert sum(score.probability for score in result.top_classes) == pytest.approx(1)
    assert result.preprocessing == small.info.preprocessing
    assert (result.completeness is not None) == METHODS[method].is_complete
    used = {name: getattr(result, name) for name in RANGES}
    assert used == {**dict.fromkeys(RANGES), "samples": 1, **METHODS[method].defaults}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_gives_the_same_bytes_again(method: str, small: LoadedModel) -> None:
    first, again = (attributed(small, method=method) for _ in range(2))
    assert first.values_npy == again.values_npy
    assert (first.heat_map, first.overlay) == (again.heat_map, again.overlay)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", ["grey", "nhwc", "perceptron", "bare"])
def test_every_method_takes_every_kind_of_model(
    method: str, name: str, repository: Repository
) -> None:
    model = repository.get(name)
    card = model.subject.card
    result = attributed(model, method=method)
    assert result.values.shape == (len(card.channels), card.height_px, card.width_px)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_takes_a_model_of_a_larger_batch(
    method: str, small: LoadedModel, tmp_path: Path
) -> None:
    four = load_model(saved(small_classifier(batch=4), tmp_path, CARD))
    result, alone = attributed(four, method=method), attributed(small, method=method)
    assert result.activation == pytest.approx(alone.activation, rel=1e-5)
    np.testing.assert_allclose(result.values, alone.values, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_stops_when_nobody_wants_it(method: str, small: LoadedModel) -> None:
    request = AttributeRequest(image=encoded(PIXELS), unit=UNIT, method=method)
    wanted = iter([True] * (request.options().samples - 1) + [False])
    with pytest.raises(Cancelled):
        attribute(request, small, lambda: next(wanted))
    assert next(wanted, None) is None


# Against the model's own file


def test_the_gradient_is_that_of_central_differences(smooth: LoadedModel, tmp_path: Path) -> None:
    step = 1 / 4  # smaller ones drown in the rounding of float32
    moved = step * np.eye(PIXELS.size).reshape(-1, *PIXELS.shape)
    logits = OwnFile(tmp_path / "model.onnx", smooth)
    up, down = (logits(PIXELS / 255 + sign * moved)[:, UNIT] for sign in (1, -1))
    expected = ((up - down) / (2 * step)).reshape(PIXELS.shape)
    values = attributed(smooth, method="gradient").values
    assert np.abs(values - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("baseline", [0.0, 0.5, 1.0])
def test_the_completeness_gap_is_what_it_says_and_small(
    baseline: float, smooth: LoadedModel, tmp_path: Path
) -> None:
    result = attributed(smooth, baseline=baseline)
    logits = OwnFile(tmp_path / "model.onnx", smooth)
    pictures = np.stack([PIXELS / 255, np.full(PIXELS.shape, baseline)])
    on_picture, on_baseline = logits(pictures)[:, UNIT]
    complete = result.completeness
    assert complete is not None and complete.relative_gap is not None
    assert complete.baseline_activation == pytest.approx(on_baseline, rel=1e-5)
    rise = on_picture - on_baseline
    assert complete.gap == pytest.approx(result.values.sum(dtype=float) - rise, abs=1e-5)
    assert complete.relative_gap == pytest.approx(abs(complete.gap / rise), abs=1e-4)
    assert complete.relative_gap < 1e-3


def test_a_picture_that_is_its_baseline_has_no_relative_gap(smooth: LoadedModel) -> None:
    black = encoded(np.zeros_like(PIXELS))
    complete = attributed(smooth, image=black).completeness
    assert complete is not None
    assert (complete.gap, complete.relative_gap) == (0.0, None)


def test_a_neuron_of_the_first_layer_sees_its_kernel(small: LoadedModel) -> None:
    x, y = 7, 4
    result = attributed(small, 1, layer="features.conv", position=(x, y), method="gradient")
    kernel = small.subject.model.weights["features.conv.weight"][1]
    expected = np.zeros((3, SIZE, SIZE))
    expected[:, y : y + 3, x : x + 3] = kernel
    np.testing.assert_allclose(result.values, expected, rtol=1e-6)
    assert result.label == "" and result.tensor == "conv_out"


def test_a_channel_is_the_mean_of_its_neurons(small: LoadedModel) -> None:
    asked: dict[str, Any] = {"layer": "features.conv", "method": "gradient"}
    whole = attributed(small, 1, **asked)
    places = [(x, y) for x in range(SIZE - 2) for y in range(SIZE - 2)]
    neurons = [attributed(small, 1, position=place, **asked) for place in places]
    mean = np.mean([neuron.values for neuron in neurons], axis=0)
    np.testing.assert_allclose(whole.values, mean, rtol=1e-4, atol=1e-8)
    activations = [neuron.activation for neuron in neurons]
    assert whole.activation == pytest.approx(float(np.mean(activations)))


def test_smoothgrad_without_noise_is_the_gradient(small: LoadedModel) -> None:
    smoothed = attributed(small, method="smoothgrad", noise=0.0)
    assert smoothed.values_npy == attributed(small, method="gradient").values_npy


def test_the_seed_says_all_about_the_noise(small: LoadedModel) -> None:
    first, again, other = (
        attributed(small, method="smoothgrad", samples=4, seed=seed) for seed in (5, 5, 6)
    )
    assert first.values_npy == again.values_npy != other.values_npy


# What is really looked at


def test_a_probability_is_attributed_at_the_logits(small: LoadedModel) -> None:
    result = attributed(small, layer="output", method="gradient")
    assert result.tensor == "logits"
    assert result.values_npy == attributed(small, method="gradient").values_npy


def test_a_large_image_is_cut_and_scaled(small: LoadedModel) -> None:
    flat = np.broadcast_to(np.array([90, 140, 200], np.uint8)[:, None, None], (3, 48, 64))
    result = attributed(small, image=encoded(flat[:, 8:]))
    plain = attributed(small, image=encoded(flat[:, :SIZE, :SIZE]))
    assert result.values_npy == plain.values_npy


def test_a_gradient_is_compiled_once(
    small: LoadedModel, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    built = []

    def counting(subject: Subject, tensor: str) -> Probe:
        built.append(tensor)
        return build_probe(subject, tensor)

    monkeypatch.setattr("unitscope.engine.score.build_probe", counting)
    fresh = load_model(saved(small_classifier(seed=77), tmp_path))
    for unit in range(3):
        attributed(fresh, unit, method="gradient")
        attributed(fresh, unit, method="gradient", layer="conv_out")
    assert built == ["logits", "conv_out"]


# Refusals


@pytest.mark.parametrize(
    ("options", "field", "expected"),
    [
        ({"image": b""}, "image", "a PNG, JPEG or WebP"),
        ({"image": b"garbage"}, "image", "a PNG, JPEG or WebP"),
        ({"method": "magic"}, "method", f"one of {', '.join(METHODS)}"),
        ({"samples": 0}, "samples", "a number in 1..256"),
        ({"samples": 257}, "samples", "a number in 1..256"),
        ({"samples": 2, "method": "gradient"}, "samples", "none: gradient takes no samples"),
        ({"noise": -0.1, "method": "smoothgrad"}, "noise", "a number in 0..1"),
        ({"noise": float("nan"), "method": "smoothgrad"}, "noise", "a number in 0..1"),
        ({"noise": 0.1}, "noise", "none: integrated_gradients takes no noise"),
        ({"seed": -1, "method": "smoothgrad"}, "seed", f"a number in 0..{2**63 - 1}"),
        ({"seed": 1}, "seed", "none: integrated_gradients takes no seed"),
        ({"baseline": 1.5}, "baseline", "a number in 0..1"),
        ({"baseline": 0.0, "method": "smoothgrad"}, "baseline", "none"),
        ({"position": (0, 0)}, "position", "none: layer 'fc' is not a map"),
        ({"position": (10, 0), "layer": "conv_out"}, "position", "x in 0..9 and y in 0..9"),
    ],
)
def test_what_cannot_be_served_is_named(
    options: dict[str, Any], field: str, expected: str, small: LoadedModel
) -> None:
    with pytest.raises(InvalidRequest) as caught:
        attributed(small, **options)
    assert caught.value.field == field
    assert caught.value.expected.startswith(expected)


@pytest.mark.parametrize(
    ("unit", "layer", "kind"),
    [
        ("catt", "", "label"),
        (CLASSES, "", "unit of layer 'fc'"),
        (1, "nowhere", "layer"),
        ("cat", "conv_out", "label in layer 'features.conv'"),
    ],
)
def test_an_unknown_name_is_not_found(
    unit: int | str, layer: str, kind: str, small: LoadedModel
) -> None:
    with pytest.raises(NotFound) as caught:
        attributed(small, unit, layer=layer)
    assert caught.value.kind == kind


def test_a_layer_without_a_shape_of_its_own_is_refused(tmp_path: Path) -> None:
    nodes = [
        helper.make_node("ReduceMax", ["image"], ["brightest"], axes=[0, 1, 2], keepdims=0),
        helper.make_node("Greater", ["brightest", "half"], ["is_bright"]),
        helper.make_node("Compress", ["image", "is_bright"], ["columns"], axis=3),
        helper.make_node("ReduceMean", ["columns"], ["output"], axes=[2, 3], keepdims=0),
    ]
    half = {"half": np.array(0.5, np.float32)}
    model = model_of(nodes, half, image=(1, 3, SIZE, SIZE), output=(1, 3))
    loaded = load_model(saved(model, tmp_path))
    with pytest.raises(ModelRejected, match="changes its shape with the picture"):
        attributed(loaded, layer="columns")
    assert attributed(loaded, method="gradient").values.any()


def test_what_has_no_gradient_is_refused_by_its_reason(
    repository: Repository, tmp_path: Path
) -> None:
    with pytest.raises(DeadGradient, match="zero on this picture"):
        attributed(repository.get("dead"))
    with pytest.raises(ModelRejected, match="Floor"):
        attributed(repository.get("blocked"))
    with pytest.raises(InvalidRequest, match="13 channels"):
        attributed(repository.get("bands"))
    steep = small_classifier()
    steep.graph.node[1].op_type = "Exp"
    card = CARD.replace("[1.0, 1.0, 1.0]", "[0.001, 0.001, 0.001]")
    with pytest.raises(NotFinite, match="overflows"):
        attributed(load_model(saved(steep, tmp_path, card)))
