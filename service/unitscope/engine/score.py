"""The score of a unit on a picture and its gradient, compiled once for a layer."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.ascent.attribution import score_weights
from unitscope.ascent.parameterizations import Array
from unitscope.ascent.probe import build_probe
from unitscope.ascent.subject import Subject, build_forward
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.session import Session
from unitscope.errors import ModelRejected
from unitscope.graph.layers import Layer

_KEPT = 4
"""Layers whose gradient is kept compiled, the least recently used one leaves first."""


@dataclass(frozen=True, slots=True)
class _Compiled:
    """`forward`: picture → the layer, and the logits where they are another tensor."""

    forward: Session
    gradient: Session
    layer_shape: tuple[int, ...]
    layer_type: np.dtype[Any]


@functools.lru_cache(maxsize=_KEPT)
def _compile(subject: Subject, tensor: str, logits: str) -> _Compiled:
    probe = build_probe(subject, tensor)
    forward = build_forward(subject, 1, list(dict.fromkeys([tensor, logits])))
    return _Compiled(Session(forward), Session(probe.gradient), probe.layer_shape, probe.layer_type)


def forget_scores() -> None:
    """Keep none compiled: of models that have left, they would hold the weights."""
    _compile.cache_clear()


class Score:
    """The activation of a unit: the mean over its map, or its neuron at `position`.

    One picture is looked at at a time: on a processor several together take as long and more
    memory, and every model takes one. Raises ModelRejected where the layer cannot be compiled or
    has no shape of its own.
    """

    def __init__(
        self, model: LoadedModel, layer: Layer, unit: int, position: tuple[int, int] | None
    ) -> None:
        self.name = f"unit {unit} of layer {layer.name!r}"
        if not all(isinstance(dim, int) for dim in layer.shape):
            raise ModelRejected(f"layer {layer.name!r} changes its shape with the picture")
        self._compiled = _compile(model.subject, layer.tensor, model.info.logits_tensor)
        weights = score_weights(layer, unit, position).reshape(self._compiled.layer_shape)
        self._weights = weights.astype(self._compiled.layer_type)

    def on(self, picture: Array) -> tuple[float, np.ndarray]:
        """The score on a picture `[C, H, W]`, and the model's logits `[classes]`."""
        layer, *others = self._compiled.forward.run(picture[None])
        score = float(np.sum(layer[:1] * self._weights, dtype=np.float64))
        logits = others[0] if others else layer
        return score, logits[0].ravel()

    def gradient(self, picture: Array) -> Array:
        """∂score/∂picture `[C, H, W]`."""
        gradient: Array = self._compiled.gradient.run(picture[None], self._weights)[1][0]
        return gradient
