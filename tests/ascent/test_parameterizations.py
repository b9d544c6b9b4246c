"""Every parameterization writes an image in 0..1, from nearly grey, and can reach a photograph."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

SPECS = [ImageSpec(3, 16, 16), ImageSpec(1, 9, 14), ImageSpec(13, 8, 7)]


def draw_image(name: str, spec: ImageSpec, parameters: np.ndarray) -> np.ndarray:
    op = Emitter(Graph(18))
    given = op.graph.add_input("parameters", np.float32, (1, *parameters.shape))
    model = op.graph.to_model([PARAMETERIZATIONS[name].emit(op, given, spec)])
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"parameters": parameters[None]})[0][0])


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_starts_nearly_grey_and_the_seed_decides(name: str, spec: ImageSpec) -> None:
    initial = PARAMETERIZATIONS[name].initial
    image = draw_image(name, spec, initial(0, spec))
    assert image.shape == (spec.channels, spec.height_px, spec.width_px)
    assert 0.3 < image.min() < image.max() < 0.7
    np.testing.assert_array_equal(initial(0, spec), initial(0, spec))
    assert not np.array_equal(initial(0, spec), initial(1, spec))


@pytest.mark.parametrize("spec", SPECS, ids=str)
@pytest.mark.parametrize("name", PARAMETERIZATIONS)
def test_any_image_can_be_reached(name: str, spec: ImageSpec) -> None:
    """Climb −|image − target|² by the derived gradient."""
    rng = np.random.default_rng(0)
    target = rng.uniform(0.1, 0.9, (1, spec.channels, spec.height_px, spec.width_px)).astype(
        np.float32
    )
    op = Emitter(Graph(18))
    shape = (1, *PARAMETERIZATIONS[name].shape(spec))
    given = op.graph.add_input("parameters", np.float32, shape)
    moments = [op.graph.add_input(f"moment_{i}", np.float32, shape) for i in (1, 2)]
    step = op.graph.add_input("step", np.float32, (1, 1, 1, 1))
    error = op.Sub(PARAMETERIZATIONS[name].emit(op, given, spec), target)
    score = op.Neg(op.ReduceSum(op.Mul(error, error), [1, 2, 3], keepdims=0))
    gradient = differentiate(
        op, output=score, wrt=given, cotangent=op.const([1.0], np.float32), rules=RULES
    )
    direction, state = OPTIMIZERS["adam"].update(op, gradient, moments, step)
    outputs = [op.Add(given, op.Mul(direction, 0.1)), *state, score]
    session = ort.InferenceSession(op.graph.to_model(outputs).SerializeToString())
    values = [
        PARAMETERIZATIONS[name].initial(0, spec)[None],
        *(np.zeros(shape, np.float32) for _ in moments),
    ]
    scores = []
    for number in range(1, 301):
        feed = dict(zip(("parameters", "moment_1", "moment_2"), values, strict=True))
        *values, score_now = session.run(
            None, feed | {"step": np.full((1, 1, 1, 1), number, np.float32)}
        )
        scores.append(-float(score_now[0]))
    assert scores[-1] < 0.02 * scores[0]
