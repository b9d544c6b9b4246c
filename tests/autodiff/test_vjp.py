"""The reverse walk keeps the books: sums, broadcasts, activity, refusals."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tests.autodiff.cases import Array, reference
from unitscope.autodiff.rule import Rules
from unitscope.autodiff.rules import REDIRECTED, RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Shape, Value

POINT = np.array([[1.0, -2.0, 3.0], [0.5, 4.0, -1.0]])
Forward = Callable[[Emitter, Value], Value]


def gradient(
    forward: Forward, *, shape: Shape = POINT.shape, dtype: Any = np.float64, rules: Rules = RULES
) -> Array:
    """d(Σ forward(x))/dx at POINT."""
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", dtype, shape)
    total = op.ReduceSum(forward(op, x), keepdims=0)
    one = op.const(1, dtype)
    dx = differentiate(op, output=total, wrt=x, cotangent=one, rules=rules)
    (named,) = op.emit("Identity", [dx], outputs=["dx"])
    return reference(op.graph.to_model([named]))(POINT.astype(dtype))[0]


def test_contributions_of_all_uses_add_up() -> None:
    np.testing.assert_allclose(gradient(lambda op, x: op.Mul(x, op.Mul(x, x))), 3 * POINT**2)


def test_both_ways_around_a_diamond_count() -> None:
    def diamond(op: Emitter, x: Value) -> Value:
        root = op.Exp(x)
        return op.Add(op.Mul(root, 2.0), op.Mul(root, root))

    np.testing.assert_allclose(gradient(diamond), 2 * np.exp(POINT) + 2 * np.exp(2 * POINT))


@pytest.mark.parametrize("shape", [(2, 3), ("N", 3), ("N", "D")])
def test_broadcasts_are_undone(shape: Shape) -> None:
    def widened(op: Emitter, x: Value) -> Value:
        column = op.ReduceSum(x, [1], keepdims=1)
        return op.Mul(op.Mul(x, column), np.full((4, 1, 1), 0.5))

    rows = POINT.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(gradient(widened, shape=shape), 2 * (rows + rows + 0 * POINT))


def test_branches_that_do_not_count_are_left_alone() -> None:
    def forward(op: Emitter, x: Value) -> Value:
        op.emit("Bernoulli", [x])
        return op.Mul(x, op.Cast(op.ArgMax(x, axis=1, keepdims=1), to=x.elem_type))

    expected = np.broadcast_to(POINT.argmax(axis=1)[:, None], POINT.shape)
    np.testing.assert_allclose(gradient(forward), expected)


@pytest.mark.parametrize(
    ("forward", "message"),
    [
        (lambda op, x: op.Cast(op.ArgMax(x), to=x.elem_type), r"\(ArgMax\): it stops the gradient"),
        (lambda op, x: op.Floor(op.Mul(x, 2.0)), r"\(Floor\): it stops the gradient"),
        (
            lambda op, x: op.Bernoulli(x),
            r"\(Bernoulli\): this operator has no gradient",
        ),
        (lambda op, _: op.Exp(np.ones(3)), "does not depend on the input"),
    ],
    ids=["ArgMax", "Floor", "Bernoulli", "constant"],
)
def test_what_stops_the_gradient_is_named(forward: Forward, message: str) -> None:
    with pytest.raises(ModelRejected, match=message):
        gradient(forward)


def test_a_quantized_branch_beside_a_float_one_is_not_lost() -> None:
    def forward(op: Emitter, x: Value) -> Value:
        scale, zero = op.const(0.1, np.float32), op.const(0, np.int8)
        quantized = op.QuantizeLinear(x, scale, zero)
        return op.Add(x, op.DequantizeLinear(quantized, scale, zero))

    with pytest.raises(ModelRejected, match=r"\(DequantizeLinear\)"):
        gradient(forward, dtype=np.float32)


def test_a_rule_never_ignores_an_attribute() -> None:
    rules = Rules()

    @rules.vjp("LeakyRelu")
    def forgets_alpha(op: Emitter, dy: Value, y: Value, x: Value) -> tuple[Value, ...]:
        return (dy,)

    only = RULES.overridden(by=rules)
    with pytest.raises(ModelRejected, match=r"no gradient for attribute alpha=0\.5"):
        gradient(lambda op, x: op.LeakyRelu(x, alpha=0.5), rules=only)
    gradient(lambda op, x: op.LeakyRelu(x), rules=only)


def test_an_input_without_formula_is_refused() -> None:
    def forward(op: Emitter, x: Value) -> Value:
        return op.OneHot([0, 1], op.ReduceMax(x, keepdims=0), np.array([0.0, 1.0]))

    with pytest.raises(ModelRejected, match=r"no gradient with respect to input 1"):
        gradient(forward)


def test_an_operator_has_one_rule() -> None:
    rules = Rules()
    rules.vjp("Relu")(lambda _op, dy, *_: (dy,))
    with pytest.raises(ValueError, match="'Relu' is registered twice"):
        Rules(RULES, rules)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_relu_in_every_precision(dtype: Any) -> None:
    found = gradient(lambda op, x: op.Relu(x), dtype=dtype)
    assert found.dtype == dtype
    np.testing.assert_array_equal(found, POINT > 0)


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_redirected_relus_let_through_what_wakes_them(sign: float) -> None:
    relu = gradient(lambda op, x: op.Mul(op.Relu(x), sign), rules=REDIRECTED)
    np.testing.assert_array_equal(relu, sign * ((POINT > 0) | (sign > 0)))
    clip = gradient(lambda op, x: op.Mul(op.Clip(x, 0.0, 2.0), sign), rules=REDIRECTED)
    waking = (POINT < 0) & (sign > 0) | (POINT > 2) & (sign < 0)
    np.testing.assert_array_equal(clip, sign * ((POINT >= 0) & (POINT <= 2) | waking))
