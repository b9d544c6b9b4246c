"""From a request to its attribution: one gradient after another, until somebody says stop."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

from unitscope.ascent.attribution import METHODS, Method, Options
from unitscope.ascent.parameterizations import Array
from unitscope.engine.attribution import AttributeRequest, Attribution, Completeness
from unitscope.engine.given_image import read_image
from unitscope.engine.heat_map import heat_map, overlay
from unitscope.engine.job import top_classes
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.picture import encode
from unitscope.engine.plan import check_position
from unitscope.engine.score import Score
from unitscope.errors import Cancelled, DeadGradient, NotFinite
from unitscope.graph.card import Card


def attribute(
    request: AttributeRequest, model: LoadedModel, is_wanted: Callable[[], bool]
) -> Attribution:
    """Do what is asked; `is_wanted` is looked at before each gradient.

    Raises InvalidRequest, NotFound, ModelRejected, NotFinite, DeadGradient where the gradient is
    zero on the whole picture, or Cancelled when it is wanted no longer.
    """
    started = time.monotonic()
    options, method = request.options(), METHODS[request.method]
    layer, card = model.find_layer(request.layer), model.subject.card
    check_position(request.position, layer)
    unit = model.find_unit(layer, request.unit)
    picture = _picture(request.image, card)
    score = Score(model, layer, unit, request.position)
    values = _values(method, options, picture, score, is_wanted)
    activation, logits = score.on(picture)
    completeness = None
    if method.is_complete:
        completeness = _completeness(values, activation, score, options.baseline)
    heat = heat_map(values)
    preprocessing = model.info.preprocessing
    assert preprocessing is not None
    return Attribution(
        model=model.info.name,
        model_version=model.info.version,
        model_sha256=model.info.sha256,
        layer=layer.name,
        tensor=layer.tensor,
        unit=unit,
        label=model.label_of(layer, unit),
        method=request.method,
        samples=options.samples,
        noise=options.noise if "noise" in method.defaults else None,
        seed=options.seed if "seed" in method.defaults else None,
        baseline=options.baseline if "baseline" in method.defaults else None,
        activation=activation,
        completeness=completeness,
        top_classes=top_classes(logits, model.labels),
        values_npy=encode(values, "npy"),
        heat_map=encode(heat, "png"),
        overlay=encode(overlay(picture, heat), "png"),
        width_px=card.width_px,
        height_px=card.height_px,
        running_seconds=time.monotonic() - started,
        preprocessing=preprocessing,
    )


def _picture(content: bytes, card: Card) -> Array:
    """The given image `[C, H, W]` in 0..1, as large as the model's input."""
    pixels = read_image("image", content, len(card.channels), card.height_px, card.width_px)
    return np.asarray(pixels / 255, np.float32)


def _values(
    method: Method, options: Options, picture: Array, score: Score, is_wanted: Callable[[], bool]
) -> Array:
    def gradient(point: Array) -> Array:
        if not is_wanted():
            raise Cancelled("the request was cancelled")
        return score.gradient(point)

    mean = method.mean_gradient(picture, options, gradient)
    if not np.isfinite(mean).all():
        raise NotFinite(f"the gradient of {score.name} overflows on this picture")
    if not mean.any():
        raise DeadGradient(
            f"the gradient of {score.name} is zero on this picture; try the layer before the "
            "activation"
        )
    return np.asarray(mean * method.factor(picture, options), np.float32)


def _completeness(values: Array, activation: float, score: Score, baseline: float) -> Completeness:
    on_baseline, _ = score.on(np.full_like(values, baseline))
    rise = activation - on_baseline
    gap = float(values.sum(dtype=np.float64)) - rise
    return Completeness(on_baseline, gap, abs(gap / rise) if rise else None)
