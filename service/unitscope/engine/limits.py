"""What a request may ask for, checked without the model."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from typing import get_args

from unitscope.ascent.objectives import OBJECTIVES
from unitscope.ascent.optimizers import OPTIMIZERS, SCHEDULES
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.presets import PRESETS, Recipe, Regularizer
from unitscope.ascent.prior import COLORS, SPECTRA
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.transforms import TRANSFORMS, range_of
from unitscope.engine.request import ImageFormat, MaximizeRequest, Term
from unitscope.errors import InvalidRequest

MIN_IMAGE_SIZE_PX = 8
MAX_TERMS = 8
MAX_VIEWS = 64
MAX_ATTEMPTS = 16
MAX_OCTAVES = 8
MAX_NATURAL_IMAGES = 64
MAX_UNLIKE = 16
_MAX_TRANSFORMS = 16
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most a single request may ask for."""

    max_steps: int = 4096
    max_image_size_px: int = 1024


def check(request: MaximizeRequest, limits: Limits) -> None:
    """Check what can be checked without the model; raises InvalidRequest naming the field."""
    _one_of("preset", request.preset, PRESETS)
    for field, known in (
        ("parameterization", PARAMETERIZATIONS),
        ("optimizer", OPTIMIZERS),
        ("schedule", SCHEDULES),
        ("colors", COLORS),
        ("spectrum", SPECTRA),
    ):
        if getattr(request, field) is not None:
            _one_of(field, getattr(request, field), known)
    _one_of("image_format", request.image_format, get_args(ImageFormat))
    if request.transparent and request.image_format == "jpeg":
        raise InvalidRequest("image_format", "jpeg", "png, webp or npy for a transparent picture")
    if request.image_size_px is not None:
        _within("image_size_px", request.image_size_px, MIN_IMAGE_SIZE_PX, limits.max_image_size_px)
    _within("preview_every_steps", request.preview_every_steps, 0, limits.max_steps)
    if request.target is not None:
        _finite("target", request.target)
    _check_unlike(request)
    recipe = request.recipe()
    _check_recipe(recipe, limits)
    _check_attempts(request, recipe, limits)
    _check_natural_images(request, recipe)
    if len(request.terms) >= MAX_TERMS:
        raise InvalidRequest("terms", f"{len(request.terms)} terms", f"at most {MAX_TERMS - 1}")
    for term in (request, *request.terms):
        _check_term(term)


def _check_recipe(recipe: Recipe, limits: Limits) -> None:
    _within("steps", recipe.steps, 1, limits.max_steps)
    _within("views", recipe.views, 1, MAX_VIEWS)
    _within("octaves", recipe.octaves, 1, MAX_OCTAVES)
    if not (math.isfinite(recipe.learning_rate) and recipe.learning_rate > 0):
        raise InvalidRequest("learning_rate", recipe.learning_rate, "a finite number above 0")
    if len(recipe.transforms) > _MAX_TRANSFORMS:
        raise InvalidRequest(
            "transforms", f"{len(recipe.transforms)} transforms", f"at most {_MAX_TRANSFORMS}"
        )
    for transform in recipe.transforms:
        _one_of("transforms", transform.name, TRANSFORMS)
        low, high = range_of(transform)
        least, most = TRANSFORMS[transform.name].bounds
        if not least <= low <= high <= most:
            expected = f"{least:g} ≤ low ≤ high ≤ {most:g}"
            raise InvalidRequest("transforms", f"{transform.name} {low:g}..{high:g}", expected)
    _check_regularizers("penalties", recipe.penalties, PENALTIES)
    _check_regularizers("constraints", recipe.constraints, CONSTRAINTS)
    on_pixels = PARAMETERIZATIONS[recipe.parameterization].is_raw and recipe.colors == "none"
    if recipe.constraints and not on_pixels:
        raise InvalidRequest(
            "constraints",
            ", ".join(used.name for used in recipe.constraints),
            "none, except with the parameterization pixel and colors none",
        )


def _check_attempts(request: MaximizeRequest, recipe: Recipe, limits: Limits) -> None:
    """That every attempt has a seed, and all together no more steps than may be."""
    _within("attempts", request.attempts, 1, MAX_ATTEMPTS)
    _within("seed", request.seed, 0, _MAX_SEED - request.attempts + 1)
    if request.patience_steps is not None:
        _within("patience_steps", request.patience_steps, 1, limits.max_steps)
    if request.attempts * recipe.steps > limits.max_steps:
        expected = f"at most {limits.max_steps} steps in all, not {recipe.steps} each"
        raise InvalidRequest("attempts", request.attempts, expected)


def _check_unlike(request: MaximizeRequest) -> None:
    if len(request.unlike) > MAX_UNLIKE:
        raise InvalidRequest("unlike", f"{len(request.unlike)} images", f"at most {MAX_UNLIKE}")
    if not (math.isfinite(request.diversity) and request.diversity >= 0):
        raise InvalidRequest("diversity", request.diversity, "a finite number of 0 or more")


def _check_natural_images(request: MaximizeRequest, recipe: Recipe) -> None:
    """That there are as many as may be, and some where something is computed from them."""
    count = len(request.natural_images)
    if count > MAX_NATURAL_IMAGES:
        expected = f"at most {MAX_NATURAL_IMAGES}"
        raise InvalidRequest("natural_images", f"{count} images", expected)
    known = [name for name, found in PARAMETERIZATIONS.items() if found.has_spectrum]
    if recipe.spectrum == "images" and recipe.parameterization not in known:
        expected = f"natural, except with the parameterization {', '.join(known)}"
        raise InvalidRequest("spectrum", recipe.spectrum, expected)
    for field in ("colors", "spectrum"):
        if getattr(recipe, field) == "images" and not count:
            raise InvalidRequest(field, "images", "natural_images to compute it from")


def _check_regularizers(field: str, used: tuple[Regularizer, ...], known: Collection[str]) -> None:
    for regularizer in used:
        _one_of(field, regularizer.name, known)
        _finite(field, regularizer.strength)
        if regularizer.strength < 0:
            raise InvalidRequest(field, regularizer.strength, "a strength of 0 or more")
        _within(field, regularizer.every_steps, 1, 1 << 20)
    names = [regularizer.name for regularizer in used]
    if len(set(names)) < len(names):
        raise InvalidRequest(field, ", ".join(names), "each name once")


def _check_term(term: Term) -> None:
    """That the term has what its objective needs, and nothing it would ignore."""
    _finite("weight", term.weight)
    for number in term.direction:
        _finite("direction", number)
    kind = term.objective or "channel"
    if kind not in OBJECTIVES or kind == "neuron":
        known = [name for name in OBJECTIVES if name != "neuron"]
        raise InvalidRequest("objective", kind, f"one of {', '.join(known)}")
    needed = _needed(kind)
    given = {"unit": term.unit is not None, "direction": bool(term.direction)}
    given |= {"reference": bool(term.reference)}
    names = [name for name, is_given in given.items() if is_given]
    if len(names) > 1 or (needed and not names) or set(names) - set(needed):
        expected = " or ".join(f"a {name}" for name in needed) or "no unit"
        got = " and ".join(names) or None
        raise InvalidRequest("unit", got, f"{expected} for the objective {kind}")
    if term.position is not None and kind != "channel":
        raise InvalidRequest("position", term.position, f"none for the objective {kind}")


def _needed(kind: str) -> tuple[str, ...]:
    """What a term must say, one of these."""
    if OBJECTIVES[kind].of_image:
        return ("reference",)
    return () if kind == "layer" else ("unit", "direction")


def _finite(field: str, got: float) -> None:
    if not math.isfinite(got):
        raise InvalidRequest(field, got, "a finite number")


def _within(field: str, got: int, low: int, high: int) -> None:
    if not low <= got <= high:
        raise InvalidRequest(field, got, f"a whole number in {low}..{high}")


def _one_of(field: str, got: str, known: Collection[str]) -> None:
    if got not in known:
        raise InvalidRequest(field, got, f"one of {', '.join(known)}")
