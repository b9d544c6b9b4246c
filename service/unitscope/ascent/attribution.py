"""Attribution: which pixels of a given picture a unit's activation depends on.

Every method is the mean gradient at some pictures, times a factor.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from unitscope.ascent.objectives import one_hot
from unitscope.ascent.parameterizations import Array
from unitscope.graph.layers import Layer
from unitscope.registry import Registry

RANGES: Mapping[str, tuple[float, float]] = {
    "samples": (1, 256),
    "noise": (0, 1),
    "seed": (0, 2**63 - 1),
    "baseline": (0, 1),
}
"""Least and most of each field of `Options`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What a method can be told.

    `samples`: pictures at which the gradient is taken. `noise`: standard deviation, as a share of
    the span of the picture's values. `seed`: of the noise. `baseline`: grey level where the way to
    the picture begins, 0 black, 1 white.
    """

    samples: int = 1
    noise: float = 0.0
    seed: int = 0
    baseline: float = 0.0


@dataclass(frozen=True, slots=True)
class Method:
    """Attribution = factor · mean of the gradients at `points`.

    `points`: picture `[C, H, W]` in 0..1 → as many pictures as the options have samples. `factor`:
    a number or `[C, H, W]`. `defaults`: the options that the method takes. `is_complete`: the sum
    should be score(picture) − score(baseline).
    """

    points: Callable[[Array, Options], Iterator[Array]]
    factor: Callable[[Array, Options], Array | float]
    defaults: Mapping[str, Any] = field(default_factory=dict)
    is_complete: bool = False

    def mean_gradient(
        self, picture: Array, options: Options, gradient: Callable[[Array], Array]
    ) -> np.ndarray:
        """The mean of what `gradient` gives at the points `[C, H, W]`, float64."""
        total = np.zeros(picture.shape)
        for point in self.points(picture, options):
            with np.errstate(invalid="ignore"):  # what is not finite stays so, and is looked for
                total += gradient(point)
        return total / options.samples


METHODS: Registry[Method] = Registry("method")


def _itself(picture: Array, options: Options) -> Iterator[Array]:
    yield picture


def _noisy(picture: Array, options: Options) -> Iterator[Array]:
    """picture + N(0, (noise · span)²)"""
    rng = np.random.default_rng(options.seed)
    deviation = options.noise * float(np.ptp(picture))
    for _ in range(options.samples):
        yield picture + deviation * rng.standard_normal(picture.shape, np.float32)


def _way(picture: Array, options: Options) -> Iterator[Array]:
    """baseline + t · (picture − baseline), t in the middle of each part of 0..1"""
    for index in range(options.samples):
        share = (index + 0.5) / options.samples
        yield options.baseline + share * (picture - options.baseline)


def _one(picture: Array, options: Options) -> float:
    return 1.0


def _picture(picture: Array, options: Options) -> Array:
    return picture


def _length(picture: Array, options: Options) -> Array:
    return picture - options.baseline


METHODS.add("gradient", Method(_itself, _one))
METHODS.add("gradient_times_input", Method(_itself, _picture))
METHODS.add("smoothgrad", Method(_noisy, _one, {"samples": 50, "noise": 0.15, "seed": 0}))
METHODS.add(
    "integrated_gradients",
    Method(_way, _length, {"samples": 64, "baseline": 0.0}, is_complete=True),
)


def score_weights(layer: Layer, unit: int, position: tuple[int, int] | None) -> np.ndarray:
    """∂score/∂layer `[*layer.shape]`: of the unit's mean over its map, or its neuron at `position`.

    The score is the sum of the layer times these.
    """
    shape = [int(dim) for dim in layer.shape]
    weights = one_hot(layer, unit, position)
    if position is not None:
        return weights.reshape(shape)
    places = np.prod(shape) // layer.unit_count
    along = [layer.unit_count if axis == layer.unit_axis else 1 for axis in range(len(shape))]
    return np.broadcast_to(weights.reshape(along) / places, shape)
