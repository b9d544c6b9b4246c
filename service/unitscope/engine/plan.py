"""From what was asked to what will be done: every check and every default, before any work."""

from __future__ import annotations

import math
import uuid
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import get_args

from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.program import ProgramSpec
from unitscope.ascent.transforms import TRANSFORMS
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import resized
from unitscope.engine.request import Accepted, ImageFormat, MaximizeRequest
from unitscope.errors import InvalidRequest
from unitscope.graph.card import Card
from unitscope.graph.layers import Layer

MIN_IMAGE_SIZE_PX = 8
MAX_SIDE_PX = 8192
"""Of the longer side, which a request does not state: Fourier's basis takes its square."""
_MAX_SEED = 2**63 - 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The most a single request may ask for."""

    max_steps: int = 4096
    max_image_size_px: int = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A request with everything resolved."""

    request: MaximizeRequest
    request_id: str
    model: LoadedModel
    layer: Layer
    unit: int
    label: str
    learning_rate: float
    spec: ProgramSpec

    def accepted(self) -> Accepted:
        """What the caller is told first."""
        return Accepted(
            request_id=self.request_id,
            model=self.model.info.name,
            tensor=self.layer.tensor,
            unit=self.unit,
            label=self.label,
            steps=self.request.steps,
            image_width_px=self.spec.image.width_px,
            image_height_px=self.spec.image.height_px,
        )


def check(request: MaximizeRequest, limits: Limits) -> None:
    """Check what can be checked without the model; raises InvalidRequest naming the field."""
    _within("steps", request.steps, 1, limits.max_steps)
    _within("seed", request.seed, 0, _MAX_SEED)
    if request.image_size_px is not None:
        _within("image_size_px", request.image_size_px, MIN_IMAGE_SIZE_PX, limits.max_image_size_px)
    rate = request.learning_rate
    if rate is not None and not (math.isfinite(rate) and rate > 0):
        raise InvalidRequest("learning_rate", rate, "a finite number above 0")
    _within("preview_every_steps", request.preview_every_steps, 0, limits.max_steps)
    _one_of("parameterization", request.parameterization, PARAMETERIZATIONS)
    _one_of("optimizer", request.optimizer, OPTIMIZERS)
    _one_of("image_format", request.image_format, get_args(ImageFormat))
    for name in request.transforms:
        _one_of("transforms", name, TRANSFORMS)


def resolve(request: MaximizeRequest, model: LoadedModel) -> Plan:
    """Find layer and unit and settle the defaults; raises NotFound or InvalidRequest."""
    image = _image(request, model.subject.card)
    if model.info.resizable:
        model = resized(model, image.height_px, image.width_px)
    card = model.subject.card
    layer = model.find_layer(request.layer)
    unit = model.find_unit(layer, request.unit)
    _check_position(request.position, layer)
    spec = ProgramSpec(
        subject=model.subject,
        logits=model.info.logits_tensor,
        layer=layer,
        image=image,
        objective="channel" if request.position is None else "neuron",
        parameterization=request.parameterization,
        optimizer=request.optimizer,
        views=bool(request.transforms)
        or (image.height_px, image.width_px) != (card.height_px, card.width_px),
    )
    rate = request.learning_rate
    return Plan(
        request=request,
        request_id=request.request_id or str(uuid.uuid4()),
        model=model,
        layer=layer,
        unit=unit,
        label=model.label_of(layer, unit),
        learning_rate=OPTIMIZERS[request.optimizer].learning_rate if rate is None else rate,
        spec=spec,
    )


def _image(request: MaximizeRequest, card: Card) -> ImageSpec:
    """A picture of the model's proportions; the request says how long its shorter side is."""
    shorter = min(card.height_px, card.width_px)
    scale = (request.image_size_px or shorter) / shorter
    height, width = round(card.height_px * scale), round(card.width_px * scale)
    if max(height, width) > MAX_SIDE_PX:
        expected = f"a picture of at most {MAX_SIDE_PX} pixels a side, not {height}×{width}"
        raise InvalidRequest("image_size_px", request.image_size_px, expected)
    return ImageSpec(len(card.channels), height, width)


def _check_position(position: tuple[int, int] | None, layer: Layer) -> None:
    if position is None:
        return
    if len(layer.shape) != 3:
        raise InvalidRequest(
            "position", position, f"none: layer {layer.name!r} is not a map of units"
        )
    height, width = (dim for axis, dim in enumerate(layer.shape) if axis != layer.unit_axis)
    x, y = position
    if not (0 <= x < int(width) and 0 <= y < int(height)):
        raise InvalidRequest(
            "position", position, f"x in 0..{int(width) - 1} and y in 0..{int(height) - 1}"
        )


def _within(field: str, got: int, low: int, high: int) -> None:
    if not low <= got <= high:
        raise InvalidRequest(field, got, f"a whole number in {low}..{high}")


def _one_of(field: str, got: str, known: Collection[str] | Sequence[str]) -> None:
    if got not in known:
        raise InvalidRequest(field, got, f"one of {', '.join(known)}")
