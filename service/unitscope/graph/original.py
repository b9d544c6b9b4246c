"""A model's file as it is, to be compared with what lowering makes of it."""

from __future__ import annotations

from pathlib import Path

import onnx


def with_output(path: Path, tensor: str) -> onnx.ModelProto:
    """The model at `path` with the single output `tensor`; external weights stay where they are."""
    proto = onnx.load(path, load_external_data=False)
    declared = [value for value in proto.graph.output if value.name == tensor]
    del proto.graph.output[:]
    proto.graph.output.extend(declared or [onnx.ValueInfoProto(name=tensor)])
    return proto
