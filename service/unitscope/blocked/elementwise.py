"""What looks at one element at a time runs on blocked tensors as it is."""

from __future__ import annotations

import math
from itertools import permutations

import numpy as np
import onnx

from unitscope.blocked.layout import NCHWC, STEP, Layout, Shape, attributes_of

OPERATORS = (
    "Abs", "Add", "Clip", "Elu", "Erf", "Exp", "HardSigmoid", "HardSwish", "LeakyRelu", "Max",
    "Min", "Mul", "Neg", "Relu", "Sigmoid", "Sign", "Softplus", "Softsign", "Sqrt", "Sub", "Tanh",
)  # fmt: skip
"""Those that are finite at 0: channels that fill up a block must not become infinite or NaN."""


def elementwise(layout: Layout, node: onnx.NodeProto) -> bool:
    """A function of tensors that have twins, of one value a channel, and of scalars."""
    if not any(layout.is_paired(x) for x in node.input):
        return False
    shape = layout.shape(node.output[0])
    if shape is None or not any(layout.shape(x) == shape and layout.twin(x) for x in node.input):
        return False
    inner = (shape[0], layout.filled(shape[1]) // layout.block, *shape[2:], layout.block)
    by_channel = any(_is_by_channel(layout.shape(x), shape) for x in node.input)
    found = [_operand(layout, x, shape, inner if by_channel else None) for x in node.input]
    inputs = [x for x in found if x is not None]
    if len(inputs) < len(found):
        return False
    masked = _masked_already(layout, inputs) if node.op_type == "Mul" else None
    if masked is not None:
        twin = masked
    elif node.op_type == "Add" and all(layout.shape(x) == shape for x in node.input):
        twin = layout.add(*inputs)
    else:
        twin = layout.emit(node.op_type, inputs, **attributes_of(node))
    if by_channel:
        twin = layout.view(twin, (shape[0], layout.filled(shape[1]), *shape[2:]))
    layout.pair(node.output[0], twin)
    return True


def step(layout: Layout, node: onnx.NodeProto) -> bool:
    """A mask of ReLU6, 1 where 0 < y < 6: two passes over memory instead of three.

    y · HardSigmoid(1 − y / 6) is above 0 there. So is y less twice 6 where y = 6.
    """
    product = layout.producer(layout.steps_of(node) or "")
    if product is None or product.op_type != "Mul":
        return elementwise(layout, node)
    y, headroom = product.input
    source, falling = layout.producer(y), layout.producer(headroom)
    if source is None or falling is None or falling.op_type != "HardSigmoid":
        return False
    clipped, shape = attributes_of(source), layout.shape(y)
    if source.domain != NCHWC or clipped.get("activation") != "Clip" or shape is None:
        return False
    ceiling = np.float32(clipped["activation_params"][1])
    below = np.nextafter(ceiling, np.float32(0))
    slope = attributes_of(falling)
    if falling.input[0] != y or slope["beta"] != 1 or abs(slope["alpha"] * ceiling + 1) > 1e-6:
        return False
    per_step = 1 / (ceiling - below)  # a power of two: both products are exact
    at_ceiling = layout.emit(
        "HardSigmoid", [y], alpha=float(per_step), beta=float(1 - ceiling * per_step)
    )
    kernel = np.full((shape[1], 1, 1, 1), -2 * ceiling, np.float32)
    layout.convolution(
        at_ceiling, kernel, added=y, group=shape[1], out=node.output[0], activation="HardSigmoid",
        activation_params=[*STEP.values()],
    )  # fmt: skip
    return True


def expand(layout: Layout, node: onnx.NodeProto) -> bool:
    """One value a channel given to all places."""
    shape = layout.shape(node.output[0])
    if shape is None or not _is_by_channel(layout.shape(node.input[0]), shape):
        return False
    x, channels = layout.enter(node.input[0]), layout.filled(shape[1])
    if x is None:
        return False
    inner = (shape[0], channels // layout.block, *shape[2:], layout.block)
    column = layout.view(x, (-1, inner[1], 1, 1, layout.block))
    wide = layout.emit("Expand", [column, layout.ints(*inner)])
    layout.pair(node.output[0], layout.view(wide, (shape[0], channels, *shape[2:])))
    return True


def split(layout: Layout, node: onnx.NodeProto) -> bool:
    """Channels cut between blocks."""
    x, shapes = layout.twin(node.input[0]), [layout.shape(name) for name in node.output]
    sizes = [shape[1] for shape in shapes if shape is not None and len(shape) == 4]
    if x is None or attributes_of(node).get("axis") != 1 or len(sizes) < len(shapes):
        return False
    if any(size % layout.block for size in sizes):
        return False
    parts = layout.split(x, sizes)
    joined = layout.producer(layout.vanishing.get(x, ""))
    for name, part in zip(node.output, parts, strict=True):
        layout.pair(name, part)
    if joined is not None and [(layout.shape(x) or (0, 0))[1] for x in joined.input] == sizes:
        layout.vanishing.update(zip(parts, joined.input, strict=True))
    return True


def _masked_already(layout: Layout, factors: list[str]) -> str | None:
    """Of two factors the one that is 0 where the other, a mask, is."""
    for value, mask in permutations(factors):
        if value in layout.vanishing and layout.vanishing[value] == layout.steps_of(
            layout.producer(mask)
        ):
            return value
    return None


def _operand(layout: Layout, name: str, shape: Shape, inner: Shape | None) -> str | None:
    """What stands for `name` among blocked tensors; None where nothing does."""
    own = layout.shape(name)
    if not name or (own is not None and math.prod(own) == 1):
        return name
    twin = layout.twin(name)
    if own == shape and twin is not None:
        return layout.view(twin, inner) if inner else twin
    if inner and twin is not None and _is_by_channel(own, shape):
        return layout.view(twin, (-1, inner[1], 1, 1, layout.block))
    return None


def _is_by_channel(own: Shape | None, shape: Shape) -> bool:
    """`[N or 1, C, 1, 1]`"""
    return own is not None and len(own) == 4 and own[2:] == (1, 1) and own[1] == shape[1]
