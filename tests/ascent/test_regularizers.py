"""Penalties and constraints do what their formulas say; strength 0 switches a constraint off."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

PIXELS = np.random.default_rng(0).uniform(-0.8, 0.8, (2, 3, 20, 10)).astype(np.float32)
GRADIENT = np.random.default_rng(1).standard_normal(PIXELS.shape).astype(np.float32)


def penalties(name: str) -> np.ndarray:
    op = Emitter(Graph(18))
    picture = op.graph.add_input("picture", np.float32, PIXELS.shape)
    model = op.graph.to_model([PENALTIES[name](op, picture)])
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(None, {"picture": PIXELS})[0])


def constrained(name: str, *strengths: float) -> np.ndarray:
    op = Emitter(Graph(18))
    pixels = op.graph.add_input("pixels", np.float32, PIXELS.shape)
    gradient = op.graph.add_input("gradient", np.float32, PIXELS.shape)
    strength = op.graph.add_input("strength", np.float32, (2, 1, 1, 1))
    model = op.graph.to_model([op.Mul(CONSTRAINTS[name](op, pixels, gradient, strength), 1.0)])
    session = ort.InferenceSession(model.SerializeToString())
    feed = {
        "pixels": PIXELS,
        "gradient": GRADIENT,
        "strength": np.asarray(strengths, np.float32).reshape(2, 1, 1, 1),
    }
    known = {declared.name for declared in session.get_inputs()}
    (found,) = session.run(None, {key: value for key, value in feed.items() if key in known})
    return np.asarray(found)


@pytest.mark.parametrize("name", CONSTRAINTS)
def test_a_row_of_strength_zero_stays_as_it_is(name: str) -> None:
    found = constrained(name, 0.0, 0.5)
    np.testing.assert_allclose(found[0], PIXELS[0], atol=1e-6)
    assert not np.allclose(found[1], PIXELS[1], atol=1e-3)


def test_penalties_are_their_formulas() -> None:
    axes = (1, 2, 3)
    expected = {
        "l1": np.abs(PIXELS).sum(axes),
        "l2": (PIXELS**2).sum(axes),
        "l6": (PIXELS.astype(np.float64) ** 6).sum(axes),
        "total_variation": np.hypot(
            np.diff(PIXELS, axis=3)[:, :, :-1], np.diff(PIXELS, axis=2)[..., :-1]
        ).sum(axes),
        "boundary": (PIXELS**2).sum(axes) - (PIXELS[:, :, 2:-2, 1:-1] ** 2).sum(axes),
    }
    assert set(expected) == set(PENALTIES)
    for name, value in expected.items():
        np.testing.assert_allclose(penalties(name), value, rtol=1e-4, err_msg=name)


def test_the_norm_is_reached_and_the_range_is_kept() -> None:
    spheres = constrained("norm", 0.1, 0.3)
    np.testing.assert_allclose(np.sqrt((spheres**2).mean((1, 2, 3))), [0.1, 0.3], rtol=1e-4)
    cut = constrained("range", 1.0, 1.0)
    np.testing.assert_allclose(cut, np.clip(PIXELS, -0.5, 0.5))
    np.testing.assert_allclose(constrained("decay", 0.1, 0.2)[1], 0.8 * PIXELS[1], rtol=1e-6)


def test_blur_keeps_the_mean_of_what_is_smooth_and_lessens_the_rest() -> None:
    soft = constrained("blur", 1.0, 2.0)
    assert soft[1].std() < soft[0].std() < PIXELS[0].std()


@pytest.mark.parametrize("name", ["small_norm", "small_contribution"])
def test_the_least_share_of_the_pixels_is_cleared(name: str) -> None:
    found = constrained(name, 0.25, 0.5)
    merit = (PIXELS**2).sum(1) if name == "small_norm" else np.abs((PIXELS * GRADIENT).sum(1))
    for row, share in enumerate((0.25, 0.5)):
        cleared = (found[row] == 0).all(0)
        assert cleared.sum() == share * cleared.size
        assert merit[row][cleared].max() <= merit[row][~cleared].min()
        np.testing.assert_array_equal(found[row][:, ~cleared], PIXELS[row][:, ~cleared])
