"""What a program is fed: the rows that requests differ in, for an ascent and for each step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.ascent.optimizers import SCHEDULES
from unitscope.ascent.parameterizations import Array
from unitscope.ascent.presets import Recipe, Regularizer
from unitscope.ascent.prior import Prior
from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.transforms import Transform, blur_kernel, draw


def fixed_inputs(
    spec: ProgramSpec,
    recipe: Recipe,
    prior: Prior,
    weights: Sequence[np.ndarray],
    target: float | None,
    unlike: np.ndarray | None = None,
) -> dict[str, Array]:
    """What stays the same over all steps of one request, by the name of the input, `[1, …]`."""
    fixed = prior.rows(spec.parameterization, spec.image)
    fixed |= {f"weights_{index}": _row(row) for index, row in enumerate(weights)}
    fixed |= {f"penalty_{used.name}": _row(used.strength) for used in recipe.penalties}
    given = {"target": target, "unlike": unlike}
    return fixed | {name: _row(row) for name, row in given.items() if row is not None}


def step_inputs(
    spec: ProgramSpec, recipe: Recipe, seed: int, step: int, *, before: int = 0
) -> dict[str, Array]:
    """What is fed for the step number `step`, from 1: the seed and the step decide it alone.

    `before`: the steps done when the optimizer's state was new.
    """
    rate = recipe.learning_rate * SCHEDULES[recipe.schedule]((step - 1) / recipe.steps)
    transforms, besides = recipe.transforms, _besides(spec, recipe)
    if recipe.opening is not None and step <= opening_steps(spec, recipe):
        rate, transforms, besides = recipe.opening.rate * rate, (), dict.fromkeys(besides, 0.0)
    given = {"step": _row(step - before), "learning_rate": _row(rate)}
    given |= {name: _row(strength) for name, strength in besides.items()}
    given |= {f"constraint_{used.name}": _row(_due(used, step)) for used in recipe.constraints}
    return given | _views(spec, transforms, np.random.default_rng((seed, step)))


def opening_steps(spec: ProgramSpec, recipe: Recipe) -> int:
    """How many steps the opening takes; 0 where there is none."""
    if recipe.opening is None or not _besides(spec, recipe):
        return 0
    return int(recipe.opening.share * recipe.steps)


def _besides(spec: ProgramSpec, recipe: Recipe) -> dict[str, float]:
    """What counts besides the score, and how much."""
    besides = {"selectivity": recipe.selectivity} if spec.selective else {}
    return besides | ({} if spec.features is None else {"purity": recipe.purity})


def _views(
    spec: ProgramSpec, transforms: Sequence[Transform], rng: np.random.Generator
) -> dict[str, Array]:
    if not spec.views:
        return {}
    height, width = spec.image.height_px, spec.image.width_px
    views = [draw(transforms, rng, height, width) for _ in range(spec.views)]
    given = {"matrices": np.stack([view.matrix for view in views])}
    if "blur" in spec.filters:
        shorter = min(spec.seen_px)
        given["blur"] = np.stack([blur_kernel(view.blur, shorter) for view in views])
    if "noise" in spec.filters:
        shape = (spec.views, spec.image.channels, *spec.seen_px)
        noise = rng.standard_normal(shape, np.float32)
        noise *= np.asarray([view.noise for view in views], np.float32)[:, None, None, None]
        given["noise"] = noise
    return given


def _due(regularizer: Regularizer, step: int) -> float:
    """Its strength, or 0 between the steps it holds after."""
    return regularizer.strength if step % regularizer.every_steps == 0 else 0.0


def _row(content: float | np.ndarray) -> Array:
    return np.asarray(content, np.float32)[None]
