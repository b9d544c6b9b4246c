"""Every method is held to what all have in common, and each to its formula."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unitscope.ascent.attribution import METHODS, RANGES, Options, score_weights
from unitscope.ascent.parameterizations import Array
from unitscope.graph.layers import Layer

PICTURE = np.random.default_rng(0).uniform(0.1, 0.9, (3, 6, 5)).astype(np.float32)
WEIGHTS = np.random.default_rng(1).standard_normal(PICTURE.shape).astype(np.float32)


def attributed(name: str, options: Options) -> np.ndarray:
    """Of the score Σ weights · picture³."""
    method = METHODS[name]
    mean = method.mean_gradient(PICTURE, options, lambda point: 3 * WEIGHTS * point**2)
    return mean * method.factor(PICTURE, options)


def defaults(name: str) -> Options:
    return Options(**METHODS[name].defaults)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_looks_where_the_score_looks(name: str) -> None:
    method, options, before = METHODS[name], defaults(name), PICTURE.copy()
    seen: list[Array] = []

    def gradient(point: Array) -> Array:
        """Of a score that is the picture's value at one place."""
        seen.append(point)
        one = np.zeros_like(point)
        one[1, 2, 3] = 1
        return one

    values = method.mean_gradient(PICTURE, options, gradient) * method.factor(PICTURE, options)
    assert [tuple(index) for index in np.argwhere(values)] == [(1, 2, 3)]
    assert len(seen) == options.samples
    assert {(point.shape, point.dtype) for point in seen} == {(PICTURE.shape, PICTURE.dtype)}
    np.testing.assert_array_equal(PICTURE, before)
    assert set(method.defaults) <= set(RANGES)


@pytest.mark.parametrize("name", METHODS)
def test_every_method_that_is_complete_is(name: str) -> None:
    options = replace(defaults(name), baseline=0.25)
    values = attributed(name, options)
    rise = np.sum(WEIGHTS * (PICTURE**3 - 0.25**3), dtype=np.float64)
    assert (abs(values.sum() - rise) < 1e-3 * abs(rise)) == METHODS[name].is_complete


def test_gradients_are_as_the_formula_says() -> None:
    gradient = 3 * WEIGHTS * PICTURE**2
    np.testing.assert_array_equal(attributed("gradient", Options()), gradient)
    product = attributed("gradient_times_input", Options())
    np.testing.assert_allclose(product, gradient * PICTURE, rtol=1e-6)


def test_integrated_gradients_are_the_integral() -> None:
    """∫ 3w·(b + t·(x − b))² dt · (x − b) = w·(x³ − b³)"""
    values = attributed("integrated_gradients", Options(samples=256, baseline=1.0))
    np.testing.assert_allclose(values, WEIGHTS * (PICTURE**3 - 1), rtol=1e-4, atol=1e-5)


def test_smoothgrad_is_the_expectation_under_noise() -> None:
    """E[3w·(x + ε)²] = 3w·(x² + σ²)"""
    noise = 0.2
    values = attributed("smoothgrad", Options(samples=4096, noise=noise))
    variance = (noise * np.ptp(PICTURE)) ** 2
    expected = 3 * WEIGHTS * (PICTURE**2 + variance)
    assert np.abs(values - expected).max() < 0.05 * np.abs(expected).max()


def test_smoothgrad_without_noise_is_the_gradient() -> None:
    values = attributed("smoothgrad", Options(samples=50, noise=0.0))
    np.testing.assert_array_equal(values, attributed("gradient", Options()))


def test_the_seed_says_all_about_the_noise() -> None:
    first, again, other = (
        attributed("smoothgrad", Options(samples=3, noise=0.1, seed=seed)) for seed in (5, 5, 6)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


@pytest.mark.parametrize(
    ("shape", "unit_axis", "position"),
    [
        ((4, 6, 5), 0, None),
        ((4, 6, 5), 0, (3, 2)),
        ((6, 5, 4), 2, None),
        ((6, 5, 4), 2, (3, 2)),
        ((7, 4), 1, None),
        ((7, 4), 1, (3, 0)),
        ((4,), 0, None),
    ],
)
def test_the_score_is_a_mean_or_an_element(
    shape: tuple[int, ...], unit_axis: int, position: tuple[int, int] | None
) -> None:
    layer = Layer(
        tensor="t", name="n", operator="Conv", kind="other", shape=shape, unit_axis=unit_axis
    )
    activation = np.random.default_rng(0).standard_normal(shape)
    score = np.sum(activation * score_weights(layer, 2, position))
    map_ = np.moveaxis(activation, unit_axis, 0)[2]
    if position is not None:
        x, y = position
        map_ = map_[x] if map_.ndim == 1 else map_[y, x]
    assert score == pytest.approx(map_.mean(), rel=1e-6)
