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


def one_hot(layer: Layer, unit: int, position: tuple[int, int] | None) -> np.ndarray:
    """Weights `[K]` that climb one unit: its channel, or the neuron at `position` (x, y)."""
    if position is None:
        return np.eye(1, layer.unit_count, unit, dtype=np.float32).ravel()
    x, y = position
    weights = np.zeros([int(dim) for dim in layer.shape], np.float32)
    np.moveaxis(weights, layer.unit_axis, 0)[unit, y, x] = 1.0
    return weights.ravel()


def unit_scores(layer: Layer, scores: np.ndarray, position: tuple[int, int] | None) -> np.ndarray:
    """Of scores `[K]`, one per unit `[units]`: the channels', or those at `position`."""
    if position is None:
        return scores
    x, y = position
    maps = scores.reshape([int(dim) for dim in layer.shape])
    return np.moveaxis(maps, layer.unit_axis, 0)[:, y, x]
