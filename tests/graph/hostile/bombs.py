"""Small files that ask for much: memory, time, depth, or what does not belong to them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models import small_classifier

_HUGE = 1 << 34  # float32, 64 GiB
_node = helper.make_node


def _after(nodes: Sequence[onnx.NodeProto], weights: Mapping[str, Any]) -> onnx.ModelProto:
    """The small classifier with the sum of "bomb", which `nodes` make, added to its logits."""
    model = small_classifier()
    tail = [
        _node("Cast", ["bomb"], ["bomb_cast"], to=TensorProto.FLOAT),
        _node("ReduceMean", ["bomb_cast"], ["bomb_sum"], keepdims=0),
        _node("Add", ["logits_0", "bomb_sum"], ["logits"]),
    ]
    softmax = model.graph.node.pop()
    model.graph.node[-1].output[0] = "logits_0"
    model.graph.node.extend([*nodes, *tail, softmax])
    for name, content in weights.items():
        kind = np.float32 if isinstance(content, float | np.ndarray) else np.int64
        model.graph.initializer.append(numpy_helper.from_array(np.asarray(content, kind), name))
    return model


def constant_of_shape() -> onnx.ModelProto:
    return _after([_node("ConstantOfShape", ["shape"], ["bomb"])], {"shape": [_HUGE]})


def constants_of_shape() -> onnx.ModelProto:
    """Each of a quarter gigabyte, together 64 GiB."""
    names = [f"part_{i}" for i in range(256)]
    made = [_node("ConstantOfShape", ["shape"], [name]) for name in names]
    return _after([*made, _node("Sum", names, ["bomb"])], {"shape": [1 << 26]})


def large_constants_of_shape() -> onnx.ModelProto:
    """Each of three gigabytes: too large to fold, and together 64 GiB."""
    names = [f"part_{i}" for i in range(21)]
    made = [_node("ConstantOfShape", ["shape"], [name]) for name in names]
    return _after([*made, _node("Sum", names, ["bomb"])], {"shape": [3 << 28]})


def expand() -> onnx.ModelProto:
    return _after([_node("Expand", ["one", "shape"], ["bomb"])], {"one": 1.0, "shape": [_HUGE]})


def expand_of_the_image() -> onnx.ModelProto:
    weights = {"shape": [_HUGE // 432, 1, 1, 1, 1]}
    return _after([_node("Expand", ["image", "shape"], ["bomb"])], weights)


def tile() -> onnx.ModelProto:
    weights = {"one": np.ones(2), "repeats": [_HUGE // 2]}
    return _after([_node("Tile", ["one", "repeats"], ["bomb"])], weights)


def tile_of_the_image() -> onnx.ModelProto:
    weights = {"repeats": [1, 1, 1 << 14, 1 << 14]}
    return _after([_node("Tile", ["image", "repeats"], ["bomb"])], weights)


def count() -> onnx.ModelProto:
    weights = {"start": 0, "limit": _HUGE // 2, "delta": 1}
    return _after([_node("Range", [*weights], ["bomb"])], weights)


def count_in_no_steps() -> onnx.ModelProto:
    weights = {"start": 0, "limit": 5, "delta": 0}
    return _after([_node("Range", [*weights], ["bomb"])], weights)


def resize() -> onnx.ModelProto:
    weights = {"scales": np.array([1, 1, 12_000, 12_000])}
    return _after([_node("Resize", ["image", "", "scales"], ["bomb"])], weights)


def resize_of_a_constant() -> onnx.ModelProto:
    weights = {"x": np.ones((1, 1, 8, 8)), "scales": np.array([1, 1, 16_000, 16_000])}
    return _after([_node("Resize", ["x", "", "scales"], ["bomb"])], weights)


def pad() -> onnx.ModelProto:
    weights = {"x": np.ones(8), "pads": [0, _HUGE]}
    return _after([_node("Pad", ["x", "pads"], ["bomb"])], weights)


def one_hot() -> onnx.ModelProto:
    weights = {"indices": [0, 1], "depth": _HUGE // 2, "values": np.array([0, 1])}
    return _after([_node("OneHot", [*weights], ["bomb"])], weights)


def eye() -> onnx.ModelProto:
    made = _node("ConstantOfShape", ["shape"], ["even"])
    weights = {"shape": [1 << 13, 1 << 13]}
    return _after([made, _node("EyeLike", ["even"], ["eye"]), *_doubled("eye", 12)], weights)


def doubling() -> onnx.ModelProto:
    return _after(_doubled("one", 34), {"one": np.ones(1)})


def doubling_of_the_image() -> onnx.ModelProto:
    return _after(_doubled("image", 26), {})


def product() -> onnx.ModelProto:
    """Two vectors, and their product of 64 GiB."""
    weights = {"column": np.ones((1 << 17, 1)), "row": np.ones((1, 1 << 17))}
    return _after([_node("MatMul", ["column", "row"], ["bomb"])], weights)


def power() -> onnx.ModelProto:
    """Sixty axes of eight."""
    weights = {"x": np.ones([8] + [1] * 59), "shape": [8] * 60}
    return _after([_node("Expand", ["x", "shape"], ["bomb"])], weights)


def _doubled(name: str, times: int) -> list[onnx.NodeProto]:
    names = [name, *(f"double_{i}" for i in range(1, times)), "bomb"]
    return [_node("Concat", [before, before], [after], axis=0) for before, after in pairwise(names)]


def nested_branches(depth: int = 16) -> onnx.ModelProto:
    """If in If in If, twice each: a small file of many nodes."""
    return _with_branches(depth, both=True)


def deep_branches(depth: int = 22) -> onnx.ModelProto:
    """As deep as protobuf reads, to one side only."""
    return _with_branches(depth, both=False)


def _with_branches(depth: int, *, both: bool) -> onnx.ModelProto:
    outputs = [onnx.ValueInfoProto(name="inner")]
    leaf = helper.make_graph([_node("Identity", ["pooled"], ["inner"])], "leaf", [], outputs)
    branch = leaf
    for _ in range(depth):
        other = branch if both else leaf
        chosen = _node("If", ["yes"], ["inner"], then_branch=branch, else_branch=other)
        branch = helper.make_graph([chosen], "branch", [], outputs)
    model = _after([_node("If", ["yes"], ["bomb"], then_branch=branch, else_branch=leaf)], {})
    model.graph.initializer.append(numpy_helper.from_array(np.array(True), "yes"))
    return model


def _with_functions(functions: Sequence[onnx.FunctionProto]) -> onnx.ModelProto:
    model = _after([_node("f0", ["pooled"], ["bomb"], domain="local")], {})
    model.functions.extend(functions)
    model.opset_import.append(helper.make_opsetid("local", 1))
    return model


def _function(name: str, nodes: Sequence[onnx.NodeProto]) -> onnx.FunctionProto:
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("local", 1)]
    return helper.make_function("local", name, ["x"], ["y"], list(nodes), opsets)


def function_of_itself() -> onnx.ModelProto:
    return _with_functions([_function("f0", [_node("f0", ["x"], ["y"], domain="local")])])


def functions_of_each_other() -> onnx.ModelProto:
    return _with_functions(
        [
            _function("f0", [_node("f1", ["x"], ["y"], domain="local")]),
            _function("f1", [_node("f0", ["x"], ["y"], domain="local")]),
        ]
    )


def functions_twice() -> onnx.ModelProto:
    """Each calls the next one twice: a billion nodes when inlined."""
    functions = []
    for i in range(30):
        calls = [_node(f"f{i + 1}", [a], [b], domain="local") for a, b in ("xm", "my")]
        functions.append(_function(f"f{i}", calls))
    return _with_functions([*functions, _function("f30", [_node("Relu", ["x"], ["y"])])])


def functions_in_a_row() -> onnx.ModelProto:
    """Each calls the next: no more nodes, but nine thousand levels."""
    functions = [
        _function(f"f{i}", [_node(f"f{i + 1}", ["x"], ["y"], domain="local")]) for i in range(9_000)
    ]
    return _with_functions([*functions, _function("f9000", [_node("Relu", ["x"], ["y"])])])


def loop() -> onnx.ModelProto:
    """A constant loop of 2⁶² rounds."""
    info = [
        helper.make_tensor_value_info("i", TensorProto.INT64, []),
        helper.make_tensor_value_info("go", TensorProto.BOOL, []),
        helper.make_tensor_value_info("v", TensorProto.FLOAT, [1]),
    ]
    out = [
        helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
        helper.make_tensor_value_info("w", TensorProto.FLOAT, [1]),
    ]
    steps = [_node("Identity", ["go"], ["go_on"]), _node("Add", ["v", "v"], ["w"])]
    body = helper.make_graph(steps, "body", info, out)
    return _after(
        [_node("Loop", ["rounds", "", "v0"], ["bomb"], body=body)],
        {"rounds": 2**62, "v0": np.ones(1)},
    )


def chain(length: int = 2000) -> onnx.ModelProto:
    """Deeper than any recursion goes."""
    names = ["pooled", *(f"link_{i}" for i in range(1, length)), "bomb"]
    return _after([_node("Relu", [a], [b]) for a, b in pairwise(names)], {})


def metadata() -> onnx.ModelProto:
    """Labels nested ten thousand times, and fifty thousand entries."""
    model = small_classifier()
    nested = {
        "names": "[" * 10_000 + "]" * 10_000,
        "labels": "{'0':" * 300,
        "classes": "-" * 100_000 + "1",
        "id2label": "{" + "9" * 5000 + ": 'x'}",
    }
    for key, value in (nested | {f"k{i}": "v" for i in range(50_000)}).items():
        model.metadata_props.add(key=key, value=value)
    return model


_LARGE, _MANY = r"would take \d.* GiB", "constants take more than"

BOMBS: dict[Callable[[], onnx.ModelProto], str] = {
    constant_of_shape: _LARGE, constants_of_shape: _MANY, large_constants_of_shape: _LARGE,
    expand: _LARGE, expand_of_the_image: _LARGE, tile: _LARGE, tile_of_the_image: _LARGE,
    count: _LARGE, count_in_no_steps: "cannot be evaluated", resize: _LARGE,
    resize_of_a_constant: _LARGE, pad: _LARGE, one_hot: _LARGE, eye: _LARGE, doubling: _LARGE,
    doubling_of_the_image: _LARGE, product: _LARGE, power: _LARGE,
    nested_branches: "has 131082 nodes", deep_branches: "", function_of_itself: "ycle",
    functions_of_each_other: "ycle", functions_twice: "has 1073741833 nodes",
    functions_in_a_row: "depth", loop: "loops are not supported", chain: "", metadata: "",
}  # fmt: skip
"""What makes them, and what their refusal says; "" if they are harmless and taken."""
