"""Emit a model's nodes into a graph: one form, shapes known, constants folded.

Lowering is emission. The model's nodes are emitted one after another onto given input values;
the emitter infers every shape and folds every constant on the way. An operator that nobody
asked to keep is replaced by its lowering, else by the body its schema defines, where it has one.
Half precision is computed in single: every float16 and bfloat16 of the file becomes float32.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from unitscope.errors import ModelRejected
from unitscope.graph import whole
from unitscope.graph.body import body_of, bound_to
from unitscope.graph.dialect import STANDARD
from unitscope.graph.emit import Emitter
from unitscope.graph.fold import folded
from unitscope.graph.half import HalfEmitter
from unitscope.graph.inputs import declared_type
from unitscope.graph.ir import Graph, Value
from unitscope.graph.lowerings import LOWERINGS
from unitscope.graph.model import Model
from unitscope.graph.rebatch import Shapes, Widening
from unitscope.graph.signature import Uncovered
from unitscope.graph.target import PROCESSOR, Target
from unitscope.graph.tensors import Tensors

Keep = Callable[[str], bool]
"""Told an operator of the standard domain, says whether it has a gradient rule."""

_HALVES = (TensorProto.FLOAT16, TensorProto.BFLOAT16)
_FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE)
_TYPE_ATTRIBUTES = ("to", "dtype", "output_dtype")
_THIS_MACHINE_ONLY = "com.microsoft.nchwc"


def emitter_for(model: Model, target: Target = PROCESSOR) -> Emitter:
    """An emitter on an empty graph of the model's opset that hands out none of its names."""
    graph = Graph(model.opset, target)
    graph.reserve(name for node in model.graph.node for name in node.output)
    graph.reserve(model.weights)
    graph.reserve(value.name for value in model.graph.input)
    return HalfEmitter(graph) if target.half else Emitter(graph)


def lower(
    op: Emitter,
    model: Model,
    inputs: Mapping[str, Value],
    *,
    keep: Keep,
    shapes: Shapes = MappingProxyType({}),
) -> Tensors:
    """Emit `model` onto `inputs`, one value for each input of its graph.

    `op` comes from `emitter_for(model)`. `keep`: the operators with a gradient rule stay.
    `shapes`: those of its tensors at batch 1, if constants for one row are to be widened.
    """
    tensors = Tensors()
    for name, content in model.weights.items():
        fixed = content.dtype.kind == "f"  # other names may be those that optimizers hand out
        tensors.add(name, _constant(name if fixed else op.graph.fresh_name("const"), content))
    declared = {value.name: declared_type(value) for value in model.graph.input}
    for name, value in inputs.items():
        tensors.add(name, value)
        if value.is_float and declared[name].kind in "iu":
            op.graph.whole.add(value)
    widening = Widening(shapes)
    for node in model.graph.node:
        try:
            known = [tensors[name] if name else None for name in node.input]
            _lower_node(op, node, widening.inputs(op, node, known), tensors, keep, str)
        except ModelRejected as reason:
            for name in node.output:
                tensors.refuse(name, reason)
    return tensors


def outputs_of(model: Model, tensors: Tensors) -> list[Value]:
    """The model's outputs that could be emitted; raises ModelRejected if none could."""
    names = [output.name for output in model.graph.output]
    return [tensors[name] for name in names if name in tensors] or [tensors[names[0]]]


Names = Callable[[str], str]
"""From a tensor's name in the node's own scope to its name in the emitted graph."""


def _lower_node(
    op: Emitter,
    node: onnx.NodeProto,
    inputs: Sequence[Value | None],
    tensors: Tensors,
    keep: Keep,
    names: Names,
) -> None:
    domain = "" if node.domain in STANDARD else node.domain
    attributes = {a.name: _attribute(a) for a in node.attribute}
    if _stays_half(node, inputs, attributes):
        attributes["to"] = TensorProto.FLOAT16
    if node.op_type == "Constant" and not domain:
        results: Sequence[Value | None] = [_constant("", _constant_content(node, attributes))]
    elif node.op_type == "If" and not domain:
        results = _lower_branch(op, node, tensors, keep)
    elif (
        node.op_type == "BatchNormalization"
        and not domain
        and (kernel := folded(op, inputs, attributes, names(node.output[0])))
    ):
        results = [kernel]
    elif (found := _said_otherwise(op, node, domain, inputs, attributes, keep)) is not None:
        results = found
    else:
        outputs = [names(name) if name else "" for name in node.output]
        try:
            results = whole.emit(
                op, node.op_type, inputs, attributes, outputs=outputs, name=node.name
            )
        except Uncovered as case:
            raise _refused(node, f"no lowering for {case}") from case
    for local, result in zip(node.output, results, strict=False):
        if local and result is not None:
            tensors.add(local, _named(op, result, names(local)))


def _stays_half(
    node: onnx.NodeProto, inputs: Sequence[Value | None], attributes: Mapping[str, Any]
) -> bool:
    """Whether the model would leave half precision: that is for those to say who asked for it."""
    x = inputs[0] if node.op_type == "Cast" else None
    return x is not None and x.dtype == np.float16 and attributes["to"] in _FLOATS


def _said_otherwise(
    op: Emitter,
    node: onnx.NodeProto,
    domain: str,
    inputs: Sequence[Value | None],
    attributes: Mapping[str, Any],
    keep: Keep,
) -> Sequence[Value | None] | None:
    """What the node computes, by its lowering or its body; None if it stays as it is."""
    if any(isinstance(value, onnx.GraphProto) for value in attributes.values()):
        raise _refused(node, "loops are not supported; export the model with a fixed length")
    lowering = LOWERINGS.find(domain, node.op_type)
    constant = lowering is None and all(x is None or x.const is not None for x in inputs)
    if not domain and (keep(node.op_type) or constant):
        return None
    if lowering is not None:
        try:
            return lowering.apply(op, inputs, attributes)
        except Uncovered as case:
            raise _refused(node, f"no lowering for {case}") from case
    if domain.startswith(_THIS_MACHINE_ONLY):
        raise _refused(
            node,
            "ONNX Runtime saved this file for one machine's memory layout (ORT_ENABLE_ALL); "
            "export the model again, or save it at ORT_ENABLE_EXTENDED or below",
        )
    if domain:
        raise _refused(node, f"nothing is known of this operator of the domain {domain!r}")
    body = body_of(node, inputs, op.graph.opset)
    return None if body is None else _lower_body(op, node, body, inputs, keep)


def _lower_body(
    op: Emitter,
    node: onnx.NodeProto,
    body: onnx.FunctionProto,
    inputs: Sequence[Value | None],
    keep: Keep,
) -> list[Value | None]:
    scope = Tensors()
    for name, value in zip(body.input, inputs, strict=False):
        if value is not None:
            scope.add(name, value)
    given = {attribute.name: attribute for attribute in node.attribute}
    steps = [bound_to(given, node, step, op.graph.opset) for step in body.node]
    absent = {*body.input} - {*scope}
    for step in steps:
        for index, name in enumerate(step.input):
            step.input[index] = "" if name in absent else name
    return _lower_steps(op, node, steps, list(body.output), scope, keep)


def _lower_branch(
    op: Emitter, node: onnx.NodeProto, tensors: Tensors, keep: Keep
) -> list[Value | None]:
    """The branch that a constant condition chooses."""
    condition = tensors[node.input[0]].const
    if condition is None:
        raise _refused(node, "its condition is known only at run time; export one branch of it")
    chosen = "then_branch" if condition.item() else "else_branch"
    branch = next(a.g for a in node.attribute if a.name == chosen)
    scope = tensors.inner()
    for tensor in branch.initializer:
        scope.add(tensor.name, _constant(tensor.name, _content(tensor)))
    wanted = [value.name for value in branch.output]
    return _lower_steps(op, node, branch.node, wanted, scope, keep)


def _lower_steps(
    op: Emitter,
    node: onnx.NodeProto,
    steps: Sequence[onnx.NodeProto],
    wanted: Sequence[str],
    scope: Tensors,
    keep: Keep,
) -> list[Value | None]:
    """Emit the nodes that stand for `node`, under names of their own."""
    for position, step in enumerate(steps):
        named = onnx.NodeProto()
        named.CopyFrom(step)
        named.name = f"{_label(node)}/{step.op_type}_{position}"
        inputs = [scope[name] if name else None for name in step.input]
        _lower_node(op, named, inputs, scope, keep, op.graph.fresh_name)
    return [scope.find(name) for name in wanted]


def _named(op: Emitter, value: Value, name: str) -> Value:
    """`value` under `name`; a constant needs no node for that."""
    if value.name == name:
        return value
    if value.const is not None:
        named = replace(value, name=name)
    else:
        (named,) = op.emit("Identity", [value], outputs=[name])
    if value in op.graph.whole:
        op.graph.whole.add(named)
    return named


def _attribute(attribute: onnx.AttributeProto) -> Any:
    value = helper.get_attribute_value(attribute)
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, onnx.TensorProto):
        return numpy_helper.from_array(_content(value))
    if attribute.name in _TYPE_ATTRIBUTES and value in _HALVES:
        return TensorProto.FLOAT
    if isinstance(value, onnx.GraphProto | int | float):
        return value
    return [item.decode(errors="replace") if isinstance(item, bytes) else item for item in value]


def _constant_content(node: onnx.NodeProto, attributes: Mapping[str, Any]) -> np.ndarray:
    if len(attributes) != 1:
        raise _refused(node, f"a Constant given as {', '.join(attributes) or 'nothing'}")
    ((kind, content),) = attributes.items()
    if kind == "value":
        return numpy_helper.to_array(content)
    if kind in ("value_float", "value_floats"):
        return np.array(content, np.float32)
    if kind in ("value_int", "value_ints"):
        return np.array(content, np.int64)
    raise _refused(node, f"a Constant given as {kind} is not supported")


def _content(tensor: onnx.TensorProto) -> np.ndarray:
    try:
        return numpy_helper.to_array(tensor)
    except (ValueError, TypeError) as error:
        raise ModelRejected(f"cannot read the tensor {tensor.name!r}: {error}") from error


def _constant(name: str, content: np.ndarray) -> Value:
    half = content.dtype.name in ("float16", "bfloat16")
    array = content.astype(np.float32) if half else content
    return Value(name, array.dtype, array.shape, array)


def _refused(node: onnx.NodeProto, why: str) -> ModelRejected:
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    label = _label(node)
    return ModelRejected(f"node {label!r} ({operator}): {why}", node=label, operator=operator)


def _label(node: onnx.NodeProto) -> str:
    return node.name or next((name for name in node.output if name), "?")
