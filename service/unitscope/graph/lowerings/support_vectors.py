"""Support vector machines: their scores, before any voting or coupling."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MACHINE_LEARNING, Lowerings, Results
from unitscope.graph.lowerings.classical import linear, single, transformed
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Floats = Sequence[float]


@lowerings.form("SVMClassifier", domain=MACHINE_LEARNING, harmless=("prob_b",))
def svm_classifier(
    op: Emitter, x: Value,
    *, classlabels_ints: Sequence[int] | None, classlabels_strings: Sequence[str] | None,
    coefficients: Floats, kernel_params: Floats | None, kernel_type: str, post_transform: str,
    prob_a: Floats | None, rho: Floats, support_vectors: Floats | None,
    vectors_per_class: Sequence[int] | None,
) -> Results:  # fmt: skip
    """scores = kernel(x, support vectors) · pairsᵀ + rho, one for each pair of classes

    Of two classes the scores are −s and s; without support vectors the model is a linear one.
    """
    labels = classlabels_ints or classlabels_strings or ()
    if prob_a:
        raise Uncovered("probabilities coupled from pairs; fit the model with probability=False")
    if not vectors_per_class:
        scores = linear(op, x, coefficients, [rho[0]] * len(labels), len(labels))
        return None, transformed(op, scores, post_transform)
    if post_transform != "NONE":
        raise Uncovered(f"post_transform={post_transform!r} over pairs of classes")
    similar = _kernel(op, x, support_vectors, sum(vectors_per_class), kernel_type, kernel_params)
    pairs = _pairs(np.asarray(coefficients, np.float32), vectors_per_class)
    scores = op.Gemm(similar, pairs, np.asarray(rho[: len(pairs)], np.float32), transB=1)
    return None, op.Concat(op.Neg(scores), scores, axis=1) if len(labels) == 2 else scores


@lowerings.form("SVMRegressor", domain=MACHINE_LEARNING)
def svm_regressor(
    op: Emitter, x: Value,
    *, coefficients: Floats, kernel_params: Floats | None, kernel_type: str, n_supports: int,
    post_transform: str, rho: Floats, support_vectors: Floats | None,
) -> Results:  # fmt: skip
    """y = kernel(x, support vectors) · coefficients + rho"""
    if post_transform != "NONE":
        raise Uncovered(f"post_transform={post_transform!r} of a single score")
    if not n_supports:
        return linear(op, x, coefficients, rho[:1], 1)
    similar = _kernel(op, x, support_vectors, n_supports, kernel_type, kernel_params)
    return linear(op, similar, coefficients, rho[:1], 1)


def _kernel(
    op: Emitter, x: Value, support_vectors: Floats | None, count: int, kernel_type: str,
    kernel_params: Floats | None,
) -> Value:  # fmt: skip
    """How similar each row of `x` is to each of `count` support vectors: `[N, count]`"""
    products = linear(op, x, support_vectors, None, count)
    vectors = np.asarray(support_vectors, np.float32).reshape(count, -1)
    gamma, offset, degree = (float(value) for value in kernel_params or (0, 0, 0))
    if kernel_type == "LINEAR":
        return products
    if kernel_type == "RBF":
        own = op.ReduceSumSquare(single(op, x), [-1], keepdims=1)
        apart = op.Add(op.Sub(own, op.Mul(products, 2.0)), (vectors**2).sum(-1))
        return op.Exp(op.Mul(apart, -gamma))
    bent = op.Add(op.Mul(products, gamma), offset)
    if kernel_type == "POLY":
        return op.Pow(bent, degree)
    if kernel_type == "SIGMOID":
        return op.Tanh(bent)
    raise Uncovered(f"kernel_type={kernel_type!r}")


def _pairs(coefficients: np.ndarray, vectors_per_class: Sequence[int]) -> np.ndarray:
    """The coefficients of each pair of classes over all support vectors: `[pairs, count]`

    A class has one row for each other class: those of class i against j are in row j − 1 if
    i < j, else in row j.
    """
    ends = np.cumsum(vectors_per_class)
    rows = coefficients.reshape(len(ends) - 1, -1)
    pairs = []
    for i, j in combinations(range(len(ends)), 2):
        pair = np.zeros(ends[-1], np.float32)
        for own, other in ((i, j - 1), (j, i)):
            vectors = slice(ends[own] - vectors_per_class[own], ends[own])
            pair[vectors] = rows[other, vectors]
        pairs.append(pair)
    return np.stack(pairs)
