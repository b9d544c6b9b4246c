"""Random mutations of one field of a model: names, sizes, types, attributes, order, opsets."""

from __future__ import annotations

from collections.abc import Callable
from random import Random
from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, defs, helper

_EXTREMES = (0, 1, -1, 2, -2, 7, 70, 2**31 - 1, 2**31, -(2**31), 2**40, 2**62, -(2**63), 2**63 - 1)
_NAMES = (
    "",
    "image",
    "\0",
    "a\0b",
    "x" * 100_000,
    "ü",
    "../x",
    "output",
    "N",
    "?",
    "unitscope/step",
)
_SIZES = (0, -1, 1, 2, 3, 70, 2**31, 2**40, 2**62)
_DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc", "nobody", "\0")
_OPERATORS = sorted({schema.name for schema in defs.get_all_schemas() if not schema.domain})

Mutate = Callable[[onnx.ModelProto, Random], None]


def rename_input(model: onnx.ModelProto, random: Random) -> None:
    _set_one(_any_node(model, random).input, random, _some_name(model, random))


def rename_output(model: onnx.ModelProto, random: Random) -> None:
    _set_one(_any_node(model, random).output, random, _some_name(model, random))


def resize_inputs(model: onnx.ModelProto, random: Random) -> None:
    names = _any_node(model, random).input
    if random.random() < 0.6 and names:
        del names[random.randrange(len(names))]
    else:
        names.extend([_some_name(model, random)] * random.choice((1, 3)))


def resize_outputs(model: onnx.ModelProto, random: Random) -> None:
    names = _any_node(model, random).output
    if random.random() < 0.5 and names:
        del names[random.randrange(len(names))]
    else:
        names.append(_some_name(model, random))


def move_nodes(model: onnx.ModelProto, random: Random) -> None:
    """Removed, doubled, or out of order."""
    nodes = list(model.graph.node)
    node = nodes.pop(random.randrange(len(nodes)))
    for _ in range(random.choice((0, 1, 2))):
        nodes.insert(random.randrange(len(nodes) + 1), node)
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def close_a_cycle(model: onnx.ModelProto, random: Random) -> None:
    node = _any_node(model, random)
    if node.output:
        _set_one(node.input, random, node.output[0])


def swap_operator(model: onnx.ModelProto, random: Random) -> None:
    _any_node(model, random).op_type = random.choice(_OPERATORS)


def change_domain(model: onnx.ModelProto, random: Random) -> None:
    _any_node(model, random).domain = random.choice(_DOMAINS)


def drop_weight(model: onnx.ModelProto, random: Random) -> None:
    if model.graph.initializer:
        del model.graph.initializer[random.randrange(len(model.graph.initializer))]


def rename_weight(model: onnx.ModelProto, random: Random) -> None:
    if weight := _any_weight(model, random):
        weight.name = _some_name(model, random)


def reshape_weight(model: onnx.ModelProto, random: Random) -> None:
    """Sizes that do not fit the content, or that do and make no sense."""
    if weight := _any_weight(model, random):
        dims = [random.choice(_SIZES) if random.random() < 0.4 else dim for dim in weight.dims]
        dims = random.choice((dims, dims[1:], [*dims, 1], [1] * 70 + dims, dims[::-1]))
        del weight.dims[:]
        weight.dims.extend(dims)


def retype_weight(model: onnx.ModelProto, random: Random) -> None:
    if weight := _any_weight(model, random):
        weight.data_type = random.choice((*TensorProto.DataType.values(), 99))


def fill_weight(model: onnx.ModelProto, random: Random) -> None:
    """All bits set: −1, not a number."""
    if weight := _any_weight(model, random):
        weight.raw_data = random.choice((b"\xff", b"\0", b"\x7f")) * len(weight.raw_data)


def empty_weight(model: onnx.ModelProto, random: Random) -> None:
    if weight := _any_weight(model, random):
        weight.raw_data = weight.raw_data[: random.choice((0, 1, 8))]


def change_attribute(model: onnx.ModelProto, random: Random) -> None:
    nodes = [node for node in model.graph.node if node.attribute]
    if nodes:
        attribute = random.choice(random.choice(nodes).attribute)
        _replace(attribute, attribute.name, _value_like(attribute, random))


def add_attribute(model: onnx.ModelProto, random: Random) -> None:
    """One that the operator has."""
    node = _any_node(model, random)
    if defs.has(node.op_type) and (known := defs.get_schema(node.op_type).attributes):
        name = random.choice(sorted(known))
        kinds: list[Any] = [random.choice(_EXTREMES), [random.choice(_EXTREMES)] * 2, 0.5, "?"]
        _replace(node.attribute.add(), name, random.choice(kinds))


def drop_attribute(model: onnx.ModelProto, random: Random) -> None:
    node = _any_node(model, random)
    del node.attribute[: random.choice((1, 2))]


def change_opset(model: onnx.ModelProto, random: Random) -> None:
    versions = (0, 1, 5, 7, 9, 11, 13, 17, 19, 22, 26, 1000, -1)
    for entry in model.opset_import:
        entry.version = random.choice(versions)
    if random.random() < 0.2:
        model.opset_import.extend([helper.make_opsetid(random.choice(_DOMAINS), 1)] * 2)
    if random.random() < 0.2:
        del model.opset_import[:]


def change_ir_version(model: onnx.ModelProto, random: Random) -> None:
    model.ir_version = random.choice((0, 1, 2, 3, 4, 99, -1))


def change_declared(model: onnx.ModelProto, random: Random) -> None:
    """Sizes, element types and names of inputs and outputs."""
    declared = random.choice([*model.graph.input, *model.graph.output])
    tensor = declared.type.tensor_type
    if tensor.shape.dim and random.random() < 0.6:
        dim = random.choice(tensor.shape.dim)
        dim.dim_value = random.choice((*_SIZES, 4096, 30_000))
    elif random.random() < 0.5:
        tensor.elem_type = random.choice((*TensorProto.DataType.values(), 99))
    else:
        random.choice((declared.Clear, tensor.Clear, tensor.shape.Clear))()


def rename_declared(model: onnx.ModelProto, random: Random) -> None:
    declared = random.choice([*model.graph.input, *model.graph.output])
    declared.name = _some_name(model, random)


def declare_twice(model: onnx.ModelProto, random: Random) -> None:
    graph = model.graph
    fields: list[Any] = [graph.input, graph.output, graph.initializer]
    repeated = random.choice(fields)
    if repeated:
        repeated.append(random.choice(repeated))


def hide_weight(model: onnx.ModelProto, random: Random) -> None:
    """Its content is said to lie in another file."""
    if weight := _any_weight(model, random):
        weight.data_location = TensorProto.EXTERNAL
        for key in random.sample(("location", "offset", "length", "checksum", "?"), 3):
            value = random.choice(
                ("", "..", "/etc/passwd", "model.onnx", "-1", "0", str(2**60), "x")
            )
            weight.external_data.add(key=key, value=value)


FIELDS: list[Mutate] = [
    rename_input, rename_output, resize_inputs, resize_outputs, move_nodes, close_a_cycle,
    swap_operator, change_domain, drop_weight, rename_weight, reshape_weight, retype_weight,
    fill_weight, empty_weight, *[change_attribute] * 6, *[add_attribute] * 4, drop_attribute,
    change_opset, change_ir_version, *[change_declared] * 2, rename_declared, declare_twice,
    hide_weight,
]  # fmt: skip


def _value_like(attribute: AttributeProto, random: Random) -> Any:
    """Another value of the attribute's kind, seldom of another kind."""
    value = helper.get_attribute_value(attribute) if attribute.type else 0
    if random.random() < 0.15:
        return random.choice(
            [0, 0.5, "text", [1, 2], [0.5], ["a"], helper.make_tensor("t", 1, [1], [0])]
        )
    if isinstance(value, list) and value:
        changed = [random.choice(_EXTREMES) if random.random() < 0.5 else v for v in value]
        if isinstance(value[0], int):
            return random.choice((changed, changed[:-1], changed * 2, value[::-1], []))
        return random.choice((value[:-1], value * 2, []))
    if isinstance(value, int):
        return random.choice(_EXTREMES)
    if isinstance(value, float):
        return random.choice((0.0, -1.0, 1e38, float("inf"), float("nan")))
    return random.choice((b"", b"SAME_LOWER", b"VALID", b"\xff\xfe", b"cubic", b"x" * 100_000))


def _replace(attribute: AttributeProto, name: str, value: Any) -> None:
    empty = AttributeProto(name=name, type=AttributeProto.INTS)
    attribute.CopyFrom(empty if value == [] else helper.make_attribute(name, value))


def _any_node(model: onnx.ModelProto, random: Random) -> onnx.NodeProto:
    return random.choice(model.graph.node)


def _any_weight(model: onnx.ModelProto, random: Random) -> TensorProto | None:
    return random.choice(model.graph.initializer) if model.graph.initializer else None


def _some_name(model: onnx.ModelProto, random: Random) -> str:
    known = [name for node in model.graph.node for name in (*node.input, *node.output)]
    return random.choice(random.choice((known, _NAMES)))


def _set_one(names: Any, random: Random, name: str) -> None:
    if names:
        names[random.randrange(len(names))] = name
