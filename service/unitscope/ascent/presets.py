"""Recipes by name: the published systems, on any model, and our own.

Where a system's step is counted in its model's gradient, ours is counted in pixels that move (the
gradient has a root mean square of 1), so that it climbs on every model; sizes in pixels are
those of its 224 px picture, as shares of it. Pixels run from 0 to 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from unitscope.ascent.parameterizations import PARAMETERIZATIONS, Array, ImageSpec
from unitscope.ascent.transforms import Transform
from unitscope.registry import Registry

_SIDE_PX = 224


@dataclass(frozen=True, slots=True)
class Start:
    """Where parameters begin: drawn around `first` with the standard deviation `second`, or
    between the two.
    """

    first: float
    second: float
    distribution: Literal["normal", "uniform"] = "normal"

    def draw(self, seed: int, parameterization: str, image: ImageSpec) -> Array:
        """Parameters of one image; the same for the same seed."""
        rng = np.random.default_rng(seed)
        shape = PARAMETERIZATIONS[parameterization].shape(image)
        if self.distribution == "uniform":
            return rng.uniform(self.first, self.second, shape).astype(np.float32)
        noise = rng.standard_normal(shape, np.float32)
        return np.asarray(self.first + self.second * noise, np.float32)


@dataclass(frozen=True, slots=True)
class Regularizer:
    """The penalty or constraint `name` with its strength; a constraint holds after every
    `every_steps`-th step.
    """

    name: str
    strength: float
    every_steps: int = 1


@dataclass(frozen=True, slots=True)
class Opening:
    """The first steps, a `share` of them: for the score alone, on the whole picture as it is, at
    `rate` times the learning rate. Then a share `contrast` of the picture's contrast is kept.
    """

    share: float
    rate: float
    contrast: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How to climb.

    `colors`: they are mixed from decorrelated ones, as they are in "imagenet" or in the request's
    "images", or from "none". `spectrum`: of maco, "natural" (1/f), "imagenet" (that of its images,
    steeper) or of the request's "images". `views`: random looks in every step; the gradient is
    their mean. `purity`: how much it counts that the picture has few features besides a class's
    own; its score is divided by this power of the norm of the features that it is a linear map of
    (see `objectives.log_response`). `selectivity`: how much it counts, where that is not done, that
    a class stands out among all; its score is climbed times this power of its correlation (see
    `objectives.log_correlation`). `opening`: where one of these counts, it does so after
    that: what the unit prefers is there early, and is drawn anew on its faint traces. `octaves`:
    the picture is climbed at so many sizes, the smallest first, each `octave_scale` times the one
    before. `stretched`: the finished picture is shown with a standard deviation of 0.1 around
    mid-grey.
    """

    steps: int
    parameterization: str = "fourier"
    colors: str = "imagenet"
    spectrum: str = "natural"
    start: Start = Start(0.0, 0.01)
    transforms: tuple[Transform, ...] = ()
    views: int = 1
    purity: float = 0.0
    selectivity: float = 0.0
    opening: Opening | None = None
    optimizer: str = "adam"
    learning_rate: float = 0.05
    schedule: str = "constant"
    penalties: tuple[Regularizer, ...] = ()
    constraints: tuple[Regularizer, ...] = ()
    octaves: int = 1
    octave_scale: float = 1.4
    stretched: bool = False


PRESETS: Registry[Recipe] = Registry("preset")


def _still(name: str, value: float) -> Transform:
    """A transform that is as strong every time."""
    return Transform(name, value, value)


PRESETS.add(
    "unitscope",
    Recipe(
        steps=224,
        transforms=(
            Transform("crop", 0.4, 1.1),
            Transform("jitter", 0.025, 0.025),
            Transform("stretch"),
            Transform("rotate"),
            Transform("flip"),
        ),
        purity=0.9,
        selectivity=3.0,
        opening=Opening(share=0.1875, rate=5.5, contrast=0.1),
        learning_rate=0.03,
    ),
)
PRESETS.add(  # hidden units of multi-layer perceptrons; the norm of the picture is fixed
    "erhan2009",
    Recipe(
        steps=200,
        parameterization="pixel",
        colors="none",
        start=Start(-0.5, 0.5, "uniform"),
        optimizer="gradient_ascent",
        learning_rate=0.05,
        constraints=(Regularizer("norm", 0.25),),
    ),
)
PRESETS.add(  # class scores, from the mean image
    "simonyan2013",
    Recipe(
        steps=200,
        parameterization="pixel",
        colors="none",
        start=Start(0.0, 0.0),
        optimizer="gradient_ascent",
        learning_rate=0.003,
        penalties=(Regularizer("l2", 0.1),),
    ),
)
PRESETS.add(  # Mordvintsev, Olah and Tyka 2015; google/deepdream
    "inceptionism",
    Recipe(
        steps=40,
        parameterization="pixel",
        colors="none",
        start=Start(0.0, 0.04),
        transforms=(_still("jitter", 32 / _SIDE_PX),),
        optimizer="gradient_ascent",
        learning_rate=1.9 / 255,
        octaves=4,
    ),
)
PRESETS.add(  # Yosinski et al. 2015; deep-visualization-toolbox
    "yosinski2015",
    Recipe(
        steps=1000,
        parameterization="pixel",
        colors="none",
        start=Start(0.0, 10 / 255),
        optimizer="gradient_ascent",
        learning_rate=0.02,
        constraints=(Regularizer("decay", 1e-4), Regularizer("blur", 1.0, every_steps=4)),
    ),
)
PRESETS.add(  # "How convolutional neural networks see the world", 2016
    "keras-blog",
    Recipe(
        steps=20,
        parameterization="pixel",
        colors="none",
        start=Start(0.0, 20 / 255, "uniform"),
        optimizer="gradient_ascent",
        learning_rate=1 / 255,
        stretched=True,  # as both sources show their pictures
    ),
)
PRESETS.add("cnn-visual-tensorflow", replace(PRESETS["keras-blog"], steps=40))
PRESETS.add(  # Olah, Mordvintsev and Schubert 2017
    "lucid",
    Recipe(
        steps=512,
        transforms=(  # theirs begin with a margin of 12 px, and the network sees a larger picture
            _still("jitter", 8 / _SIDE_PX),
            Transform("scale", 0.9, 1.1),
            _still("rotate", 10),
            _still("jitter", 4 / _SIDE_PX),
        ),
    ),
)
PRESETS.add(  # Fel et al. 2023
    "maco",
    Recipe(
        steps=256,
        parameterization="maco",
        start=Start(-np.pi, np.pi, "uniform"),
        transforms=(Transform("crop", 0.05, 0.5), _still("noise", 0.08)),
        views=32,
        optimizer="nadam",
        learning_rate=0.1,  # theirs is 1 of phases divided by their deviation, which grows
    ),
)
