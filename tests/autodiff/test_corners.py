"""Corners that ONNX's own cases leave out, on ONNX Runtime."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto

from tests.autodiff.cases import Array, runtime
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Value

Forward = Callable[[Emitter, Value], Value]
FLOAT8 = TensorProto.FLOAT8E4M3FN
OPSET = 19  # the first with floats of 8 bits
X = np.array([-2.5, -0.5, 0.25, 3.0])


def gradient(forward: Forward, point: Array, dtype: Any = np.float32) -> Array:
    """d(Σ forward(x))/dx at `point`."""
    op = Emitter(Graph(OPSET))
    x = op.graph.add_input("x", dtype, point.shape)
    total = op.ReduceSum(forward(op, x), keepdims=0)
    one = op.const(1, total.dtype)
    dx = differentiate(op, output=total, wrt=x, cotangent=one, rules=RULES)
    (named,) = op.emit("Identity", [dx], outputs=["dx"])
    assert named.dtype == dtype
    return runtime(op.graph.to_model([named]))(point.astype(dtype))[0]


@pytest.mark.parametrize("ceiling", [0.0, 0.1, 1.0, 6.0, 10.25, 20.5, 41.0, np.inf])
def test_a_saturated_clip_passes_nothing(ceiling: float) -> None:
    point = np.array([-1.0, 0.5, 1.0, 2.0]) * (ceiling if 0 < ceiling < np.inf else 1.0)
    found = gradient(lambda op, x: op.Clip(x, 0.0, ceiling), point)
    inside = (point > 0) & (point < ceiling)
    np.testing.assert_array_equal(found, inside)


@pytest.mark.parametrize("alpha", [1.0, 0.3, -0.7])
def test_exponential_units_with_any_slope(alpha: float) -> None:
    below = alpha * np.exp(np.minimum(X, 0))
    elu = gradient(lambda op, x: op.Elu(x, alpha=alpha), X)
    np.testing.assert_allclose(elu, np.where(X > 0, 1, below), rtol=1e-5)
    selu = gradient(lambda op, x: op.Selu(x, alpha=alpha, gamma=0.5), X)
    np.testing.assert_allclose(selu, 0.5 * np.where(X > 0, 1, below), rtol=1e-5)


def test_an_exponent_of_another_type() -> None:
    base = np.array([2.0, 0.5, 3.0, 1.0], np.float32)
    found = gradient(lambda op, x: op.Pow(base, x), X, np.float64)
    np.testing.assert_allclose(found, base**X * np.log(base), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("mean", ["ReduceMean", "GlobalAveragePool"])
def test_a_mean_over_more_elements_than_float16_can_count(mean: str) -> None:
    def forward(op: Emitter, x: Value) -> Value:
        half = op.Cast(x, to=TensorProto.FLOAT16)
        return op.Cast(op.emit(mean, [half])[0], to=TensorProto.FLOAT)

    found = gradient(forward, np.zeros((1, 1, 256, 300)))
    np.testing.assert_allclose(found, 1 / (256 * 300), rtol=1e-2)


def test_values_put_in_places_count() -> None:
    indices, depth = np.array([0, 2, 1, 2]), np.int64(3)
    found = gradient(lambda op, x: op.OneHot(indices, depth, x), np.array([0.5, 2.0]))
    np.testing.assert_array_equal(found, [8, 4])


@pytest.mark.parametrize(
    ("equation", "other"),
    [
        ("bhc,kc->bhk", (5, 4)),
        ("b h c, b k c", (2, 5, 4)),
        ("bhc,k->bk", (5,)),
        ("bhc,bhc->", (2, 3, 4)),
        ("bhc,zhc->zcb", (5, 3, 1)),
        ("zbhc,bhc->zh", None),
        ("...ij,...jk->...ik", (2, 4, 5)),
        ("...ij,...jk", (2, 4, 5)),
    ],
)
def test_products_by_indices(equation: str, other: tuple[int, ...] | None) -> None:
    rng = np.random.default_rng(0)
    factor, point = rng.standard_normal(other or (1, 2, 3, 4)), rng.standard_normal((2, 3, 4))

    def product(x: Array) -> Array:
        spread = (
            np.broadcast_to(factor, [*factor.shape[:-1], 4]) if factor.shape[-1] == 1 else factor
        )
        pair = (spread, x) if other is None else (x, spread)
        return np.asarray(np.einsum(equation, *pair))

    weights = rng.standard_normal(product(point).shape)

    def forward(op: Emitter, x: Value) -> Value:
        constant = op.const(factor, np.float32)
        pair = (constant, x) if other is None else (x, constant)
        return op.Mul(op.Einsum(*pair, equation=equation), op.const(weights, np.float32))

    units = np.eye(point.size).reshape(-1, *point.shape)
    expected = [(weights * product(unit)).sum() for unit in units]
    found = gradient(forward, point)
    np.testing.assert_allclose(found.ravel(), expected, rtol=1e-4, atol=1e-5)


def test_blocks_added_up_with_strides_and_dilations() -> None:
    attributes = {"strides": [2, 1], "dilations": [1, 2], "pads": [1, 0, 0, 1]}
    weights = np.random.default_rng(0).standard_normal((1, 2, 5, 6)).astype(np.float32)

    def forward(op: Emitter, x: Value) -> Value:
        return op.Mul(op.Col2Im(x, [5, 6], [2, 2], **attributes), op.const(weights))

    padded = np.pad(weights, ((0, 0), (0, 0), (1, 0), (0, 1)))
    blocks = [
        padded[0, c, i : i + 5 : 2, 2 * j : 2 * j + 5].ravel()
        for c in range(2)
        for i in range(2)
        for j in range(2)
    ]
    found = gradient(forward, np.zeros((1, 8, 15)))
    np.testing.assert_array_equal(found[0], blocks)


@pytest.mark.parametrize("equation", ["bii->bi", "bii", "...ii->...", "iii->i"])
def test_diagonals(equation: str) -> None:
    side = 3
    point = np.ones((side, side, side))
    units = np.eye(point.size).reshape(-1, *point.shape)
    expected = [np.einsum(equation, unit).sum() for unit in units]
    found = gradient(lambda op, x: op.Einsum(x, equation=equation), point)
    np.testing.assert_array_equal(found.ravel(), expected)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda op, x: op.Slice(x, [3], [2**63 - 1], [0], [-1]), "an end beyond every size"),
        (lambda op, x: op.Range(op.ReduceSum(x, keepdims=0), 9.0, 1.0), "whose length depends"),
        (lambda op, x: op.Cast(op.Cast(x, to=FLOAT8), to=TensorProto.FLOAT), "8 bits"),
    ],
    ids=["Slice", "Range", "float8"],
)
def test_what_has_no_answer_is_refused_beside_what_has(forward: Forward, message: str) -> None:
    with pytest.raises(ModelRejected, match=message):
        gradient(lambda op, x: op.Add(op.ReduceSum(forward(op, x)), op.ReduceSum(x)), X)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize(
    "places", [1, -1, [0], [1, 2], [-2, -1], [0, 1, 2], [2, 1], [1, 1], [0, 2]]
)
def test_gathered_elements_get_their_cotangents(places: int | list[int], axis: int) -> None:
    point = np.arange(27.0).reshape(3, 3, 3)
    indices = np.array(places)
    shape = np.take(point, indices, axis).shape
    weight = np.asarray(np.random.default_rng(0).uniform(1, 2, shape))
    found = gradient(
        lambda op, x: op.Mul(op.Gather(x, indices, axis=axis), weight.astype(np.float32)), point
    )
    expected = np.zeros_like(point)
    by_axis = np.moveaxis(expected, axis, 0)
    for place, part in zip(
        indices.ravel(),
        np.moveaxis(weight, axis, 0) if indices.ndim else [weight],
        strict=True,
    ):
        by_axis[place] += part
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_a_weight_of_many_matrices_costs_no_product_each() -> None:
    """300 tokens of an open batch by one weight: its cotangent, which nobody asks for, is small."""
    op = Emitter(Graph(OPSET))
    x = op.graph.add_input("x", np.float32, (300, "N", 1024))
    weight = op.const(np.ones((1024, 2048)), np.float32)
    y = op.MatMul(x, weight)
    dx = differentiate(op, output=y, wrt=x, cotangent=op.Mul(y, 0.0), rules=RULES)
    assert dx.shape == x.shape


@pytest.mark.parametrize("shape", [(2, 3, 4), (2, 2, 3, 4), (0, 3, 4)])
def test_the_cotangents_of_rows_by_one_matrix(shape: tuple[int, ...]) -> None:
    point = np.random.default_rng(0).standard_normal((4, 5))
    rows = np.random.default_rng(1).standard_normal(shape).astype(np.float32)
    found = gradient(lambda op, b: op.MatMul(rows, b), point)
    expected = np.broadcast_to(rows.reshape(-1, 4).sum(0)[:, None], (4, 5))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
