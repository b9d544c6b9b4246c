"""The bodies that ONNX's schemas define for operators that others can say."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import onnx
from onnx import defs, helper

from unitscope.graph.ir import Value


def body_of(
    node: onnx.NodeProto, inputs: Sequence[Value | None], opset: int
) -> onnx.FunctionProto | None:
    """The function that defines a standard operator at `opset`, if its schema gives one."""
    if not defs.has(node.op_type, opset, ""):
        return None
    schema: Any = defs.get_schema(node.op_type, opset, "")  # its stubs lack the bodies
    if schema.has_function:
        versions = [v for v in schema.function_opset_versions if v <= opset]
        if versions:
            content = schema.get_function_with_opset_version(max(versions))
            return onnx.FunctionProto.FromString(content)
    if schema.has_context_dependent_function:
        versions = [v for v in schema.context_dependent_function_opset_versions if v <= opset]
        if versions:
            types = [_type_bytes(value) for value in inputs]
            content = schema.get_context_dependent_function_with_opset_version(
                max(versions), node.SerializeToString(), types
            )
            return onnx.FunctionProto.FromString(content)
    return None


def bound_to(
    given: Mapping[str, onnx.AttributeProto],
    node: onnx.NodeProto,
    step: onnx.NodeProto,
    opset: int,
) -> onnx.NodeProto:
    """`step` of the body of `node`, its references to attributes replaced by those `given`."""
    schema = defs.get_schema(node.op_type, opset, "")
    defaults = {
        name: attribute.default_value
        for name, attribute in schema.attributes.items()
        if attribute.default_value.name
    }
    bound = onnx.NodeProto()
    bound.CopyFrom(step)
    del bound.attribute[:]
    for attribute in step.attribute:
        if not attribute.ref_attr_name:
            bound.attribute.append(attribute)
            continue
        actual = given.get(attribute.ref_attr_name) or defaults.get(attribute.ref_attr_name)
        if actual is not None:
            bound.attribute.append(actual)
            bound.attribute[-1].name = attribute.name
    return bound


def _type_bytes(value: Value | None) -> bytes:
    if value is None:
        return b""
    return bytes(helper.make_tensor_type_proto(value.elem_type, value.shape).SerializeToString())
