"""What is climbed: a score for every unit of a layer, and a weight for each score.

The graph computes scores `[N, K]`; a request is a row of weights over them. One weight of 1 is a
single unit; more weights are a direction, without another graph.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.layers import Layer
from unitscope.registry import Registry

Objective = Callable[[Emitter, Value, Layer], Value]
"""Emits scores `[N, K]` from an activation `[N, *layer.shape]`."""

OBJECTIVES: Registry[Objective] = Registry("objective")


def _channel(op: Emitter, activation: Value, layer: Layer) -> Value:
    """One score per unit: its mean over all positions (over nothing for a vector: the logits)."""
    others = [axis + 1 for axis in range(len(layer.shape)) if axis != layer.unit_axis]
    return op.ReduceMean(activation, others, keepdims=0) if others else activation


def _neuron(op: Emitter, activation: Value, layer: Layer) -> Value:
    """One score per element of the layer."""
    return op.Flatten(activation, axis=1)


OBJECTIVES.add("channel", _channel)
OBJECTIVES.add("neuron", _neuron)


def score_index(layer: Layer, unit: int, position: tuple[int, int] | None) -> int:
    """Which score is `unit`'s: for the channel objective, or at (x, y) for the neuron objective."""
    if position is None:
        return unit
    x, y = position
    return int(np.ravel_multi_index((unit, y, x), [int(dim) for dim in layer.shape]))


def unit_scores(layer: Layer, scores: np.ndarray, position: tuple[int, int] | None) -> np.ndarray:
    """The scores `[units]` of all units of the layer, where `position` says."""
    if position is None:
        return scores
    x, y = position
    return scores.reshape([int(dim) for dim in layer.shape])[:, y, x]
