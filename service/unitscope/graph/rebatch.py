"""Run a model exported with batch 1 on more rows: the constants that say "1 row" are widened.

Exporters write the batch they saw into the targets of Reshape and Expand, into sizes of Resize and
into constants that are concatenated to activations. Knowing the shape every tensor had at batch 1,
the axis that has grown shows where the batch went, through merges and splits of axes too. Nothing
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


def widened(
    op: Emitter, node: onnx.NodeProto, inputs: Sequence[Value | None], shapes: Shapes
) -> Sequence[Value | None]:
    """The node's inputs, those constants widened that hold a single row."""
    grown = [_grown_axis(x, shapes.get(name)) for x, name in zip(inputs, node.input, strict=True)]
    if all(axis is None for axis in grown):
        return inputs
    if node.op_type == "Concat":
        return _concatenated(op, inputs, grown)
    target = _TARGETS.get(node.op_type)
    result = shapes.get(node.output[0])
    sized = target is not None and len(inputs) > target and inputs[target] is not None
    if target is None or not sized or result is None or grown[0] is None:
        return inputs
    x, before, axis = inputs[0], shapes[node.input[0]], grown[0]
    if node.op_type == "Reshape":
        place = _place_after_reshape(before, axis, result)
    else:
        place = axis + len(result) - len(before)
    if x is None or place is None or inputs[target].const is None:  # type: ignore[union-attr]
        return inputs
    factor = x.static_shape[axis] // before[axis]  # type: ignore[index]
    sizes = [size * factor if axis == place else size for axis, size in enumerate(result)]
    return [op.const(sizes, np.int64) if i == target else y for i, y in enumerate(inputs)]


_TARGETS = {"Reshape": 1, "Expand": 1, "Resize": 3}
"""The input of an operator that holds the sizes of its result."""


def _grown_axis(value: Value | None, before: tuple[int, ...] | None) -> int | None:
    """The only axis that is longer than at batch 1."""
    after = value.static_shape if value is not None else None
    if before is None or after is None or len(before) != len(after):
        return None
    longer = [axis for axis, (old, new) in enumerate(zip(before, after, strict=True)) if old != new]
    return longer[0] if len(longer) == 1 else None


def _place_after_reshape(before: tuple[int, ...], axis: int, result: tuple[int, ...]) -> int | None:
    """The axis of `result` that begins where `axis` began."""
    ahead = math.prod(before[:axis])
    places = [place for place in range(len(result)) if math.prod(result[:place]) == ahead]
    return places[0] if places else None


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
        single = x is not None and x.const is not None and x.const.shape[axis] == 1
        wide.append(op.const(np.repeat(x.const, count, axis)) if x and single else x)  # type: ignore[arg-type]
    return wide
