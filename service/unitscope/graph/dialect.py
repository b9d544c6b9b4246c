"""Bring a model to the dialect the rest of the house speaks: opset 18, no local functions."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from graphlib import TopologicalSorter

import onnx
from onnx import defs, inliner, version_converter

from unitscope.errors import ModelRejected
from unitscope.graph.lowering import MICROSOFT

OPSET = 18
"""The opset graphs are brought to: the newest that every execution provider covers."""

STANDARD = ("", "ai.onnx")
"""The two names of the standard domain."""

MAX_NODES = 50_000
"""Local functions inlined and branches counted; the largest exports have a fifth of it."""

_Called = tuple[str, str, str]
"""Domain, name and overload of a function."""

_IR_VERSION = 8
_BROADCAST_FROM_THE_END = 7
"""The opset in which operands began to be aligned at their last axes."""
_CHANGED_AFTER_18 = frozenset({"AveragePool", "DFT", "GridSample", "GroupNormalization"})
"""Operators that mean something else today under the same name and attributes."""
_FILED_AS_STANDARD = frozenset({"LayerNormalization", "SimplifiedLayerNormalization"})
"""Operators that ONNX Runtime writes in the standard domain, older ones too, which lack them."""


def standardize(model: onnx.ModelProto) -> onnx.ModelProto:
    """`model` with local functions inlined, at opset 18 or, where that cannot say it, its own.

    Raises ModelRejected if an operator's old form cannot be converted, if the opset is not known
    and if the model would have an absurd number of nodes.
    """
    _check_count(model)
    if model.functions:
        model = _inlined(model)
    opset = opset_of(model)
    if opset < OPSET:
        return _converted(model, opset)
    if opset > OPSET and all(_same_at_18(node) for node in nodes_of(model.graph)):
        next(entry for entry in model.opset_import if entry.domain in STANDARD).version = OPSET
    if opset_of(model) > defs.onnx_opset_version():
        raise ModelRejected(
            f"opset {opset} is not known, the newest is {defs.onnx_opset_version()}; "
            "export the model for an older one"
        )
    return model


def file_under_their_domain(model: onnx.ModelProto) -> None:
    """Move operators that ONNX Runtime alone takes for standard ones to its own domain."""
    opset = opset_of(model)
    foreign = [
        node
        for node in nodes_of(model.graph)
        if node.op_type in _FILED_AS_STANDARD
        and node.domain in STANDARD
        and not defs.has(node.op_type, opset, "")
    ]
    for node in foreign:
        node.domain = MICROSOFT
    if foreign and MICROSOFT not in {entry.domain for entry in model.opset_import}:
        model.opset_import.add(domain=MICROSOFT, version=1)


def opset_of(model: onnx.ModelProto) -> int:
    """The version of the standard operator set that `model` imports; 18 if it uses none."""
    versions = [entry.version for entry in model.opset_import if entry.domain in STANDARD]
    return int(versions[0]) if versions else OPSET


def nodes_of(graph: onnx.GraphProto) -> Iterator[onnx.NodeProto]:
    """All nodes, those of branches and loop bodies included."""
    return _with_branches(graph.node)


def graphs_in(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.GraphProto]:
    """The branches and loop bodies of `nodes`, and those in these."""
    waiting = list(nodes)
    while waiting:
        for attribute in waiting.pop().attribute:
            for graph in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield graph
                waiting.extend(graph.node)


def _with_branches(nodes: Iterable[onnx.NodeProto]) -> Iterator[onnx.NodeProto]:
    yield from nodes
    for graph in graphs_in(nodes):
        yield from graph.node


def _inlined(model: onnx.ModelProto) -> onnx.ModelProto:
    try:
        return inliner.inline_local_functions(model)
    except Exception as error:  # the inliner raises half a dozen kinds, in C++ and Python
        raise ModelRejected(f"cannot inline the model's functions: {error}") from error


def _check_count(model: onnx.ModelProto) -> None:
    """Refuse a model before its functions, which call others twice and again, fill the memory."""
    functions = {(f.domain, f.name, f.overload): f for f in model.functions}
    known: dict[_Called, int] = {}

    def count(nodes: Iterable[onnx.NodeProto]) -> int:
        return sum(known.get(_called(node), 1) for node in nodes)

    for key in _callees_first(functions):
        known[key] = count(_with_branches(functions[key].node))
    if (total := count(nodes_of(model.graph))) > MAX_NODES:
        raise ModelRejected(f"the model has {total} nodes, at most {MAX_NODES} are taken")


def _callees_first(functions: Mapping[_Called, onnx.FunctionProto]) -> Iterable[_Called]:
    """The functions, each after those that it calls."""
    calls = {
        key: functions.keys() & {_called(node) for node in _with_branches(function.node)}
        for key, function in functions.items()
    }
    return TopologicalSorter(calls).static_order()


def _called(node: onnx.NodeProto) -> _Called:
    return node.domain, node.op_type, node.overload


def _converted(model: onnx.ModelProto, opset: int) -> onnx.ModelProto:
    """ONNX's own conversion, which forgets what exporters noted of a node: that is put back."""
    sizes = {tensor.name: math.prod(tensor.dims) for tensor in model.graph.initializer}
    for node in model.graph.node if opset < _BROADCAST_FROM_THE_END else ():
        if node.op_type == "PRelu" and sizes.get(node.input[1]) != 1:
            raise ModelRejected(
                f"node {node.name or node.output[0]!r} (PRelu): in opset {opset} a slope counts "
                "channels, which cannot be converted; export the model at opset 7 or newer",
                node=node.name or node.output[0],
                operator="PRelu",
            )
    notes = {node.output[0]: node.metadata_props for node in model.graph.node if node.output}
    model.ir_version = max(model.ir_version, _IR_VERSION)
    try:
        converted = version_converter.convert_version(model, OPSET)
    except Exception as error:  # the converter raises half a dozen kinds, in C++ and Python
        raise ModelRejected(f"cannot convert opset {opset} to {OPSET}: {error}") from error
    for node in converted.graph.node:
        if not node.metadata_props:
            node.metadata_props.extend(notes.get(node.output[0], ()) if node.output else ())
    return converted


def _same_at_18(node: onnx.NodeProto) -> bool:
    """True if the node could have been written at opset 18 with the same meaning."""
    if node.domain not in STANDARD:
        return True
    if node.op_type in _CHANGED_AFTER_18 or not defs.has(node.op_type, OPSET, ""):
        return False
    schema = defs.get_schema(node.op_type, OPSET, "")
    known = all(attribute.name in schema.attributes for attribute in node.attribute)
    return known and len(node.input) <= schema.max_input
