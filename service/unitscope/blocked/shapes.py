"""Shapes of the tensors of an optimised graph, found when they are asked for.

ONNX Runtime moves axes about while it optimises, so what a name meant before does not count.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import onnx
from onnx import TensorProto, TypeProto, defs, helper, numpy_helper, shape_inference

NCHWC = "com.microsoft.nchwc"
"""The domain of ONNX Runtime's blocked kernels: as the standard's, but for sums and activations."""

MICROSOFT = "com.microsoft"

_LIKE = {
    (MICROSOFT, "FusedConv"): ("Conv", 3),
    (MICROSOFT, "FusedGemm"): ("Gemm", 3),
    **{
        (MICROSOFT, operator): ("Identity", 1)
        for operator in (
            "BiasGelu", "BiasSoftmax", "FastGelu", "Gelu", "QuickGelu", "SkipLayerNormalization",
        )
    },
}  # fmt: skip
"""Operators of the standard, and how many of its inputs they share."""

Shape = tuple[int, ...]


class Shapes:
    """Of plain tensors, and of blocked ones with the channels that fill up their last block."""

    def __init__(
        self, model: onnx.ModelProto, block: int, producers: Mapping[str, onnx.NodeProto]
    ) -> None:
        """`producers`: the nodes by what they compute, complete for every name asked for."""
        graph = model.graph
        self._opset = next(x.version for x in model.opset_import if x.domain in ("", "ai.onnx"))
        self._block = block
        self._producers = producers
        self._contents = {tensor.name: tensor for tensor in graph.initializer}
        self._types: dict[str, TypeProto | None] = {value.name: value.type for value in graph.input}
        for tensor in graph.initializer:
            self._types[tensor.name] = helper.make_tensor_type_proto(tensor.data_type, tensor.dims)

    def add(self, name: str, content: np.ndarray) -> None:
        """A new initializer."""
        kind = helper.np_dtype_to_tensor_dtype(content.dtype)
        self._types[name] = helper.make_tensor_type_proto(kind, content.shape)
        if content.ndim == 1:  # it may say a shape
            self._contents[name] = numpy_helper.from_array(content, name)

    def of(self, name: str) -> Shape | None:
        """The shape of `name`; None where it is not known or not fixed."""
        waiting = [name]
        while waiting:
            node = self._producers.get(waiting[-1])
            unknown = [x for x in node.input if x and x not in self._types] if node else []
            if waiting[-1] not in self._types and unknown:
                waiting += unknown
                continue
            if waiting.pop() not in self._types and node is not None:
                self._types |= dict.fromkeys(node.output) | self._outputs_of(node)
        found = self._types.get(name)
        if found is None or not found.tensor_type.HasField("shape"):
            return None
        dims = found.tensor_type.shape.dim
        fixed = all(dim.HasField("dim_value") for dim in dims)
        return tuple(dim.dim_value for dim in dims) if fixed else None

    def is_float(self, name: str) -> bool:
        """Whether `name` is known to be of float32."""
        found = self._types.get(name) if self.of(name) is not None else None
        return found is not None and found.tensor_type.elem_type == TensorProto.FLOAT

    def _outputs_of(self, node: onnx.NodeProto) -> dict[str, TypeProto]:
        known = {x: self._types[x] for x in node.input if x}
        types = {name: kind for name, kind in known.items() if kind is not None}
        if len(types) < len(known):
            return {}
        if node.op_type in {"ReorderInput", "ReorderOutput"}:
            return self._reordered(node, types[node.input[0]])
        if node.op_type == "FusedMatMul":
            node, types = _turned(node, types)
        node = _as_standard(node)
        if node.domain or not defs.has(node.op_type, self._opset, ""):
            return {}
        schema = defs.get_schema(node.op_type, self._opset, "")
        data = {x: self._contents[x] for x in node.input if x in self._contents}
        inline = {x: t for x, t in data.items() if t.data_location != TensorProto.EXTERNAL}
        try:
            return dict(shape_inference.infer_node_outputs(schema, node, types, inline))
        except shape_inference.InferenceError:
            return {}

    def _reordered(self, node: onnx.NodeProto, given: TypeProto) -> dict[str, TypeProto]:
        attributes = {entry.name: entry.i for entry in node.attribute}
        dims = [dim.dim_value for dim in given.tensor_type.shape.dim]
        last = attributes.get("channels_last")
        goes_in = node.op_type == "ReorderInput"
        if last and goes_in:
            dims.insert(1, dims.pop())
        batch, channels, *sides = dims
        filled = math.ceil(channels / self._block) * self._block
        inner = attributes.get("channels", filled)
        shape = (batch, *sides, inner) if last and not goes_in else (batch, inner, *sides)
        return {node.output[0]: helper.make_tensor_type_proto(TensorProto.FLOAT, shape)}


def _as_standard(node: onnx.NodeProto) -> onnx.NodeProto:
    """The operator of the standard that ONNX Runtime's own, if it is one, takes its shapes from."""
    if node.domain != NCHWC and (node.domain, node.op_type) not in _LIKE:
        return node
    operator, inputs = _LIKE.get((node.domain, node.op_type), (node.op_type, 3))
    standard = helper.make_node(operator, node.input[:inputs], node.output[:1])
    known = defs.get_schema(operator, "").attributes
    standard.attribute.extend(x for x in node.attribute if x.name in known)
    return standard


def _turned(
    node: onnx.NodeProto, types: dict[str, TypeProto]
) -> tuple[onnx.NodeProto, dict[str, TypeProto]]:
    """The product, and the types of its matrices as they are multiplied."""
    attributes = {entry.name: entry.i for entry in node.attribute}
    turned = {}
    for name, given in zip(("A", "B"), node.input, strict=True):
        dims = [dim.dim_value for dim in types[given].tensor_type.shape.dim]
        if attributes.get(f"trans{name}"):
            dims[-2:] = dims[:-3:-1]
        turned[name] = helper.make_tensor_type_proto(TensorProto.FLOAT, dims)
    return helper.make_node("MatMul", ["A", "B"], node.output), turned
