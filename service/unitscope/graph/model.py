"""Read an ONNX file: what is a model, what is not, and where its weights lie."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    graphs_in,
    opset_of,
    standardize,
)

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto
_REDUCED_TYPES = {"float16", "bfloat16", "int8", "int4", "uint4"}

Weights = Mapping[str, np.ndarray]

_WEIGHTS_ARE_NO_INPUTS = 4
"""From this version of the file format on, initializers need not be listed among the inputs."""

MAX_WEIGHT_BYTES = 1 << 33
MAX_INPUT_ELEMENTS = 1 << 26
"""In a row of an input: more than 4096 by 4096 pixels in three colours."""
MAX_INPUT_SIDE = 1 << 13
MAX_BATCH_ELEMENTS = 1 << 28

_PACKED_BITS = {
    "int4": 4, "uint4": 4, "float4_e2m1fn": 4, "int2": 2, "uint2": 2,
    "float6_e2m3fn": 6, "float6_e3m2fn": 6,
}  # fmt: skip
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


def load(source: ModelSource, directory: Path | None = None) -> Model:
    """The model in `source`: a path, the file's bytes, or a loaded model.

    `directory`: where the weights of a file given as bytes lie, if not in it. Weights never pass
    through one message, so their sum may exceed protobuf's 2 GiB. Raises ModelRejected if `source`
    is not a valid ONNX model, if its external data would be read from outside the model's own
    directory, or if an operator's old form cannot be brought up to date.
    """
    if isinstance(source, str | os.PathLike):
        directory = Path(source).parent
    proto = _parse(source)
    _lift_constants(proto.graph)
    _take_in(_inner_tensors(proto), directory)
    weights = _take_weights(proto.graph, directory)
    if 0 < proto.ir_version < _WEIGHTS_ARE_NO_INPUTS:
        proto.ir_version = _WEIGHTS_ARE_NO_INPUTS
    file_under_their_domain(proto)
    try:
        onnx.checker.check_model(proto)
    except Exception as error:  # the checker raises half a dozen kinds, in C++ and Python
        raise ModelRejected(f"not a valid ONNX model: {error}") from error
    proto = standardize(proto)
    weights |= {t.name: _content(t, directory) for t in proto.graph.initializer}
    _drop_inputs(proto.graph, weights)
    _check_inputs(proto.graph)
    metadata = {entry.key: entry.value for entry in proto.metadata_props}
    # what was taken out of a message stays in its memory as long as any part of it lives
    graph = onnx.GraphProto.FromString(proto.graph.SerializeToString())
    return Model(graph, opset_of(proto), weights, metadata)


def digest(source: ModelSource, directory: Path | None = None) -> str:
    """SHA-256 in hex of a file's bytes, followed by those of its weights in other files.

    For a model in memory, that of the serialised message. A file comes here after `load` took it;
    `directory` as there.
    """
    if isinstance(source, onnx.ModelProto):
        return hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
    if not isinstance(source, bytes):
        directory = Path(source).parent
        source = Path(source).read_bytes()
    hashed = hashlib.sha256(source)
    if directory is None:
        return hashed.hexdigest()
    proto = _parse(source)
    tensors = [*proto.graph.initializer, *_inner_tensors(proto)]
    for location, offset, length in sorted({_place(t) for t in tensors if uses_external_data(t)}):
        with (directory / location).open("rb") as file:
            file.seek(offset)
            while block := file.read(min(length, 1 << 24)):
                hashed.update(block)
                length -= len(block)
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


def _take_in(tensors: Iterable[onnx.TensorProto], directory: Path | None) -> None:
    """Read those of `tensors` that lie in other files."""
    for tensor in tensors:
        if uses_external_data(tensor):
            tensor.CopyFrom(numpy_helper.from_array(_content(tensor, directory), tensor.name))


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
        if uses_external_data(tensor):
            *_, length = _place(tensor)  # files may be endless: no more is read
            tensor.external_data.add(key="length", value=str(length))
            # refuses paths that leave the directory
            external_data_helper.load_external_data_for_tensor(tensor, str(directory))
        return numpy_helper.to_array(tensor)
    except Exception as error:  # onnx and numpy raise half a dozen kinds for nonsense in a file
        raise ModelRejected(f"cannot read the tensor {tensor.name!r}: {error}") from error


def _place(tensor: onnx.TensorProto) -> tuple[str, int, int]:
    """The file, offset and length of a tensor that lies in another file: no more than it takes."""
    dtype = helper.tensor_dtype_to_np_dtype(tensor.data_type)
    count = math.prod(tensor.dims)
    needed = -(-count * _PACKED_BITS.get(dtype.name, 8 * dtype.itemsize) // 8)
    if not 0 <= needed <= MAX_WEIGHT_BYTES:
        raise ValueError(f"it would take {needed} bytes, at most {MAX_WEIGHT_BYTES} are taken")
    where = ExternalDataInfo(tensor)
    length = needed if where.length is None else where.length
    if length > needed:
        raise ValueError(f"it takes {needed} bytes, its file is said to hold {length}")
    return where.location, where.offset or 0, length


def _inner_tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Those in attributes, in branches and in local functions."""
    lists = [model.graph.node, *(function.node for function in model.functions)]
    graphs = [graph for nodes in lists for graph in graphs_in(nodes)]
    for graph in graphs:
        yield from graph.initializer
    for nodes in (*lists, *(graph.node for graph in graphs)):
        for node in nodes:
            for attribute in node.attribute:
                yield from ([attribute.t] if attribute.HasField("t") else [])
                yield from attribute.tensors


def _check_inputs(graph: onnx.GraphProto) -> None:
    """Refuse pictures that no classifier takes, before anybody makes one."""
    for value in graph.input:
        if value.type.tensor_type.elem_type not in onnx.TensorProto.DataType.values():
            raise ModelRejected(f"the input {value.name!r} declares an unknown element type")
        sizes = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
        row = math.prod(max(size, 1) for size in sizes[1:])
        side = max(sizes[1:]) if len(sizes) > 3 else 0
        batch = max(sizes[:1], default=0) * row
        if row > MAX_INPUT_ELEMENTS or side > MAX_INPUT_SIDE or batch > MAX_BATCH_ELEMENTS:
            raise ModelRejected(f"the input {value.name!r} declares absurd sizes: {sizes}")
