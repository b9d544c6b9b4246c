"""What ONNX's own inference lets through, and runtimes refuse only when they run it."""

from __future__ import annotations

from collections.abc import Sequence

import onnx

from unitscope.graph.constants import rejected
from unitscope.graph.ir import Dim, Shape, Value


def check_operands(node: onnx.NodeProto, operands: Sequence[Value | None]) -> None:
    """Raise ModelRejected if the channels of a convolution do not fit its weight."""
    if node.op_type not in ("Conv", "ConvTranspose") or len(operands) < 2:
        return
    shapes = [value.shape if value is not None else None for value in operands]
    x, weight = (shape or () for shape in shapes[:2])
    if len(x) < 3 or len(weight) != len(x):
        return
    group = next((a.i for a in node.attribute if a.name == "group"), 1)
    if node.op_type == "Conv":
        channels, made, divided = _times(weight[1], group), weight[0], weight[0]
    else:
        channels, made, divided = weight[0], _times(weight[1], group), weight[0]
    bias = shapes[2] if len(shapes) > 2 else None
    if group < 1 or (isinstance(divided, int) and divided % group):
        raise rejected(node, f"its weight {list(weight)} cannot be divided into {group} groups")
    if _differ((x[1],), (channels,)) or _differ(bias, (made,)):
        raise rejected(
            node,
            f"weight {list(weight)}, bias {bias and list(bias)} and {group} groups "
            f"do not fit an input of {x[1]} channels",
        )


def _times(size: Dim, factor: int) -> Dim:
    return size * factor if isinstance(size, int) else size


def _differ(found: Shape | None, expected: Shape) -> bool:
    pairs = zip(found or expected, expected, strict=False)
    return any(isinstance(a, int) and isinstance(b, int) and a != b for a, b in pairs)
