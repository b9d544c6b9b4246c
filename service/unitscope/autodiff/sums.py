"""What arrives at a value that several nodes read."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from typing import NamedTuple

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Node, Value


class _Part(NamedTuple):
    """`inner` from `begin` to `end` of the `length` of an axis, zeros elsewhere."""

    axis: int
    begin: int
    end: int
    length: int
    inner: Value


def total(op: Emitter, contributions: Sequence[Value]) -> Value:
    """The sum of `contributions`; parts that make up a whole are put side by side."""
    if len(contributions) == 1:
        return contributions[0]
    nodes = [_producer(op, value) for value in contributions]
    flat = [node.inputs[0] for node in nodes if node is not None and node.op_type == "Reshape"]
    views = [value for value in flat if value is not None and value.static_shape]
    if len(views) == len(nodes) and len({value.shape for value in views}) == 1:
        return op.reshape_like(total(op, views), contributions[0])
    parts = [_part(node) for node in nodes]
    for axis in {part.axis for part in parts if part is not None}:
        found = [part for part in parts if part is not None and part.axis == axis]
        beside = sorted(found, key=lambda part: part.begin)
        edges = [0, *(part.end for part in beside)]
        if [*(part.begin for part in beside), beside[0].length] == edges:
            joined = op.Concat(*(part.inner for part in beside), axis=axis)
            pairs = zip(contributions, parts, strict=True)
            others = [value for value, part in pairs if part is None or part.axis != axis]
            return reduce(op.Add, others, joined)
    return reduce(op.Add, contributions)


def _producer(op: Emitter, value: Value) -> Node | None:
    return next((node for node in reversed(op.graph.nodes) if value in node.outputs), None)


def _part(node: Node | None) -> _Part | None:
    """What `node` puts between zeros along one axis."""
    if node is None or node.op_type != "Pad" or len(node.inputs) != 2 or node.attributes:
        return None
    inner, pads = node.inputs
    if inner is None or pads is None or pads.const is None:
        return None
    margins = pads.const.reshape(2, -1)
    axes = np.flatnonzero(margins.any(axis=0)).tolist()
    length = (inner.shape or ())[axes[0]] if len(axes) == 1 else None
    if not isinstance(length, int) or margins.min() < 0:
        return None
    begin, after = margins[:, axes[0]].tolist()
    return _Part(axes[0], begin, begin + length, begin + length + after, inner)
