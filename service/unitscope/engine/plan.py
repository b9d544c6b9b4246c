"""From what was asked to what will be done: every default, before any work."""

from __future__ import annotations

import uuid
from dataclasses import dataclass

import numpy as np

from unitscope.ascent.objectives import OBJECTIVES, one_hot
from unitscope.ascent.parameterizations import ImageSpec
from unitscope.ascent.presets import Recipe
from unitscope.ascent.prior import Prior, prior_of
from unitscope.ascent.spec import ProgramSpec, TermSpec
from unitscope.ascent.transforms import is_affine, turns
from unitscope.engine.given_image import read_image, read_images
from unitscope.engine.limits import MIN_IMAGE_SIZE_PX
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import resized
from unitscope.engine.picture import Pixels
from unitscope.engine.request import Accepted, MaximizeRequest, Term
from unitscope.errors import InvalidRequest
from unitscope.graph.card import Card
from unitscope.graph.layers import Layer

MAX_SIDE_PX = 8192
"""Of the longer side, which a request does not state: Fourier's basis takes its square."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedTerm:
    """A term with everything found.

    `unit`: None where the objective has none. `weights`: `[K]`; None where they are the activation
    on `reference` `[C, H, W]`, times `weight`.
    """

    spec: TermSpec
    unit: int | None
    weight: float
    weights: np.ndarray | None
    reference: Pixels | None


@dataclass(frozen=True, slots=True)
class Stage:
    """So many steps with one program."""

    spec: ProgramSpec
    steps: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request with everything resolved. The first of `terms` is what metrics speak of."""

    request: MaximizeRequest
    request_id: str
    model: LoadedModel
    recipe: Recipe
    terms: tuple[PlannedTerm, ...]
    stages: tuple[Stage, ...]
    label: str
    start: Pixels | None
    natural_images: tuple[Pixels, ...]
    unlike: tuple[Pixels, ...]
    prior: Prior

    @property
    def layer(self) -> Layer:
        """The layer that metrics speak of."""
        return self.terms[0].spec.layer

    @property
    def unit(self) -> int | None:
        """The unit that metrics speak of; None where the objective has none."""
        return self.terms[0].unit

    @property
    def image(self) -> ImageSpec:
        """The finished picture."""
        return self.stages[-1].spec.image

    def accepted(self) -> Accepted:
        """What the caller is told first."""
        return Accepted(
            request_id=self.request_id,
            model=self.model.info.name,
            model_version=self.model.info.version,
            tensor=self.layer.tensor,
            unit=self.unit,
            label=self.label,
            steps=self.recipe.steps * self.request.attempts,
            image_width_px=self.image.width_px,
            image_height_px=self.image.height_px,
        )


def resolve(request: MaximizeRequest, model: LoadedModel) -> Plan:
    """Find layers and units and settle the defaults; raises NotFound or InvalidRequest."""
    recipe = request.recipe()
    image = _image(request, model.subject.card)
    if model.info.resizable:
        model = resized(model, image.height_px, image.width_px)
    card = model.subject.card
    if recipe.views > 1 and not model.info.batchable:
        raise InvalidRequest("views", recipe.views, "1: the model takes one picture at a time")
    terms = tuple(_term(term, model) for term in (request, *request.terms))
    first = terms[0]
    natural_images = read_images("natural_images", request.natural_images, *image.shape)
    seen = len(card.channels), card.height_px, card.width_px
    return Plan(
        request=request,
        request_id=request.request_id or str(uuid.uuid4()),
        model=model,
        recipe=recipe,
        terms=terms,
        stages=_stages(request, recipe, model, image, terms),
        label="" if first.unit is None else model.label_of(first.spec.layer, first.unit),
        start=_given("start_image", request.start_image, card, image),
        natural_images=natural_images,
        unlike=read_images("unlike", request.unlike, *seen),
        prior=prior_of(
            image.channels, colors=recipe.colors, spectrum=recipe.spectrum, images=natural_images
        ),
    )


def _stages(
    request: MaximizeRequest,
    recipe: Recipe,
    model: LoadedModel,
    image: ImageSpec,
    terms: tuple[PlannedTerm, ...],
) -> tuple[Stage, ...]:
    """One per octave, the smallest picture first; the last takes what steps are left over."""
    sizes = [_octave(image, recipe.octave_scale**-back) for back in range(recipe.octaves)][::-1]
    each = recipe.steps // recipe.octaves
    counts = [each] * (len(sizes) - 1) + [recipe.steps - each * (len(sizes) - 1)]
    card = model.subject.card
    features = _features(request, recipe, model, terms)
    filters = sorted({named.name for named in recipe.transforms if not is_affine(named)})
    return tuple(
        Stage(
            ProgramSpec(
                subject=model.subject,
                logits=model.info.logits_tensor,
                terms=tuple(term.spec for term in terms),
                image=size,
                parameterization=recipe.parameterization,
                optimizer=recipe.optimizer,
                views=recipe.views
                if recipe.transforms or size.shape[1:] != (card.height_px, card.width_px)
                else 0,
                turned=turns(recipe.transforms),
                filters=tuple(filters),
                penalties=tuple(used.name for used in recipe.penalties),
                constraints=tuple(used.name for used in recipe.constraints),
                selective=features is None and _is_selective(request, recipe, model, terms),
                features=features,
                targeted=request.target is not None,
                unlike=model.texture_layer(terms[0].spec.layer) if request.unlike else None,
                transparent=request.transparent,
                stretched=recipe.stretched,
            ),
            count,
        )
        for size, count in zip(sizes, counts, strict=True)
        if count
    )


def _features(
    request: MaximizeRequest, recipe: Recipe, model: LoadedModel, terms: tuple[PlannedTerm, ...]
) -> Layer | None:
    """What a class's score is divided by the norm of, if it is and there is one.

    Keeping away from other pictures costs activation, too; both would leave small models less
    than they begin with.
    """
    keeps_away = bool(request.unlike) and request.diversity > 0
    if recipe.purity > 0 and not keeps_away and _is_of_class(request, model, terms):
        return model.features_of(terms[0].spec.layer)
    return None


def _is_selective(
    request: MaximizeRequest, recipe: Recipe, model: LoadedModel, terms: tuple[PlannedTerm, ...]
) -> bool:
    return recipe.selectivity > 0 and _is_of_class(request, model, terms)


def _is_of_class(
    request: MaximizeRequest, model: LoadedModel, terms: tuple[PlannedTerm, ...]
) -> bool:
    """Classes exclude one another; units of other layers, and classes that are added, do not."""
    of_class = TermSpec(terms[0].spec.layer, "channel")
    return (
        request.target is None
        and tuple(term.spec for term in terms) == (of_class,)
        and of_class.layer.tensor == model.info.logits_tensor
    )


def _octave(image: ImageSpec, scale: float) -> ImageSpec:
    height, width = (
        max(round(side * scale), min(side, MIN_IMAGE_SIZE_PX)) for side in image.shape[1:]
    )
    return ImageSpec(image.channels, height, width)


def _image(request: MaximizeRequest, card: Card) -> ImageSpec:
    """A picture of the model's proportions; the request says how long its shorter side is."""
    shorter = min(card.height_px, card.width_px)
    scale = (request.image_size_px or shorter) / shorter
    height, width = round(card.height_px * scale), round(card.width_px * scale)
    if max(height, width) > MAX_SIDE_PX:
        expected = f"a picture of at most {MAX_SIDE_PX} pixels a side, not {height}×{width}"
        raise InvalidRequest("image_size_px", request.image_size_px, expected)
    return ImageSpec(len(card.channels), height, width)


def _term(term: Term, model: LoadedModel) -> PlannedTerm:
    layer = model.find_layer(term.layer)
    check_position(term.position, layer)
    kind = term.objective or ("channel" if term.position is None else "neuron")
    if kind == "probability" and layer.tensor != model.info.logits_tensor:
        expected = f"another one for layer {layer.name!r}: only the logits have probabilities"
        raise InvalidRequest("objective", kind, expected)
    unit = None if term.unit is None else model.find_unit(layer, term.unit)
    card = model.subject.card
    size = ImageSpec(len(card.channels), card.height_px, card.width_px)
    return PlannedTerm(
        spec=TermSpec(layer, kind),
        unit=unit,
        weight=term.weight,
        weights=_weights(term, kind, layer, unit),
        reference=_given("reference", term.reference, card, size),
    )


def _weights(term: Term, kind: str, layer: Layer, unit: int | None) -> np.ndarray | None:
    """The row of weights, unless an image says it."""
    if OBJECTIVES[kind].of_image:
        return None
    if unit is not None:
        return term.weight * one_hot(layer, unit, term.position)
    if not term.direction:
        return np.full(1, term.weight, np.float32)
    if len(term.direction) != layer.unit_count:
        expected = f"{layer.unit_count} numbers, one per unit of layer {layer.name!r}"
        raise InvalidRequest("direction", f"{len(term.direction)} numbers", expected)
    along = np.asarray(term.direction, np.float32)
    if term.position is not None:
        along = sum(
            weight * one_hot(layer, index, term.position) for index, weight in enumerate(along)
        )
    return term.weight * along


def _given(field: str, content: bytes, card: Card, size: ImageSpec) -> Pixels | None:
    """An image that came with the request, if one did."""
    if not content:
        return None
    return read_image(field, content, len(card.channels), size.height_px, size.width_px)


def check_position(position: tuple[int, int] | None, layer: Layer) -> None:
    """Raises InvalidRequest where `layer` has no such place."""
    if position is None:
        return
    places = [int(dim) for axis, dim in enumerate(layer.shape) if axis != layer.unit_axis]
    if len(places) not in (1, 2):
        raise InvalidRequest(
            "position", position, f"none: layer {layer.name!r} is not a map of units"
        )
    height, width = places if len(places) == 2 else (1, places[0])
    x, y = position
    if not (0 <= x < width and 0 <= y < height):
        raise InvalidRequest("position", position, f"x in 0..{width - 1} and y in 0..{height - 1}")
