"""What a graph is here: values, nodes and the list that holds them in order."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unitscope.graph.target import PROCESSOR, Target

Dim = int | str
"""A size, or the name of a size known only at run time. Equal names mean equal sizes."""
Shape = tuple[Dim, ...]

IR_VERSION = 8
"""The ONNX IR version written: the first that every opset-18 runtime reads."""

_LARGE_ELEMENTS = 1024


@dataclass(frozen=True, slots=True, eq=False)
class Value:
    """A tensor: its name, element type, shape (None = rank unknown) and, if constant, content.

    `sizes`: of a tensor of sizes that is not constant, its elements, symbols for open ones.
    """

    name: str
    dtype: np.dtype[Any]
    shape: Shape | None
    const: np.ndarray | None = field(default=None, repr=False)
    sizes: Shape | None = None

    @property
    def rank(self) -> int:
        """Number of dimensions; raises ValueError when it is unknown."""
        if self.shape is None:
            raise ValueError(f"the rank of tensor {self.name!r} is unknown")
        return len(self.shape)

    @property
    def is_float(self) -> bool:
        """True for element types that carry a gradient."""
        return self.dtype.name.startswith(("float", "bfloat"))

    @property
    def elem_type(self) -> int:
        """The element type as ONNX numbers it (the `to` of Cast)."""
        return int(helper.np_dtype_to_tensor_dtype(self.dtype))

    @property
    def static_shape(self) -> tuple[int, ...] | None:
        """The shape if every dimension is known, else None."""
        if self.shape is None or not all(isinstance(dim, int) for dim in self.shape):
            return None
        return tuple(int(dim) for dim in self.shape)


@dataclass(frozen=True, slots=True, eq=False)
class Node:
    """One operator application. An absent optional input or output is None."""

    op_type: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]
    attributes: dict[str, Any]
    name: str = ""
    domain: str = ""

    def __str__(self) -> str:
        first = next((value.name for value in self.outputs if value), "?")
        return f"{self.name or first!r} ({self.op_type})"


class Graph:
    """Nodes in topological order; a value is defined before it is used.

    `whole`: floats that carry what the model declares as whole numbers: quantized values, pixels.
    """

    def __init__(self, opset: int, target: Target = PROCESSOR) -> None:
        self.opset = opset
        self.target = target
        self.whole: set[Value] = set()
        self.inputs: list[Value] = []
        self.nodes: list[Node] = []
        self._names: set[str] = set()
        self._counter = 0

    def reserve(self, names: Iterable[str]) -> None:
        """Keep `names` from being handed out by `fresh_name`."""
        self._names.update(names)

    def fresh_name(self, stem: str) -> str:
        """A tensor name that nobody has."""
        while True:
            self._counter += 1
            name = f"{stem}_{self._counter}"
            if name not in self._names:
                self._names.add(name)
                return name

    def add_input(self, name: str, dtype: Any, shape: Sequence[Dim]) -> Value:
        """Declare an input of the graph; raises ValueError if the name is taken."""
        if any(value.name == name for value in self.inputs):
            raise ValueError(f"input {name!r} is declared twice")
        value = Value(name, np.dtype(dtype), tuple(shape))
        self._names.add(name)
        self.inputs.append(value)
        return value

    def to_model(
        self, outputs: Sequence[Value], *, inputs: Sequence[Value] | None = None
    ) -> onnx.ModelProto:
        """The part of the graph that `outputs` need, as a model with inputs in the given order."""
        return self._model(outputs, self.inputs if inputs is None else inputs, apart=set())

    def to_parts(self, outputs: Sequence[Value], *, inputs: Sequence[Value] | None = None) -> Parts:
        """The same with large weights apart, so that no message exceeds protobuf's 2 GiB."""
        used = {x for node in needed(self.nodes, outputs) for x in node.inputs if x is not None}
        large = {
            value.name: value.const
            for value in used
            if value.const is not None and value.const.size >= _LARGE_ELEMENTS
        }
        kept = self.inputs if inputs is None else inputs
        peak = peak_bytes(needed(self.nodes, outputs))
        return Parts(self._model(outputs, kept, apart=large.keys()), large, peak)

    def _model(
        self, outputs: Sequence[Value], inputs: Sequence[Value], *, apart: Collection[str]
    ) -> onnx.ModelProto:
        nodes = needed(self.nodes, outputs)
        used = {value.name: value for node in nodes for value in node.inputs if value}
        constants = [value for value in used.values() if value.const is not None]
        graph = helper.make_graph(
            [
                *(_constant_proto(value) for value in outputs if value.const is not None),
                *(_node_proto(node) for node in nodes),
            ],
            "unitscope",
            [_value_info(value) for value in inputs],
            [_value_info(value) for value in outputs],
            [
                _placeholder(value)
                if value.name in apart
                else numpy_helper.from_array(np.asarray(value.const), value.name)
                for value in constants
            ],
        )
        return helper.make_model(
            graph,
            producer_name="unitscope",
            ir_version=max(
                IR_VERSION, helper.find_min_ir_version_for([helper.make_opsetid("", self.opset)])
            ),
            opset_imports=[helper.make_opsetid("", self.opset)],
        )


@dataclass(frozen=True, slots=True)
class Parts:
    """A model, and the content of its large weights, which it declares as external data.

    `peak_bytes`: see the function; 0 where nobody counted.
    """

    model: onnx.ModelProto
    weights: Mapping[str, np.ndarray] = field(repr=False)
    peak_bytes: int = 0


def save_parts(parts: Parts, path: Path) -> None:
    """Write the model to `path` and its large weights to ``path + ".data"``."""
    location = f"{path.name}.data"
    with path.with_name(location).open("wb") as file:
        for tensor in parts.model.graph.initializer:
            if tensor.data_location == onnx.TensorProto.EXTERNAL:
                content = np.ascontiguousarray(parts.weights[tensor.name])
                where = {"location": location, "offset": file.tell(), "length": content.nbytes}
                del tensor.external_data[:]
                for key, value in where.items():
                    tensor.external_data.add(key=key, value=str(value))
                content.tofile(file)
    onnx.save(parts.model, path)


def needed(nodes: Sequence[Node], outputs: Sequence[Value]) -> list[Node]:
    """Those of `nodes`, which are in order, that `outputs` are computed from."""
    wanted = {value.name for value in outputs}
    kept: list[Node] = []
    for node in reversed(nodes):
        if any(value.name in wanted for value in node.outputs if value):
            kept.append(node)
            wanted.update(value.name for value in node.inputs if value)
    return kept[::-1]


def downstream(nodes: Sequence[Node], source: Value) -> set[Value]:
    """`source` and all values computed from it by `nodes`, which are in order."""
    reached = {source}
    for node in nodes:
        if any(x in reached for x in node.inputs):
            reached.update(y for y in node.outputs if y is not None)
    return reached


def peak_bytes(nodes: Sequence[Node]) -> int:
    """The most that results of `nodes` take at once when every one is freed after its last use."""
    last_use = {x: index for index, node in enumerate(nodes) for x in node.inputs}
    alive: dict[Value, int] = {}
    taken = peak = 0
    for index, node in enumerate(nodes):
        made = {y: _bytes_of(y) for y in node.outputs if y is not None}
        alive |= made
        taken += sum(made.values())
        peak = max(peak, taken)
        used = {x for x in node.inputs if x is not None and last_use[x] == index}
        taken -= sum(alive.pop(x, 0) for x in used)
    return peak


def _bytes_of(value: Value) -> int:
    shape = value.static_shape
    return 0 if shape is None else math.prod(shape) * value.dtype.itemsize


def _node_proto(node: Node) -> onnx.NodeProto:
    return helper.make_node(
        node.op_type,
        [value.name if value else "" for value in node.inputs],
        [value.name if value else "" for value in node.outputs],
        name=node.name,
        domain=node.domain,
        **node.attributes,
    )


def _placeholder(value: Value) -> onnx.TensorProto:
    """A weight whose content is handed over in memory."""
    tensor = onnx.TensorProto(
        name=value.name,
        data_type=value.elem_type,
        dims=value.static_shape,
        data_location=onnx.TensorProto.EXTERNAL,
    )
    tensor.external_data.add(key="location", value="in memory")
    return tensor


def _constant_proto(value: Value) -> onnx.NodeProto:
    """An output that turned out constant: graphs may not hand out initializers."""
    content = numpy_helper.from_array(np.asarray(value.const))
    return helper.make_node("Constant", [], [value.name], value=content)


def _value_info(value: Value) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(value.name, value.elem_type, value.shape)
