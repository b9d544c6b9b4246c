"""Read an ONNX file and bring it to the dialect the rest of the house speaks."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import onnx
from google.protobuf.message import DecodeError
from onnx import defs, external_data_helper, inliner, version_converter

from unitscope.errors import ModelRejected

OPSET = 18
"""The opset graphs are brought to: the newest that every execution provider covers."""

_CHANGED_AFTER_18 = frozenset({"AveragePool", "DFT", "GridSample", "GroupNormalization"})
"""Operators that mean something else today under the same name and attributes."""

ModelSource = str | os.PathLike[str] | bytes | onnx.ModelProto


def load(source: ModelSource) -> onnx.ModelProto:
    """The model in `source` (a path, the file's bytes, or a loaded model), checked by ONNX.

    Raises ModelRejected if it is not a valid ONNX model, or if its external data would be read
    from outside the model's own directory.
    """
    if isinstance(source, onnx.ModelProto):
        model = onnx.ModelProto()
        model.CopyFrom(source)
    else:
        model = _parse(source)
    try:
        onnx.checker.check_model(model)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ModelRejected(f"not a valid ONNX model: {error}") from error
    return model


def digest(source: ModelSource) -> str:
    """SHA-256 of the file's bytes (of the serialised message for a model in memory), in hex."""
    if isinstance(source, onnx.ModelProto):
        return hashlib.sha256(source.SerializeToString(deterministic=True)).hexdigest()
    content = source if isinstance(source, bytes) else Path(source).read_bytes()
    return hashlib.sha256(content).hexdigest()


def standardize(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with local functions inlined, at opset 18 or, where that cannot say it, its own.

    Raises ModelRejected if an operator's old form cannot be converted.
    """
    if model.functions:
        model = inliner.inline_local_functions(model)
    opset = opset_of(model)
    if opset < OPSET:
        try:
            return version_converter.convert_version(model, OPSET)
        except RuntimeError as error:
            raise ModelRejected(f"cannot convert opset {opset} to {OPSET}: {error}") from error
    if opset > OPSET and all(_same_at_18(node) for node in model.graph.node):
        restamped = onnx.ModelProto()
        restamped.CopyFrom(model)
        next(
            entry for entry in restamped.opset_import if entry.domain in ("", "ai.onnx")
        ).version = OPSET
        return restamped
    return model


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operator set that `model` imports."""
    versions = [entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")]
    if not versions:
        raise ModelRejected("the model imports no standard operator set (domain ai.onnx)")
    return int(versions[0])


def _parse(source: str | os.PathLike[str] | bytes) -> onnx.ModelProto:
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
    _load_external_data(model, None if isinstance(source, bytes) else Path(source).parent)
    return model


def _load_external_data(model: onnx.ModelProto, directory: Path | None) -> None:
    external = [t for t in _tensors(model.graph) if external_data_helper.uses_external_data(t)]
    if not external:
        return
    if directory is None:
        raise ModelRejected("a model given as bytes cannot keep its weights in other files")
    try:
        for tensor in external:  # refuses paths that leave the directory
            external_data_helper.load_external_data_for_tensor(tensor, str(directory))
            tensor.data_location = onnx.TensorProto.DEFAULT
            del tensor.external_data[:]
    except (OSError, ValueError, onnx.checker.ValidationError) as error:
        raise ModelRejected(f"cannot read the external data of {tensor.name!r}: {error}") from error


def _tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for node in graph.node:
        for attribute in node.attribute:
            yield from ([attribute.t] if attribute.HasField("t") else [])
            yield from attribute.tensors


def _same_at_18(node: onnx.NodeProto) -> bool:
    """True if the node could have been written at opset 18 with the same meaning."""
    if node.domain not in ("", "ai.onnx"):
        return True
    if node.op_type in _CHANGED_AFTER_18 or not defs.has(node.op_type, OPSET, ""):
        return False
    schema = defs.get_schema(node.op_type, OPSET, "")
    known = all(attribute.name in schema.attributes for attribute in node.attribute)
    return known and len(node.input) <= schema.max_input
