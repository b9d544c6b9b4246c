"""Run a model exported with batch 1 on more rows: the constants that say "1 row" are widened.

Exporters write the batch they saw into the targets of Reshape and Expand, into sizes of Resize and
into constants that are concatenated to activations. Knowing the shape every tensor had at batch 1,
the axis that has grown shows where the rows went, through merges and splits of axes too. Nothing
proves that a model treats its rows alike: whoever widens it compares two rows with two runs.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import onnx

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

Shapes = Mapping[str, tuple[int, ...]]
"""The shapes of a model's tensors at batch 1, by name."""

_SIZES = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""The input of an operator that holds the sizes of its result."""


class Widening:
    """Follows the rows through a model, node by node in order.

    `shapes`: those at batch 1; without any, nothing is widened. Where rows were merged into an
    axis behind something else (tokens · rows), `_outer` says how much of it comes before them.
    """

    def __init__(self, shapes: Shapes) -> None:
        self._shapes = shapes
        self._outer: dict[str, int] = {}

    def inputs(
        self, op: Emitter, node: onnx.NodeProto, inputs: Sequence[Value | None]
    ) -> Sequence[Value | None]:
        """The node's inputs, those constants widened that hold a single row."""
        if not self._shapes:
            return inputs
        grown = [self._grown(x, name) for x, name in zip(inputs, node.input, strict=True)]
        if all(axis is None for axis in grown):
            return inputs
        outer = next((self._outer[name] for name in node.input if name in self._outer), 1)
        self._outer.update(dict.fromkeys(node.output, outer))
        if node.op_type == "Concat":
            return _concatenated(op, inputs, grown)
        return self._resized(op, node, inputs, grown[0])

    def _grown(self, value: Value | None, name: str) -> int | None:
        """The only axis that is longer than at batch 1."""
        before = self._shapes.get(name)
        after = value.static_shape if value is not None else None
        if before is None or after is None or len(before) != len(after):
            return None
        longer = [axis for axis, old in enumerate(before) if old != after[axis]]
        return longer[0] if len(longer) == 1 else None

    def _resized(
        self, op: Emitter, node: onnx.NodeProto, inputs: Sequence[Value | None], axis: int | None
    ) -> Sequence[Value | None]:
        slot = _SIZES.get(node.op_type, len(inputs))
        x, asked = inputs[0], inputs[slot] if slot < len(inputs) else None
        result = self._shapes.get(node.output[0])
        if axis is None or x is None or asked is None or asked.const is None or result is None:
            return inputs
        before = self._shapes[node.input[0]]
        if node.op_type == "Reshape":
            ahead = math.prod(before[:axis]) * self._outer[node.output[0]]
            place, outer = _place(result, ahead, asked.const.ravel().tolist())
            self._outer[node.output[0]] = outer
        else:
            place = axis + len(result) - len(before)
        if place is None:
            return inputs
        factor = (x.static_shape or ())[axis] // before[axis]
        sizes = [size * factor if axis == place else size for axis, size in enumerate(result)]
        return [op.const(sizes, np.int64) if i == slot else y for i, y in enumerate(inputs)]


def _place(result: tuple[int, ...], ahead: int, asked: Sequence[int]) -> tuple[int | None, int]:
    """The axis of `result` to widen, and how much of it comes before the rows.

    `ahead` elements come before the rows. An axis of size 1 there is theirs. Else they are merged:
    with an axis there that is left open (None: it sees to it by itself), in a matrix with the axis
    that ends there (tokens · rows), else with the one that begins there (rows · heads, windows).
    """
    starts = [math.prod(result[:axis]) for axis in range(len(result))]
    own = [axis for axis, start in enumerate(starts) if start == ahead and result[axis] == 1]
    if own:
        return (own[0] if asked[own[0]] == 1 else None), 1
    inside = max(axis for axis, start in enumerate(starts) if start <= ahead)
    begins = inside if starts[inside] == ahead else None
    for axis in (inside, inside - 1):
        if axis >= 0 and asked[axis] in (-1, 0):
            return None, max(ahead // starts[axis], 1)
    if begins is None:
        return None, 1
    return (0, result[0]) if len(result) == 2 and begins == 1 else (begins, 1)


def _concatenated(
    op: Emitter, inputs: Sequence[Value | None], grown: Sequence[int | None]
) -> list[Value | None]:
    """Constants beside activations get as many rows as these have."""
    rows = {
        (axis, x.static_shape[axis])
        for x, axis in zip(inputs, grown, strict=True)
        if x is not None and axis is not None and x.static_shape is not None
    }
    if len(rows) != 1:
        return list(inputs)
    ((axis, count),) = rows
    wide: list[Value | None] = []
    for x in inputs:
        if x is not None and x.const is not None and x.const.shape[axis] == 1:
            wide.append(op.const(np.repeat(x.const, count, axis)))
        else:
            wide.append(x)
    return wide
