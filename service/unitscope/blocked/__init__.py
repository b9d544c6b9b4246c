"""More of a graph in the blocked layout of ONNX Runtime's convolutions.

ONNX Runtime brings convolutions and what lies between them into a layout whose innermost axis is
a block of channels, and goes back to the plain one before every operator that it has no blocked
kernel for. On the way back from a layer to the picture many are such: steps of convolutions,
maxima over windows, sums of two gradients. Here they follow: what sees one element at a time runs
on blocked memory unchanged, the rest is said by operators that have a blocked kernel. Chains that
see one row of a matrix at a time go through the cache in blocks of rows. Sums are said so that
their order does not depend on how many rows the batch has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import onnx
from onnx import numpy_helper

from unitscope.blocked.convolution import conv_transpose
from unitscope.blocked.elementwise import OPERATORS, elementwise, expand, split, step
from unitscope.blocked.gelu import gelu
from unitscope.blocked.layout import NCHWC, Layout, attributes_of
from unitscope.blocked.pooling import max_pool_gradient
from unitscope.blocked.reduction import reduction
from unitscope.blocked.rows import captured, some_rows_at_a_time

__all__ = ["block_more"]

_LARGE_BYTES = 1024
"""Weights from here on are handed over in memory."""

Rule = Callable[[Layout, onnx.NodeProto], bool]

RULES: Mapping[str, Rule] = {
    **dict.fromkeys(OPERATORS, elementwise),
    "ConvTranspose": conv_transpose,
    "Expand": expand,
    "Gelu": gelu,
    "HardSigmoid": step,
    **dict.fromkeys(("ReduceMean", "ReduceSum"), reduction),
    "Reshape": max_pool_gradient,
    "Split": split,
}
"""By operator of the plain layout: emits the blocked form and pairs it with the plain output, or
the plain output itself; False where it does not cover the node."""


def block_more(
    model: onnx.ModelProto,
    weights: Mapping[str, np.ndarray],
    block: int,
    file: str,
    *,
    cores: int,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """`model` as ONNX Runtime optimised it, more of it blocked, and all large weights.

    `weights`: what the model declares as external data. `block`: channels of a block. `file`: where
    new large weights are said to lie; ONNX Runtime wants it to be there, and does not look into it
    for weights that it is given. `cores`: that share its work. The model passed in is used up.
    """
    layout = Layout(model, weights, block)
    renamed: dict[str, str] = {}
    for node in model.graph.node:
        node.input[:] = [renamed.get(name, name) for name in node.input]
        layout.meet(node)
        plain, blocked = _reordered(node)
        twin = layout.twin(plain) if plain in node.input else None
        if twin is not None:
            renamed[blocked] = twin
        elif not _covered(layout, node):
            layout.keep(node)
            if plain:
                layout.pair(plain, blocked)
    return _assembled(model, layout, weights, file, cores)


def _reordered(node: onnx.NodeProto) -> tuple[str, str]:
    """What a node turns from one layout into the other, plain and blocked.

    Plain is channels first: from channels last, which ONNX Runtime knows too, nothing follows.
    """
    if not attributes_of(node).get("channels_last"):
        if node.op_type == "ReorderInput":
            return node.input[0], node.output[0]
        if node.op_type == "ReorderOutput":
            return node.output[0], node.input[0]
    return "", ""


def _covered(layout: Layout, node: onnx.NodeProto) -> bool:
    rule = None if node.domain else RULES.get(node.op_type)
    if rule is None or not rule(layout, node):
        return False
    for out in node.output:
        shape, twin = layout.shape(out), layout.twin(out)
        if twin is not None and shape is not None:
            layout.emit("ReorderOutput", [twin], domain=NCHWC, out=out, channels=shape[1])
    return True


def _assembled(
    model: onnx.ModelProto,
    layout: Layout,
    weights: Mapping[str, np.ndarray],
    file: str,
    cores: int,
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """The model of what the outputs need."""
    outputs = [value.name for value in model.graph.output]
    nodes = _with_sums_fused(_needed(layout.nodes, outputs), layout.sums, outputs)
    nodes = some_rows_at_a_time(layout, nodes, outputs, cores)
    used = {name for node in nodes for name in captured(node)}
    declared = [tensor for tensor in model.graph.initializer if tensor.name in used]
    made = {name: content for name, content in layout.new_weights.items() if name in used}
    large = {name: content for name, content in made.items() if content.nbytes >= _LARGE_BYTES}
    found = onnx.ModelProto()
    found.CopyFrom(model)
    del found.graph.node[:], found.graph.initializer[:]
    found.graph.node.extend(nodes)
    found.graph.initializer.extend(declared)
    found.graph.initializer.extend(
        _declared(name, x, file) if name in large else numpy_helper.from_array(x, name)
        for name, x in made.items()
    )
    return found, {name: x for name, x in weights.items() if name in used} | large


def _declared(name: str, content: np.ndarray, file: str) -> onnx.TensorProto:
    tensor = numpy_helper.from_array(content[:0], name)
    tensor.dims[:], tensor.data_location = content.shape, onnx.TensorProto.EXTERNAL
    tensor.ClearField("raw_data")
    tensor.external_data.add(key="location", value=file)
    return tensor


def _needed(nodes: list[onnx.NodeProto], outputs: list[str]) -> list[onnx.NodeProto]:
    wanted = set(outputs)
    kept = []
    for node in reversed(nodes):
        if not wanted.isdisjoint(node.output):
            kept.append(node)
            wanted.update(node.input)
    return kept[::-1]


def _with_sums_fused(
    nodes: list[onnx.NodeProto], sums: set[str], outputs: list[str]
) -> list[onnx.NodeProto]:
    """A convolution that only goes into a sum of blocked tensors adds the other one itself."""
    uses = Counter(name for node in nodes for name in node.input) + Counter(outputs)
    free = {
        node.output[0]: node
        for node in nodes
        if node.domain == NCHWC and node.op_type == "Conv" and len(node.input) < 4
        and uses[node.output[0]] == 1 and "activation" not in attributes_of(node)
    }  # fmt: skip
    kept: dict[str, onnx.NodeProto] = {}
    for node in nodes:
        inside = (
            next((x for x in node.input if x in free), None) if node.output[0] in sums else None
        )
        if inside is not None:
            (other,) = (x for x in node.input if x != inside)
            convolution = kept.pop(inside)
            inputs = [*convolution.input, *[""] * (3 - len(convolution.input)), other]
            del free[inside]
            convolution.input[:], convolution.output[0] = inputs, node.output[0]
            node = convolution
        kept[next(filter(None, node.output))] = node
    return [*kept.values()]
