"""With an open batch, what exporters compute from shapes stays known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.graph.test_emit import emitter, run
from unitscope.graph.ir import Shape


def test_sizes_are_followed_through_what_exporters_do_with_them() -> None:
    op, (x,) = emitter(("N", 3, 8, 6))
    shape = op.Shape(x)
    assert shape.const is None and shape.sizes == ("N", 3, 8, 6)
    height = op.Gather(shape, op.const(2, np.int64))
    assert height.const is not None and height.const.shape == () and height.const == 8
    batch = op.Unsqueeze(op.Gather(shape, op.const(0, np.int64)), [0])
    target = op.Concat(batch, op.Slice(shape, [1], [2]), [-1], axis=0)
    assert target.sizes == ("N", 3, -1)
    assert op.Reshape(x, target).shape == ("N", 3, 48)
    assert op.Expand(np.ones((1, 5, 1), np.float32), op.Concat(batch, [1, 7], axis=0)).shape == (
        "N",
        5,
        7,
    )


@pytest.mark.parametrize(("axis", "shape"), [(0, (1, 3)), (1, (3, 1)), (-1, (3, 1))])
def test_a_vector_of_integers_becomes_a_matrix(axis: int, shape: Shape) -> None:
    op, _ = emitter()
    matrix = op.Unsqueeze(np.arange(3), [axis])
    assert matrix.const is not None and matrix.const.shape == shape


def test_the_rank_is_known_even_where_no_size_is() -> None:
    op, (x,) = emitter(("N", "C", "H", "W"))
    rank = op.Size(op.Shape(x))
    assert rank.const is not None and rank.const.shape == () and rank.const == 4


@pytest.mark.parametrize(
    ("shape", "target", "expected"),
    [
        (("N", 4, 6), [0, -1], ("N", 24)),
        (("N", 4, 6), [-1, 24], ("N", 24)),
        (("N", 4, 6), [-1, 2, 12], ("N", 2, 12)),
        ((2, 4, 6), [-1, 6], (8, 6)),
        (("N", "T", 6), [0, 0, 2, 3], ("N", "T", 2, 3)),
    ],
)
def test_a_reshape_keeps_what_can_be_known(
    shape: Shape, target: list[int], expected: Shape
) -> None:
    op, (x,) = emitter(shape)
    reshaped = op.Reshape(x, target)
    assert reshaped.shape == expected
    content = np.zeros([3 if isinstance(dim, str) else dim for dim in shape], np.float32)
    assert len(run(reshaped, op, content).shape) == len(expected)


@pytest.mark.parametrize(("shape", "target"), [(("N", "T", 6), [-1, 6]), (("N", 4), [-1, 3])])
def test_what_cannot_be_known_stays_open(shape: Shape, target: list[int]) -> None:
    op, (x,) = emitter(shape)
    opened = op.Reshape(x, target).shape
    assert opened is not None and isinstance(opened[0], str) and opened[0] not in shape


def test_what_is_computed_from_an_open_size_hides_none_of_its_neighbours() -> None:
    op, (x,) = emitter(("N", 4, 6))
    batch = op.Gather(op.Shape(x), op.const(0, np.int64))
    windows = op.Unsqueeze(op.Mul(batch, 2), [0])
    halves = op.Reshape(x, op.Concat(windows, [2, 6], axis=0))
    assert halves.shape is not None and halves.shape[1:] == (2, 6)
    assert isinstance(halves.shape[0], str) and halves.shape[0] != "N"
    whole = op.Reshape(halves, op.Concat(op.Unsqueeze(batch, [0]), [4, 6], axis=0))
    assert whole.shape == ("N", 4, 6)
    repeated = op.Expand(np.ones((1, 1, 6), np.float32), op.Concat(windows, [4, 1], axis=0))
    assert repeated.shape is not None and repeated.shape[1:] == (4, 6)
    assert repeated.shape[0] not in ("N", halves.shape[0])
    other = op.Reshape(x, op.Concat(op.Unsqueeze(op.Mul(batch, 1), [0]), [24], axis=0))
    assert other.shape == ("N", 24)
    content = np.arange(72, dtype=np.float32).reshape(3, 4, 6)
    assert run(halves, op, content).shape == (6, 2, 6)
    assert run(repeated, op, content).shape == (6, 4, 6)


def test_a_size_kept_by_minus_one_is_one_of_the_target() -> None:
    """How PyTorch's exporters write ``token.expand(batch, -1, -1)``."""
    op, (x,) = emitter(("N", 4, 6))
    batch = op.Unsqueeze(op.Gather(op.Shape(x), op.const(0, np.int64)), [0])
    wanted = op.Reshape(op.Concat(batch, [-1, -1], axis=0), [-1])
    target = op.Where(op.Equal(wanted, np.int64(-1)), np.ones(3, np.int64), wanted)
    assert target.sizes == ("N", 1, 1)
    token = op.Expand(np.ones((1, 1, 6), np.float32), target)
    assert token.shape == ("N", 1, 6)
    assert run(token, op, np.zeros((3, 4, 6), np.float32)).shape == (3, 1, 6)


def test_an_unknown_size_equals_nothing_for_certain() -> None:
    op, (x,) = emitter(("N", 4))
    shape = op.Shape(x)
    assert op.Equal(shape, np.array([3, 4])).const is None
    assert op.Equal(op.Concat(op.Mul(op.Slice(shape, [0], [1]), 2), axis=0), [-1]).const is None
    same = op.Equal(shape, shape).const
    assert same is not None and same.tolist() == [True, True]
