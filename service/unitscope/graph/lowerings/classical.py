"""Classical machine learning as skl2onnx writes it: linear models and what prepares their input.

The operators compute in single precision and take one row `[features]` of a batch per sample.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from onnx import TensorProto, defs

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MACHINE_LEARNING, Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Floats = Sequence[float]

_LABELS = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")


def _all_attributes(*operators: str) -> tuple[str, ...]:
    """Every attribute of `operators`: those that are refused need none of them."""
    versions = [
        defs.get_schema(operator, version, MACHINE_LEARNING)
        for operator in operators
        for version in (3, 5)
        if defs.has(operator, version, MACHINE_LEARNING)
    ]
    return tuple({name for schema in versions for name in schema.attributes})


_ENCODERS = ("LabelEncoder", "CategoryMapper", "OneHotEncoder", "DictVectorizer")
_TREES = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")


@lowerings.form(*_ENCODERS, domain=MACHINE_LEARNING, harmless=_all_attributes(*_ENCODERS))
def encoder(op: Emitter, x: Value) -> Results:
    """No gradient passes a label or a category."""
    raise Uncovered("labels and categories")


@lowerings.form(*_TREES, domain=MACHINE_LEARNING, harmless=_all_attributes(*_TREES))
def trees(op: Emitter, x: Value) -> Results:
    """No gradient leads up steps."""
    raise Uncovered("trees: their scores are constant between splits, so the gradient is zero")


@lowerings.form("ZipMap", domain=MACHINE_LEARNING, harmless=_LABELS)
def zip_map(op: Emitter, x: Value) -> Results:
    """The scores, which it only names"""
    return op.Identity(x)


@lowerings.form("LinearClassifier", domain=MACHINE_LEARNING, harmless=("multi_class",))
def linear_classifier(
    op: Emitter, x: Value,
    *, classlabels_ints: Sequence[int] | None, classlabels_strings: Sequence[str] | None,
    coefficients: Floats, intercepts: Floats | None, post_transform: str,
) -> Results:  # fmt: skip
    """scores = post_transform(x · coefficientsᵀ + intercepts); the label has no gradient"""
    labels = classlabels_ints or classlabels_strings or ()
    scores = linear(op, x, coefficients, intercepts, len(intercepts or labels))
    if len(intercepts or labels) > 1:
        return None, transformed(op, scores, post_transform)
    if len(labels) != 2:
        raise Uncovered(f"a single score for {len(labels)} labels")
    if post_transform == "LOGISTIC":
        return None, op.Sigmoid(op.Concat(op.Neg(scores), scores, axis=1))
    if post_transform != "NONE":
        raise Uncovered(f"post_transform={post_transform!r} of a single score")
    return None, op.Concat(op.Sub(1.0, scores), scores, axis=1)


@lowerings.form("LinearRegressor", domain=MACHINE_LEARNING)
def linear_regressor(
    op: Emitter, x: Value,
    *, coefficients: Floats, intercepts: Floats | None, post_transform: str, targets: int,
) -> Results:  # fmt: skip
    """y = post_transform(x · coefficientsᵀ + intercepts)"""
    if targets == 1 and post_transform != "NONE":
        raise Uncovered(f"post_transform={post_transform!r} of a single score")
    return transformed(op, linear(op, x, coefficients, intercepts, targets), post_transform)


@lowerings.form("Scaler", domain=MACHINE_LEARNING)
def scaler(op: Emitter, x: Value, *, offset: Floats, scale: Floats) -> Results:
    """y = (x − offset) · scale"""
    return op.Mul(op.Sub(single(op, x), _row(offset)), _row(scale))


@lowerings.form("Normalizer", domain=MACHINE_LEARNING)
def normalizer(op: Emitter, x: Value, *, norm: str) -> Results:
    """y = x / ‖x‖ for each sample, or over its largest element; 0 where that is"""
    _rows(x)
    x = single(op, x)
    if norm != "MAX":
        return op.LpNormalization(x, axis=-1, p={"L1": 1, "L2": 2}[norm])
    largest = op.ReduceMax(x, [-1], keepdims=1)
    return op.Div(x, op.Where(op.Equal(largest, 0.0), 1.0, largest))


@lowerings.form("Imputer", domain=MACHINE_LEARNING)
def imputer(
    op: Emitter, x: Value, *, imputed_value_floats: Floats, replaced_value_float: float
) -> Results:
    """y = x, but the imputed value where x is the replaced one"""
    missing = op.IsNaN(x) if math.isnan(replaced_value_float) else op.Equal(x, replaced_value_float)
    return op.Where(missing, _row(imputed_value_floats).astype(x.dtype), x)


@lowerings.form("Binarizer", domain=MACHINE_LEARNING)
def binarizer(op: Emitter, x: Value, *, threshold: float) -> Results:
    """y = 1 where x > threshold, else 0"""
    return op.Cast(op.Greater(x, float(threshold)), to=x.elem_type)


@lowerings.form("FeatureVectorizer", domain=MACHINE_LEARNING)
def feature_vectorizer(op: Emitter, *xs: Value, inputdimensions: Sequence[int]) -> Results:
    """y = the features of all x, side by side"""
    widths = [(x.shape or ())[-1] for x in xs]
    if widths != list(inputdimensions):
        raise Uncovered(f"inputs of {widths} features where {list(inputdimensions)} are expected")
    return op.Concat(*(single(op, x) for x in xs), axis=-1)


@lowerings.form("ArrayFeatureExtractor", domain=MACHINE_LEARNING)
def array_feature_extractor(op: Emitter, x: Value, y: Value) -> Results:
    """z = the features of x that y counts"""
    picked = op.Gather(x, op.Reshape(y, [-1]), axis=-1)
    return picked if x.rank > 1 else op.Unsqueeze(picked, [0])


def linear(
    op: Emitter, x: Value, coefficients: Floats | None, intercepts: Floats | None, count: int
) -> Value:
    """x · coefficientsᵀ + intercepts, `count` scores for each row"""
    _rows(x)
    if not count or not coefficients or len(coefficients) % count:
        raise Uncovered(f"{len(coefficients or ())} coefficients for {count} scores")
    matrix = _row(coefficients).reshape(count, -1)
    return op.Gemm(single(op, x), matrix, _row(intercepts) if intercepts else None, transB=1)


def transformed(op: Emitter, scores: Value, post_transform: str) -> Value:
    """Several scores, made probabilities."""
    if post_transform == "LOGISTIC":
        return op.Sigmoid(scores)
    if post_transform == "SOFTMAX":
        return op.Softmax(scores, axis=-1)
    if post_transform != "NONE":
        raise Uncovered(f"post_transform={post_transform!r}")
    return scores


def single(op: Emitter, x: Value) -> Value:
    """`x` in single precision"""
    return x if x.dtype == np.float32 else op.Cast(x, to=TensorProto.FLOAT)


def _row(content: Floats | None) -> np.ndarray:
    if not content:
        raise Uncovered("an attribute that is missing")
    return np.asarray(content, np.float32)


def _rows(x: Value) -> None:
    if x.rank != 2:
        raise Uncovered(f"an input of rank {x.rank}, expected rows [N, features]")
