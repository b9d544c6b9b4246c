"""Half precision as a graphics processor computes it, on ONNX Runtime for the processor.

That has hardly a kernel for float16: it computes in float32 and leaves out the casts in between.
"""

from __future__ import annotations

from dataclasses import replace

from onnx import NodeProto, TensorProto, helper, shape_inference

from unitscope.graph.ir import Parts

_NATIVE = ("Cast", "Constant", "ConstantOfShape")


def rounding(parts: Parts) -> Parts:
    """`parts` with a cast after every node that gives float16, and one before whoever takes it."""
    graph = shape_inference.infer_shapes(parts.model).graph
    halves = {x.name for x in graph.value_info if _is_half(x.type.tensor_type.elem_type)}
    halves |= {x.name for x in graph.initializer if _is_half(x.data_type)}
    model = type(parts.model)()
    model.CopyFrom(parts.model)
    del model.graph.node[:]
    for node in parts.model.graph.node:
        model.graph.node.extend([node] if node.op_type in _NATIVE else _rounded(node, halves))
    return replace(parts, model=model)


def _rounded(node: NodeProto, halves: set[str]) -> list[NodeProto]:
    own = NodeProto()
    own.CopyFrom(node)
    before, after = [], []
    for index, x in enumerate(node.input):
        if x in halves:
            own.input[index] = f"{x}/to/{node.output[0]}/{index}"
            before.append(helper.make_node("Cast", [x], [own.input[index]], to=TensorProto.FLOAT))
    for index, y in enumerate(node.output):
        if y in halves:
            own.output[index] = f"{y}/exact"
            after.append(helper.make_node("Cast", [f"{y}/exact"], [y], to=TensorProto.FLOAT16))
    return [*before, own, *after]


def _is_half(element_type: int) -> bool:
    return element_type == TensorProto.FLOAT16
