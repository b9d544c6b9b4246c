"""Parts of a whole are put side by side, and add up wherever they are not."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from tests.autodiff.cases import reference
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Value, needed

SHAPE = (3, 8, 6)
Part = tuple[int, int | None, int]
"""From, to and by which step."""


def taken(op: Emitter, x: Value, axis: int, parts: Sequence[Part]) -> list[Value]:
    far = np.iinfo(np.int64).max
    return [
        op.Slice(x, [start], [far if end is None else end], [axis], [step])
        for start, end, step in parts
    ]


def gradient(forward: list[Value], op: Emitter, x: Value) -> tuple[np.ndarray, set[str]]:
    """dx of Σ cos(i + 1) · Σ partᵢ², at a fixed point, and the operators after the parts."""
    squares = [op.ReduceSum(op.Mul(y, y), keepdims=0) for y in forward]
    score = squares[0]
    for index, square in enumerate(squares):
        score = op.Add(score, op.Mul(square, float(np.cos(index + 1))))
    begun = len(op.graph.nodes)
    dx = differentiate(op, output=score, wrt=x, cotangent=op.const(1, np.float64), rules=RULES)
    (named,) = op.emit("Identity", [dx], outputs=["dx"])
    operators = {node.op_type for node in needed(op.graph.nodes[begun:], [named])}
    return reference(op.graph.to_model([named]))(POINT)[0], operators


POINT = np.random.default_rng(0).standard_normal(SHAPE)


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize(
    ("parts", "is_whole"),
    [
        ([(1, None, 1), (0, 1, 1)], True),
        ([(0, 1, 1), (-2, None, 1), (1, -2, 1)], True),
        ([(0, None, 1), (0, None, 1)], True),
        ([(0, 1, 1), (2, None, 1)], False),
        ([(0, 2, 1), (1, None, 1)], False),
        ([(0, 2, 1), (0, 2, 1), (2, None, 1)], False),
    ],
    ids=str,
)
def test_slices(axis: int, parts: list[Part], is_whole: bool) -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float64, SHAPE)
    found, operators = gradient(taken(op, x, axis, parts), op, x)
    expected = np.zeros(SHAPE)
    for index, (start, end, step) in enumerate(parts):
        at = (slice(None),) * axis + (slice(start, end, step),)
        expected[at] += 2 * POINT[at] * (np.cos(index + 1) + (index == 0))
    np.testing.assert_allclose(found, expected)
    assert ("Pad" not in operators) == is_whole


def test_the_patches_of_a_picture_are_put_together() -> None:
    """Every second row, of those every second column."""
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float64, SHAPE)
    halves: list[Part] = [(0, None, 2), (1, None, 2)]
    found, operators = gradient(
        [part for rows in taken(op, x, 1, halves) for part in taken(op, rows, 2, halves)], op, x
    )
    factors = 2 * np.cos([[1, 2], [3, 4]]) + [[2, 0], [0, 0]]
    np.testing.assert_allclose(found, POINT * np.tile(factors, (4, 3)))
    assert not {"Pad", "Slice"} & operators


def test_query_key_and_value() -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float64, SHAPE)
    parts = [op.Gather(x, op.const(index, np.int64), axis=0) for index in range(3)]
    found, operators = gradient([*parts, x], op, x)
    factors = 2 * np.cos([1, 2, 3]) + [2, 0, 0] + 2 * np.cos(4)
    np.testing.assert_allclose(found, POINT * factors[:, None, None])
    assert "Pad" not in operators


def test_a_part_that_comes_twice_counts_twice() -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float64, SHAPE)
    (first,) = taken(op, op.Add(x, x), 0, [(0, 1, 1)])
    found, _ = gradient([first, *taken(op, x, 0, [(1, None, 1)])], op, x)
    factors = [8 * (1 + np.cos(1)), 2 * np.cos(2), 2 * np.cos(2)]
    np.testing.assert_allclose(found, POINT * np.reshape(factors, (3, 1, 1)))
