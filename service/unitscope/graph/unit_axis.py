"""Which axis of an activation counts units: channels move, and this follows them."""

from __future__ import annotations

from collections.abc import Sequence

from unitscope.graph.ir import Node, Value

_CHANNELS_SECOND = {
    "Conv", "ConvTranspose", "MaxPool", "AveragePool", "LpPool", "GlobalAveragePool",
    "GlobalMaxPool", "BatchNormalization", "InstanceNormalization", "GroupNormalization", "LRN",
    "DepthToSpace", "SpaceToDepth",
}  # fmt: skip
_RESHAPING = {"Reshape", "Flatten", "Squeeze", "Unsqueeze"}


def unit_axes(nodes: Sequence[Node], image: Value, channel_axis: int) -> dict[Value, int]:
    """The unit axis (batch included) of every value that depends on `image`.

    `channel_axis`: that of the image, 1 for `[N, C, H, W]`.
    """
    axes = {image: channel_axis}
    for node in nodes:
        sources = [x for x in node.inputs if x in axes and x is not None]
        if not sources:
            continue
        source = max(sources, key=lambda x: len(x.shape or ()))
        for y in node.outputs:
            if y is not None and y.shape is not None:
                axis = _follow(node, source, axes[source], y)
                axes[y] = axis if 0 < axis < y.rank else max(y.rank - 1, 0)
    return axes


def _follow(node: Node, source: Value, axis: int, y: Value) -> int:
    last = y.rank - 1
    if node.op_type in _CHANNELS_SECOND:
        return 1
    if node.op_type in ("MatMul", "Gemm"):
        left = node.inputs[0]
        matrix_first = node.op_type == "MatMul" and left is not None and left.const is not None
        return last - 1 if matrix_first else last
    if node.op_type == "Transpose":
        order = node.attributes.get("perm") or list(range(y.rank))[::-1]
        return list(order).index(axis)
    if node.op_type in _RESHAPING:
        return _reshaped(source, axis, y)
    if y.rank == source.rank:
        return axis
    if node.op_type in ("Gather", "Split"):
        return axis - (axis > int(node.attributes.get("axis", 0)) % source.rank)
    if y.rank > source.rank:  # broadcasting puts axes in front
        return axis + y.rank - source.rank
    removed = _removed(node, source)
    return axis - sum(gone < axis for gone in removed) if axis not in removed else last


def _reshaped(source: Value, axis: int, y: Value) -> int:
    """Where the axis is after a reshape, if all sizes before it or all from it on have stayed."""
    before, after = source.shape or (), y.shape or ()
    if before[: axis + 1] == after[: axis + 1]:
        return axis
    tail = before[axis:]
    return y.rank - len(tail) if after[-len(tail) :] == tail else y.rank - 1


def _removed(node: Node, source: Value) -> set[int]:
    """The axes that a reduction takes away."""
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = node.attributes.get("axes", [])
    if given is not None and given.const is not None:
        axes = given.const.ravel().tolist()
    return {int(axis) % source.rank for axis in axes}
