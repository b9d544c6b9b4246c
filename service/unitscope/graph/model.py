"""Read an ONNX file: what is a model, what is not, and where its weights lie."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from onnx import external_data_helper, helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from unitscope.errors import ModelRejected
from unitscope.graph.dialect import (
    STANDARD,
    file_under_their_domain,
    nodes_of,
    opset_of,
    standardize,
)

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto
_REDUCED_TYPES = {"float16", "bfloat16", "int8", "int4", "uint4"}

Weights = Mapping[str, np.ndarray]

_WEIGHTS_ARE_NO_INPUTS = 4
"""From this version of the file format on, initializers need not be listed among the inputs."""

_SMALL_ELEMENTS = 256
"""Tensors up to this size stay in the graph: shapes and scales tell what operators mean."""


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """A checked ONNX model in the dialect the rest of the house speaks.

    `graph`: nodes at `opset`, local functions inlined; its inputs are those a caller feeds.
    `weights`: the content of every tensor the graph does not compute, by name. `metadata`: what
    the exporter noted of the model.
    """

    graph: onnx.GraphProto
    opset: int
    weights: Weights = field(repr=False)
    metadata: Mapping[str, str]

    @property
    def is_reduced(self) -> bool:
        """True if the file computes in half precision or in 8 bits and less."""
        quantized = any("Quantize" in node.op_type for node in self.graph.node)
        return quantized or any(
            weight.dtype.name in _REDUCED_TYPES for weight in self.weights.values()
        )


def load(source: ModelSource) -> Model:
    """The model in `source`: a path, the file's bytes, or a loaded model.

    Weights never pass through one message, so their sum may exceed protobuf's 2 GiB. Raises
    ModelRejected if `source` is not a valid ONNX model, if its external data would be read from
    outside the model's own directory, or if an operator's old form cannot be brought up to date.
    """
    directory = Path(source).parent if isinstance(source, str | os.PathLike) else None
    proto = _parse(source)
    weights = _take_weights(proto.graph, directory)
    if 0 < proto.ir_version < _WEIGHTS_ARE_NO_INPUTS:
        proto.ir_version = _WEIGHTS_ARE_NO_INPUTS
    file_under_their_domain(proto)
    try:
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelRejected(f"not a valid ONNX model: {error}") from error
    proto = standardize(proto)
    weights |= {t.name: _content(t, directory) for t in proto.graph.initializer}
    _drop_inputs(proto.graph, weights)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    return Model(proto.graph, opset_of(proto), weights, metadata)


def digest(source: ModelSource) -> str:
    """SHA-256 in hex of a file's bytes, followed by those of the files that hold its weights.

    For a model in memory, that of the serialised message.
    """
    if isinstance(source, onnx.ModelProto):
        return hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
    if isinstance(source, bytes):
        return hashlib.sha256(source).hexdigest()
    path = Path(source)
    hashed = hashlib.sha256(path.read_bytes())
    proto = _parse(path)
    tensors = [*proto.graph.initializer, *_attribute_tensors(proto.graph)]
    beside = {ExternalDataInfo(t).location for t in tensors if uses_external_data(t)}
    for location in sorted(beside):
        with (path.parent / location).open("rb") as file:
            while block := file.read(1 << 24):
                hashed.update(block)
    return hashed.hexdigest()


def _parse(source: ModelSource) -> onnx.ModelProto:
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
        return model
    try:
        if isinstance(source, bytes):
            model = onnx.load_model_from_string(source)
        else:
            model = onnx.load(source, load_external_data=False)
    except DecodeError as error:
        raise ModelRejected(f"not an ONNX file: {error}") from error
    except OSError as error:
        raise ModelRejected(f"cannot read the model: {error}") from error
    if not model.graph.node:
        raise ModelRejected("not an ONNX model: it has no nodes")
    return model


def _take_weights(graph: onnx.GraphProto, directory: Path | None) -> dict[str, np.ndarray]:
    """Take large tensors out of `graph`; each is declared as an input instead."""
    _lift_constants(graph)
    for tensor in _attribute_tensors(graph):
        if uses_external_data(tensor):
            tensor.CopyFrom(numpy_helper.from_array(_content(tensor, directory), tensor.name))
    small, taken = [], {}
    for tensor in graph.initializer:
        if not uses_external_data(tensor) and math.prod(tensor.dims) <= _SMALL_ELEMENTS:
            small.append(tensor)
        else:
            taken[tensor.name] = _content(tensor, directory)
    declared = {value.name for value in graph.input}
    graph.input.extend(
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(w.dtype), w.shape)
        for name, w in taken.items()
        if name not in declared
    )
    _replace(graph.initializer, small)
    return taken


def _lift_constants(graph: onnx.GraphProto) -> None:
    """Weights in Constant nodes become initializers like any other."""
    lifted = {
        node.output[0]: attribute.t
        for node in graph.node
        if node.op_type == "Constant" and node.domain in STANDARD
        for attribute in node.attribute
        if attribute.name == "value" and len(node.output) == 1
    }
    for name, tensor in lifted.items():
        initializer = graph.initializer.add()
        initializer.CopyFrom(tensor)
        initializer.name = name
    _replace(graph.node, [node for node in graph.node if {*node.output}.isdisjoint(lifted)])


def _drop_inputs(graph: onnx.GraphProto, weights: Weights) -> None:
    """Weights are no inputs, though IR 3 lists them among these."""
    _replace(graph.input, [value for value in graph.input if value.name not in weights])


def _replace(field: Any, kept: Sequence[Any]) -> None:
    """Leave only `kept` of a repeated field; deleting one by one takes quadratic time."""
    if len(kept) < len(field):
        copies = [type(item).FromString(item.SerializeToString()) for item in kept]
        del field[:]
        field.extend(copies)


def _content(tensor: onnx.TensorProto, directory: Path | None) -> np.ndarray:
    if uses_external_data(tensor) and directory is None:
        raise ModelRejected(
            f"the tensor {tensor.name!r} lies in another file; give the path of the model"
        )
    try:
        if uses_external_data(tensor):  # refuses paths that leave the directory
            external_data_helper.load_external_data_for_tensor(tensor, str(directory))
        return numpy_helper.to_array(tensor)
    except (OSError, ValueError, TypeError, onnx.checker.ValidationError) as error:
        raise ModelRejected(f"cannot read the tensor {tensor.name!r}: {error}") from error


def _attribute_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    for node in nodes_of(graph):
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors
