"""A model's file as it is, to be compared with what lowering makes of it."""

from __future__ import annotations

from pathlib import Path

import onnx

from unitscope.graph.dialect import nodes_of


def with_output(path: Path, tensor: str) -> onnx.ModelProto:
    """The model at `path` up to its tensor, which is the only output.

    Weights kept beside the file stay there.
    """
    proto = onnx.load(path, load_external_data=False)
    graph = proto.graph
    wanted, kept = {tensor}, []
    for node in reversed(graph.node):
        if not wanted.isdisjoint(node.output):
            kept.append(onnx.NodeProto.FromString(node.SerializeToString()))
            wanted.update(name for inner in (node, *_inside(node)) for name in inner.input)
    declared = [value for value in graph.output if value.name == tensor]
    del graph.node[:], graph.output[:]
    graph.node.extend(kept[::-1])
    graph.output.extend(declared or [onnx.ValueInfoProto(name=tensor)])
    return proto


def _inside(node: onnx.NodeProto) -> list[onnx.NodeProto]:
    """The nodes of the node's branches, which may use tensors around them."""
    return [inner for attribute in node.attribute for inner in nodes_of(attribute.g)]
