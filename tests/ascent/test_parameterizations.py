"""Every parameterization writes an image, can reach a photograph, and grows with its picture."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec, decorrelated_plane
from unitscope.ascent.prior import Prior, prior_of
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

SPECS = [ImageSpec(3, 16, 16), ImageSpec(1, 9, 14), ImageSpec(13, 8, 7)]
FREE = [name for name in PARAMETERIZATIONS if name != "maco"]
"""Those that any image can be written in; of maco's only the phases are free."""


def usual(channels: int) -> Prior:
    return prior_of(channels, colors="imagenet", spectrum="natural")


def draw_image(
    name: str, spec: ImageSpec, parameters: np.ndarray, prior: Prior | None = None
) -> np.ndarray:
    op = Emitter(Graph(18))
    given = op.graph.add_input("parameters", np.float32, (1, *parameters.shape))
    fed = (prior or usual(spec.channels)).rows(name, spec)
    rows = {key: op.const(row, np.float32) for key, row in fed.items()}
    model = op.graph.to_model([PARAMETERIZATIONS[name].emit(op, given, rows, spec)])
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"parameters": parameters[None]})[0][0])


def photograph(spec: ImageSpec) -> np.ndarray:
    """Smooth, with an edge, in 0.2..0.8."""
    y, x = np.mgrid[: spec.height_px, : spec.width_px]
    waves = [
        np.sin((c + 1) * x / spec.width_px * 3) + np.cos(y / spec.height_px * (c + 2))
        for c in range(spec.channels)
    ]
    picture = np.stack(waves) + 0.5 * (x > spec.width_px / 2)
    low, high = picture.min(), picture.max()
    return np.asarray(0.2 + 0.6 * (picture - low) / (high - low), np.float32)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_parameters_of_zero_are_an_image_in_range(name: str, spec: ImageSpec) -> None:
    image = draw_image(name, spec, np.zeros(PARAMETERIZATIONS[name].shape(spec), np.float32))
    assert image.shape == spec.shape
    assert 0 <= image.min() <= image.max() <= 1
    if name in FREE:
        np.testing.assert_allclose(image, 0.5, atol=1e-6)


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", FREE)
def test_a_fitted_image_is_drawn_again(name: str, spec: ImageSpec) -> None:
    image = photograph(spec)
    colors = usual(spec.channels).colors
    parameters = PARAMETERIZATIONS[name].fit(image, colors)
    assert parameters.shape == PARAMETERIZATIONS[name].shape(spec)
    np.testing.assert_allclose(draw_image(name, spec, parameters), image, atol=2e-3)


@pytest.mark.parametrize("spec", SPECS, ids=str)
def test_maco_keeps_the_phases_of_an_image(spec: ImageSpec) -> None:
    image = photograph(spec)
    colors = usual(spec.channels).colors
    drawn = draw_image("maco", spec, PARAMETERIZATIONS["maco"].fit(image, colors))
    assert drawn.shape == image.shape and 0.05 < drawn.std() < 0.4
    planes = (decorrelated_plane(picture, colors) for picture in (drawn, image))
    alike = [np.corrcoef(a.ravel(), b.ravel())[0, 1] for a, b in zip(*planes, strict=True)]
    assert min(alike) > 0.4


@pytest.mark.parametrize("name", PARAMETERIZATIONS)
@pytest.mark.parametrize("sizes", [(24, 36), (36, 24)], ids=["grow", "shrink"])
def test_a_resized_image_shows_the_same(name: str, sizes: tuple[int, int]) -> None:
    before, after = (ImageSpec(3, size, 2 * size) for size in sizes)
    known = PARAMETERIZATIONS[name]
    parameters = known.fit(photograph(before), usual(3).colors)
    resized = known.resize(parameters, before, after)
    assert resized.shape == known.shape(after)
    assert np.array_equal(resized, known.resize(parameters, before, after))
    small, large = (
        draw_image(name, spec, given) for spec, given in ((before, parameters), (after, resized))
    )
    rows = (np.arange(after.height_px) * before.height_px) // after.height_px
    columns = (np.arange(after.width_px) * before.width_px) // after.width_px
    nearest = small[:, rows][:, :, columns]
    assert np.corrcoef(nearest.ravel(), large.ravel())[0, 1] > 0.85


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", FREE)
def test_any_image_can_be_reached(name: str, spec: ImageSpec) -> None:
    """Climb −|image − target|² by the derived gradient."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0.1, 0.9, (1, *spec.shape)).astype(np.float32)
    op = Emitter(Graph(18))
    shape = (1, *PARAMETERIZATIONS[name].shape(spec))
    parameters = op.graph.add_input("parameters", np.float32, shape)
    moments = [op.graph.add_input(f"moment_{i}", np.float32, shape) for i in (1, 2)]
    step = op.graph.add_input("step", np.float32, (1, *[1] * (len(shape) - 1)))
    colors = op.const(usual(spec.channels).colors[None], np.float32)
    image = PARAMETERIZATIONS[name].emit(op, parameters, {"colors": colors}, spec)
    gap = op.Sub(image, target)
    axes = list(range(4))
    score = op.Reshape(op.Neg(op.ReduceSum(op.Mul(gap, gap), axes, keepdims=0)), [1])
    gradient = differentiate(
        op, output=score, wrt=parameters, cotangent=op.const(np.ones(1), np.float32), rules=RULES
    )
    rms = op.Sqrt(op.ReduceMean(op.Mul(gradient, gradient), keepdims=0))
    unit = op.Div(gradient, op.Add(rms, 1e-12))
    direction, moved = OPTIMIZERS["adam"].update(op, parameters, unit, moments, step)
    following = op.Add(parameters, op.Mul(direction, 0.05))
    session = ort.InferenceSession(
        op.graph.to_model([following, *moved, score]).SerializeToString()
    )
    values = [np.zeros(shape, np.float32) for _ in range(3)]
    scores = []
    for number in range(1, 301):
        feed = dict(zip(("parameters", "moment_1", "moment_2"), values, strict=True))
        *values, score_now = session.run(
            None, feed | {"step": np.full((1, *[1] * (len(shape) - 1)), number, np.float32)}
        )
        scores.append(-float(score_now[0]))
    assert scores[-1] < 0.02 * scores[0]
