"""Emit a model's nodes into a graph: one form, shapes known, constants folded.

Lowering is emission. The model's nodes are emitted one after another onto given input values;
the emitter infers every shape and folds every constant on the way. An operator that nobody
asked to keep is replaced by the body its schema defines, where it has one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper

from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Dim, Graph, Shape, Value
from unitscope.graph.model import opset_of

Keep = Callable[[str], bool]
"""Told an operator of the standard domain, says whether it must not be replaced by its body."""


def image_input(model: onnx.ModelProto) -> onnx.ValueInfoProto:
    """The input that is not a weight (IR 3 lists initializers among the inputs).

    Raises ModelRejected unless there is exactly one, of float32 elements.
    """
    weights = {tensor.name for tensor in model.graph.initializer}
    inputs = [value for value in model.graph.input if value.name not in weights]
    if len(inputs) != 1:
        names = ", ".join(repr(value.name) for value in inputs)
        raise ModelRejected(f"the model has {len(inputs)} inputs ({names}), expected one image")
    (image,) = inputs
    if image.type.tensor_type.elem_type != onnx.TensorProto.FLOAT:
        got = helper.tensor_dtype_to_string(image.type.tensor_type.elem_type)
        raise ModelRejected(f"input {image.name!r} holds {got}, expected TensorProto.FLOAT")
    return image


def declared_shape(value: onnx.ValueInfoProto) -> Shape:
    """The declared shape, each unknown size under a name of its own.

    Names in files are not trusted: exporters write "?" for height and for width.
    """
    if not value.type.tensor_type.HasField("shape"):
        raise ModelRejected(f"input {value.name!r} declares no shape")
    return tuple(
        int(dim.dim_value)
        if dim.HasField("dim_value") and dim.dim_value > 0
        else _symbol(value.name, axis)
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
    )


def _symbol(name: str, axis: int) -> Dim:
    return "N" if axis == 0 else f"{name}_{axis}"


def emitter_for(model: onnx.ModelProto) -> Emitter:
    """An emitter on an empty graph of the model's opset that hands out none of its names."""
    graph = Graph(opset_of(model))
    graph.reserve(name for node in model.graph.node for name in node.output)
    graph.reserve(tensor.name for tensor in model.graph.initializer)
    graph.reserve(value.name for value in model.graph.input)
    return Emitter(graph)


def lower(
    op: Emitter, model: onnx.ModelProto, inputs: Mapping[str, Value], *, keep: Keep
) -> dict[str, Value]:
    """Emit a standardized `model` onto `inputs`; returns every value by its tensor name.

    `op` comes from `emitter_for(model)`. Raises ModelRejected naming the node in the way.
    """
    graph = model.graph
    values = {
        tensor.name: _constant(tensor.name, numpy_helper.to_array(tensor))
        for tensor in graph.initializer
    }
    values.update(inputs)
    for node in graph.node:
        _lower_node(op, node, values, keep)
    return values


def _lower_node(op: Emitter, node: onnx.NodeProto, values: dict[str, Value], keep: Keep) -> None:
    domain = "" if node.domain == "ai.onnx" else node.domain
    attributes = {a.name: _attribute(a) for a in node.attribute}
    if any(isinstance(a, onnx.GraphProto) for a in attributes.values()):
        raise ModelRejected(
            f"node {_label(node)!r} ({node.op_type}): control flow is not supported",
            node=_label(node),
            operator=node.op_type,
        )
    if node.op_type == "Constant" and not domain:
        values[node.output[0]] = _constant(node.output[0], _constant_content(attributes))
        return
    inputs = [values[name] if name else None for name in node.input]
    body = None if domain or keep(node.op_type) else _body(op, node, inputs)
    if body is not None:
        _inline(op, node, body, inputs, values, keep)
        return
    outputs = op.emit(
        node.op_type,
        inputs,
        attributes,
        outputs=list(node.output),
        name=node.name,
        domain=domain,
        scope=_scope(node),
    )
    values.update({name: value for name, value in zip(node.output, outputs, strict=True) if name})


def _scope(node: onnx.NodeProto) -> str:
    """The innermost module of the path that PyTorch's exporter leaves in a node's metadata."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            path = re.findall(r"'([^']*)'", entry.value)
            return str(path[-2]) if len(path) > 1 else ""
    return ""


def _body(
    op: Emitter, node: onnx.NodeProto, inputs: Sequence[Value | None]
) -> onnx.FunctionProto | None:
    """The function that defines the operator at this opset, if the standard gives one."""
    if not defs.has(node.op_type, op.graph.opset, ""):
        return None
    schema: Any = defs.get_schema(node.op_type, op.graph.opset, "")  # its stubs lack the bodies
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= op.graph.opset]
        if versions:
            return onnx.FunctionProto.FromString(
                schema.get_function_with_opset_version(max(versions))
            )
    if schema.has_context_dependent_function:
        versions = [
            v for v in schema.context_dependent_function_opset_versions if v <= op.graph.opset
        ]
        if versions:
            types = [_type_bytes(value) for value in inputs]
            content = schema.get_context_dependent_function_with_opset_version(
                max(versions), node.SerializeToString(), types
            )
            return onnx.FunctionProto.FromString(content)
    return None


def _inline(
    op: Emitter,
    node: onnx.NodeProto,
    body: onnx.FunctionProto,
    inputs: Sequence[Value | None],
    values: dict[str, Value],
    keep: Keep,
) -> None:
    """Emit the body's nodes under fresh names; its outputs take the node's output names."""
    padded = [*inputs, *([None] * (len(body.input) - len(inputs)))]
    inner = {name: value for name, value in zip(body.input, padded, strict=True) if value}
    renamed = dict(zip(body.output, node.output, strict=False))
    given = {attribute.name: attribute for attribute in node.attribute}
    given = {a.name: a for a in _schema_defaults(op, node)} | given
    for position, step in enumerate(body.node):
        bound = onnx.NodeProto()
        bound.CopyFrom(step)
        bound.name = f"{_label(node)}/{step.op_type}_{position}"
        _bind_attributes(bound, given)
        for index, name in enumerate(step.input):
            bound.input[index] = inner[name].name if name in inner else ""
        for index, name in enumerate(step.output):
            bound.output[index] = renamed.get(name) or (op.graph.fresh_name(name) if name else "")
        scope = {value.name: value for value in inner.values()}
        _lower_node(op, bound, scope, keep)
        inner.update({n: scope[o] for n, o in zip(step.output, bound.output, strict=True) if o})
    values.update({renamed[name]: inner[name] for name in body.output if renamed.get(name)})


def _schema_defaults(op: Emitter, node: onnx.NodeProto) -> list[onnx.AttributeProto]:
    schema = defs.get_schema(node.op_type, op.graph.opset, "")
    return [a.default_value for a in schema.attributes.values() if a.default_value.name]


def _bind_attributes(node: onnx.NodeProto, given: Mapping[str, onnx.AttributeProto]) -> None:
    """Replace references to the function's attributes by what the caller gave."""
    bound = []
    for attribute in node.attribute:
        if attribute.ref_attr_name:
            if attribute.ref_attr_name not in given:
                continue
            actual = onnx.AttributeProto()
            actual.CopyFrom(given[attribute.ref_attr_name])
            actual.name = attribute.name
            attribute = actual
        bound.append(attribute)
    del node.attribute[:]
    node.attribute.extend(bound)


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, Sequence) and value and isinstance(value[0], bytes):
        return [item.decode() for item in value]
    return (
        value
        if isinstance(value, onnx.GraphProto | onnx.TensorProto | int | float | str)
        else list(value)
    )


def _constant_content(attributes: Mapping[str, Any]) -> np.ndarray:
    ((kind, content),) = attributes.items()
    if kind == "value":
        return numpy_helper.to_array(content)
    if kind in ("value_float", "value_floats"):
        return np.array(content, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(content, np.int64)
    raise ModelRejected(f"a Constant given as {kind} is not supported", operator="Constant")


def _constant(name: str, content: np.ndarray) -> Value:
    return Value(name, content.dtype, content.shape, content)


def _type_bytes(value: Value | None) -> bytes:
    if value is None:
        return b""
    return bytes(helper.make_tensor_type_proto(value.elem_type, value.shape).SerializeToString())


def _label(node: onnx.NodeProto) -> str:
    return node.name or next((name for name in node.output if name), "?")
