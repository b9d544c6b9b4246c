"""What is climbed: a number per row, from the activation of a layer and a row of weights.

One weight of 1 is a single unit; more weights are a direction, without another graph.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.layers import Layer
from unitscope.registry import Registry

_LEAST_COSINE = 0.1
"""Lucid's floor: a direction that is still far off is climbed, too."""
_SMALLEST_SQUARE = 1e-12


@dataclass(frozen=True, slots=True)
class Objective:
    """`emit`: activation `[N, *layer.shape]`, weights `[N, K]` → `[N]`.

    `size`: K. `of_image`: the weights are the layer's activation on an image of the request.
    """

    emit: Callable[[Emitter, Value, Value, Layer], Value]
    size: Callable[[Layer], int]
    of_image: bool = False


OBJECTIVES: Registry[Objective] = Registry("objective")


def means(op: Emitter, activation: Value, layer: Layer) -> Value:
    """The mean of each unit over all positions `[N, units]`; a vector has one position."""
    others = [axis + 1 for axis in range(len(layer.shape)) if axis != layer.unit_axis]
    return op.ReduceMean(activation, others, keepdims=0) if others else activation


def elements(op: Emitter, activation: Value) -> Value:
    """All elements of a layer in a row `[N, elements]`."""
    return op.Flatten(activation, axis=1)


def texture(op: Emitter, activation: Value, layer: Layer) -> Value:
    """Which units respond together, anywhere in the map: their Gram matrix, with a norm of 1
    `[N, units²]` (Gatys et al. 2015). The dot product of two says how alike pictures are, 0..1.
    """
    others = [axis + 1 for axis in range(len(layer.shape)) if axis != layer.unit_axis]
    rows = op.Transpose(activation, perm=[0, layer.unit_axis + 1, *others])
    rows = op.Reshape(rows, [0, layer.unit_count, -1])
    gram = op.Flatten(op.MatMul(rows, op.Transpose(rows, perm=[0, 2, 1])), axis=1)
    return op.Div(gram, op.Unsqueeze(_norm(op, gram), [1]))


def dot(op: Emitter, left: Value, right: Value) -> Value:
    """Σ left · right over each row: `[N, K]`, `[N, K]` → `[N]`.

    A product of matrices: the order in which ReduceSum adds depends on where in memory a row
    begins, and the bytes of a row must not depend on the rows before it.
    """
    return op.Reshape(op.MatMul(op.Unsqueeze(left, [1]), op.Unsqueeze(right, [2])), [-1])


def _channel(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """Σ weight · mean of the unit's map"""
    return dot(op, means(op, activation, layer), weights)


def _neuron(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """Σ weight · element"""
    return dot(op, elements(op, activation), weights)


def _layer(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """weight · mean a²: whatever the layer sees (Mordvintsev et al. 2015, DeepDream)"""
    flat = elements(op, activation)
    return dot(op, op.ReduceMean(op.Mul(flat, flat), [1], keepdims=1), weights)


def _probability(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """Σ weight · softmax(means): rises, too, where the other units fall"""
    return dot(op, op.Softmax(means(op, activation, layer), axis=1), weights)


def _cosine(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """(m · w) · max(cos(m, w), 0.1) of the units' means m (Lucid's direction_cossim)"""
    return _dot_cosine(op, means(op, activation, layer), weights)


def _caricature(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """(a · w) · max(cos(a, w), 0.1): more of what the layer sees in an image (Lucid)"""
    return _dot_cosine(op, elements(op, activation), weights)


def _inversion(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """−mean (a − w)²: what the layer keeps of an image (Mahendran and Vedaldi 2015)"""
    gap = op.Sub(elements(op, activation), weights)
    return op.Neg(op.ReduceMean(op.Mul(gap, gap), [1], keepdims=0))


def log_correlation(op: Emitter, activation: Value, weights: Value, layer: Layer) -> Value:
    """log max(ρ, 0.1) `[N]`, ρ the correlation over the units of their means and weights `[N, K]`.

    What all units gain does not change it, nor do all of them grow by a factor.
    """
    scores = means(op, activation, layer)
    product = op.Mul(_covariance(op, scores, scores), _covariance(op, weights, weights))
    root = op.Sqrt(op.Max(product, _SMALLEST_SQUARE))
    return op.Log(op.Max(op.Div(_covariance(op, scores, weights), root), _LEAST_COSINE))


def log_response(op: Emitter, activation: Value, layer: Layer) -> Value:
    """log ‖m‖ `[N]`, m the means of the layer's units: how strongly it responds to anything."""
    found = means(op, activation, layer)
    return op.Mul(op.Log(op.Max(dot(op, found, found), _SMALLEST_SQUARE)), 0.5)


def _covariance(op: Emitter, left: Value, right: Value) -> Value:
    """Σ (left − its mean) · (right − its mean) over each row `[N]`; of dot products alone (`dot`
    says why).
    """
    rows, count = (int(dim) for dim in left.shape or ())
    ones = op.const(np.ones((rows, count)), np.float32)
    sums = op.Mul(dot(op, left, ones), dot(op, right, ones))
    return op.Sub(dot(op, left, right), op.Mul(sums, 1 / count))


def _dot_cosine(op: Emitter, scores: Value, weights: Value) -> Value:
    along = dot(op, scores, weights)
    cosine = op.Div(along, op.Mul(_norm(op, scores), _norm(op, weights)))
    return op.Mul(along, op.Max(cosine, _LEAST_COSINE))


def _norm(op: Emitter, scores: Value) -> Value:
    return op.Sqrt(op.Add(dot(op, scores, scores), _SMALLEST_SQUARE))


def _one(_: Layer) -> int:
    return 1


def _unit_count(layer: Layer) -> int:
    return layer.unit_count


def _element_count(layer: Layer) -> int:
    return int(np.prod([int(dim) for dim in layer.shape]))


OBJECTIVES.add("channel", Objective(_channel, _unit_count))
OBJECTIVES.add("neuron", Objective(_neuron, _element_count))
OBJECTIVES.add("layer", Objective(_layer, _one))
OBJECTIVES.add("probability", Objective(_probability, _unit_count))
OBJECTIVES.add("cosine", Objective(_cosine, _unit_count))
OBJECTIVES.add("caricature", Objective(_caricature, _element_count, of_image=True))
OBJECTIVES.add("inversion", Objective(_inversion, _element_count, of_image=True))


def one_hot(layer: Layer, unit: int, position: tuple[int, int] | None) -> np.ndarray:
    """Weights `[K]` that climb one unit: its channel, or the neuron at `position`.

    A position is (x, y) in a map, (index, 0) among tokens.
    """
    if position is None:
        return np.eye(1, layer.unit_count, unit, dtype=np.float32).ravel()
    weights = np.zeros([int(dim) for dim in layer.shape], np.float32)
    _at(layer, weights, position)[unit] = 1.0
    return weights.ravel()


def unit_scores(layer: Layer, scores: np.ndarray, position: tuple[int, int] | None) -> np.ndarray:
    """Of scores `[K]`, one per unit `[units]`: the channels', or those at `position`."""
    if position is None:
        return scores
    return _at(layer, scores.reshape([int(dim) for dim in layer.shape]), position)


def _at(layer: Layer, elements: np.ndarray, position: tuple[int, int]) -> np.ndarray:
    """The units at one position: a view into `elements`."""
    x, y = position
    units = np.moveaxis(elements, layer.unit_axis, 0)
    return units[:, x] if units.ndim == 2 else units[:, y, x]
