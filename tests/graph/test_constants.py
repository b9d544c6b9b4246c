"""Constants of a graph: evaluated if small, left to the runtime if large, refused if absurd."""

from __future__ import annotations

import numpy as np
import pytest

from unitscope.errors import ModelRejected
from unitscope.graph.constants import MAX_CONSTANT_BYTES, MAX_FOLDED_BYTES, MAX_TENSOR_BYTES
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Value


def zeros(op: Emitter, size_bytes: int) -> Value:
    """So many bytes of float32."""
    return op.ConstantOfShape([size_bytes // 4])


def test_a_large_constant_is_left_to_the_runtime() -> None:
    op = Emitter(Graph(18))
    assert zeros(op, 400).const is not None
    assert zeros(op, MAX_FOLDED_BYTES + 4).const is None


def test_many_constants_are_left_to_the_runtime_and_more_are_refused() -> None:
    op = Emitter(Graph(18))
    folded = zeros(op, MAX_FOLDED_BYTES).const is not None
    count = MAX_CONSTANT_BYTES // MAX_FOLDED_BYTES
    left = [zeros(op, MAX_FOLDED_BYTES).const is None for _ in range(count - 1)]
    assert folded and left[-1]
    with pytest.raises(ModelRejected, match="constants take more than 8 GiB"):
        op.Relu(op.Neg(zeros(op, MAX_FOLDED_BYTES)))


def test_what_is_computed_from_a_constant_left_alone_counts_too() -> None:
    op = Emitter(Graph(18))
    value = zeros(op, MAX_TENSOR_BYTES)
    for _ in range(3):
        value = op.Neg(value)
    with pytest.raises(ModelRejected, match="constants take more than 8 GiB"):
        op.Neg(value)


def test_a_tensor_that_no_classifier_needs_is_refused_by_name() -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float32, ("N", 3, 8, 8))
    with pytest.raises(ModelRejected, match=r"\(ConstantOfShape\): .* would take 64 GiB"):
        zeros(op, 1 << 36)
    with pytest.raises(ModelRejected, match=r"\(Expand\): .* would take 64 GiB"):
        op.Expand(op.const(np.ones(1, np.float32)), [1 << 34])
    with pytest.raises(ModelRejected, match=r"\(Conv\): .* shape"):
        op.Conv(x, op.const(np.ones((2, 3, 10, 8), np.float32)))
    with pytest.raises(ModelRejected, match=r"\(Conv\): .* empty"):
        op.Conv(x, op.const(np.ones((2, 3, 9, 8), np.float32)))


def test_of_unknown_size_only_what_is_bounded_by_its_inputs_is_evaluated() -> None:
    op = Emitter(Graph(18))
    x = op.const(np.ones((1, 1, 2, 2), np.float32))
    assert op.NonZero(x).const is not None
    indices, shape = op.const(np.zeros((1, 1, 2, 2), np.int64)), [1, 1, 1 << 17, 1 << 17]
    assert op.MaxUnpool(x, indices, shape, kernel_shape=[2, 2]).const is None


def test_attributes_that_say_nothing_are_refused_by_name() -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float32, ("N", 3, 8, 8))
    with pytest.raises(ModelRejected, match=r"\(MaxPool\): .*pads"):
        op.MaxPool(x, kernel_shape=[2, 2], pads=[])
