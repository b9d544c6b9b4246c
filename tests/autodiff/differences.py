"""A gradient against central differences."""

from __future__ import annotations

import numpy as np

from tests.autodiff.cases import Array, Function

PROBES = 8


def agrees_with_differences(
    score: Function, slope: Array, point: Array, *, together: bool = False
) -> bool:
    """Compare the gradient `slope` with central differences; False where most directions kink.

    `together`: elements that are equal stay so. Raises AssertionError where there is none and
    the gradient is another.
    """
    assert slope.shape == point.shape
    along = directions(point)
    if together:
        first = np.unique(point, return_index=True, return_inverse=True)[1:]
        along = [each.ravel()[first[0]][first[1]].reshape(point.shape) for each in along]
    smooth = [agrees_along(score, slope, point, direction) for direction in along]
    return smooth[-1] and 2 * sum(smooth) >= len(smooth)


def directions(point: Array) -> list[Array]:
    """Some axes, then one direction that moves every element at once."""
    rng = np.random.default_rng(0)
    axes = rng.permutation(point.size)[: PROBES if point.size < 2_000 else 2]
    units = [np.eye(1, point.size, axis, point.dtype).reshape(point.shape) for axis in axes]
    return [*units, rng.choice([-1, 1], point.shape).astype(point.dtype)]


def agrees_along(score: Function, slope: Array, point: Array, direction: Array) -> bool:
    """Compare one directional derivative; False where step sizes and sides disagree: a kink."""
    step, tolerance = (1e-2, 1e-2) if point.dtype == np.float32 else (1e-5, 1e-4)
    offsets = np.array([-1, -0.25, 0, 0.25, 1], point.dtype) * point.dtype.type(step)
    around = [float(score(point + offset * direction)[0]) for offset in offsets]
    left, right = (around[2] - around[0]) / step, (around[4] - around[2]) / step
    wide, narrow = (around[4] - around[0]) / (2 * step), (around[3] - around[1]) / (step / 2)
    bend = abs(around[3] - 2 * around[2] + around[1]) / (step / 4)
    scale = tolerance * max(1.0, abs(wide))
    bent = abs(left - right) < 100 * scale and bend < abs(left - right) / 2  # a kink stays a kink
    if not (abs(wide - narrow) < 10 * scale and (bent or abs(left - right) < 10 * scale)):
        return False
    moved = direction != 0
    found = np.sum(slope[moved] * direction[moved], dtype=np.float64)
    np.testing.assert_allclose(found, narrow, rtol=tolerance, atol=tolerance)
    return True


def assert_same(results: list[Array], expected: list[Array]) -> None:
    """What the graph computes is what ONNX says the operator does."""
    for result, wanted in zip(results, expected, strict=True):
        tolerance = 2e-2 if wanted.dtype.itemsize < 4 else 1e-4
        np.testing.assert_allclose(
            result.astype(np.float64),
            wanted.astype(np.float64),
            rtol=10 * tolerance,
            atol=tolerance,
        )


def assert_close(found: Array, expected: Array) -> None:
    """Two gradients agree up to single precision, wherever the second is finite."""
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=1e-2)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[finite], expected[finite], rtol=2e-3, atol=2e-4 * scale)
