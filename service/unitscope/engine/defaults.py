"""A request with its defaults stated: what asks for the same is then the same."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from unitscope.ascent.presets import Recipe
from unitscope.ascent.transforms import Transform, range_of
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.plain import from_plain, to_plain
from unitscope.engine.request import MaximizeRequest, Term

T = TypeVar("T", bound=Term)

_RECIPE = {known.name for known in fields(Recipe)} & {own.name for own in fields(MaximizeRequest)}


def state_defaults(request: MaximizeRequest, info: ModelInfo) -> MaximizeRequest:
    """A valid `request` to the model of `info`, asking for the same, with its defaults stated.

    A size that is the model's is not: it may be outside the limits of sizes that are asked for. A
    label or the friendly name of a layer stays as it is. Where a caller wrote 1 for 1.0, it is 1.0.
    """
    recipe = request.recipe()
    given: dict[str, Any] = {name: getattr(recipe, name) for name in _RECIPE}
    given["transforms"] = tuple(Transform(used.name, *range_of(used)) for used in recipe.transforms)
    if request.image_size_px == _own_size(info):
        given["image_size_px"] = None
    terms = tuple(_term(term, info) for term in request.terms)
    given |= {"model": info.name, "model_version": info.version, "terms": terms}
    stated = replace(_term(request, info), **given)
    exact: MaximizeRequest = from_plain(MaximizeRequest, to_plain(stated), "request")
    return exact


def _own_size(info: ModelInfo) -> int | None:
    """The size that nobody needs to ask for; None for a model of any size."""
    if info.resizable or info.preprocessing is None:
        return None
    return min(info.preprocessing.height_px, info.preprocessing.width_px)


def _term(term: T, info: ModelInfo) -> T:
    """A neuron's objective has no name that a request may say."""
    usual = "channel" if term.position is None else ""
    return replace(term, layer=term.layer or info.logits_tensor, objective=term.objective or usual)
