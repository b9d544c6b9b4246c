"""The emitter: ``op.Mul(a, b)`` appends a node and returns its output value.

Shapes are inferred as nodes are emitted, and a node whose inputs are all constant is
evaluated on the spot: emitting *is* partial evaluation, so shape arithmetic of exporters
disappears while the graph is built.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

import numpy as np
import onnx
from onnx import defs, helper, numpy_helper, shape_inference

from unitscope.errors import ModelRejected
from unitscope.graph.constants import Constants, check_size, rejected, type_proto
from unitscope.graph.ir import Graph, Node, Shape, Value
from unitscope.graph.operands import check_operands
from unitscope.graph.sizes import shape_after, sizes_after

Operand = Value | np.ndarray | np.generic | float | int | Sequence[int] | None

_MAX_SHAPE_DATA = 4096
_POOLS = {"AveragePool", "LpPool", "MaxPool"}


class EmitOne(Protocol):
    """What ``op.Relu`` is: operands in schema order, attributes by name."""

    def __call__(self, *inputs: Operand, **attributes: Any) -> Value: ...


class Emitter:
    """Appends nodes to a graph.

    Operands are values, arrays (int64 lists for axes and shapes) or Python floats, which take
    the element type of the first float operand. Raises ModelRejected naming node and operator
    when the operands do not fit the operator.
    """

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self._constants = Constants()

    def __getattr__(self, op_type: str) -> EmitOne:
        if not op_type[0].isupper():
            raise AttributeError(op_type)

        def emit_one(*inputs: Operand, **attributes: Any) -> Value:
            return self.emit(op_type, inputs, attributes)[0]

        return emit_one

    def emit(
        self,
        op_type: str,
        inputs: Sequence[Operand],
        attributes: Mapping[str, Any] | None = None,
        *,
        outputs: int | Sequence[str] = 1,
        name: str = "",
        domain: str = "",
    ) -> tuple[Value, ...]:
        """Append one node with `outputs` results (a count, or names; "" = absent)."""
        operands = self._operands(inputs)
        while operands and operands[-1] is None:  # spelled out, some crash ONNX Runtime
            operands.pop()
        given = {key: value for key, value in (attributes or {}).items() if value is not None}
        names = (
            [self.graph.fresh_name(op_type.lower()) for _ in range(outputs)]
            if isinstance(outputs, int)
            else list(outputs)
        )
        node = _node(op_type, operands, names, given, name, domain)
        check_operands(node, operands)
        types = self._infer(node, operands)
        values = tuple(self._value(n, types.get(n), node, operands) if n else None for n in names)
        known = self._fold(node, operands, values)
        if known is not None:
            return tuple(Value(n, a.dtype, a.shape, a) for n, a in zip(names, known, strict=True))
        self.graph.nodes.append(Node(op_type, tuple(operands), values, given, name, domain))
        return values  # type: ignore[return-value]  # absent outputs are only asked for by lower()

    def const(self, content: Any, dtype: Any = None) -> Value:
        """A constant of the graph."""
        array = np.asarray(content, dtype=dtype)
        return Value(self.graph.fresh_name("const"), array.dtype, array.shape, array)

    def shape(self, value: Value, start: int = 0, end: int | None = None) -> Value:
        """The shape of `value` as int64 `[rank]`, constant where it is known."""
        return self.Shape(value, start=start, end=end)

    def reshape_like(self, value: Value, like: Value) -> Value:
        """`value` in the shape of `like`, which has as many elements."""
        if value.shape == like.shape and value.shape is not None:
            return value
        return self.shaped(self.Reshape(value, self._target(like)), like)

    def expand_like(self, value: Value, like: Value) -> Value:
        """`value` broadcast to the shape of `like`."""
        if value.shape == like.shape and value.shape is not None:
            return value
        return self.shaped(self.Expand(value, self.shape(like)), like)

    def shaped(self, value: Value, like: Value) -> Value:
        """`value`, known to have the shape of `like` where inference cannot see it."""
        if value.shape == like.shape or value.const is not None:
            return value
        known = replace(value, shape=like.shape)
        node = self.graph.nodes[-1]
        if node.outputs == (value,):
            self.graph.nodes[-1] = replace(node, outputs=(known,))
        return known

    def sum_to(self, value: Value, like: Value) -> Value:
        """`value` summed over the axes along which `like` was broadcast to reach its shape."""
        if value.shape == like.shape and value.shape is not None:
            return value
        if value.shape is None or like.shape is None:
            raise ModelRejected(f"the rank of {value.name!r} or {like.name!r} is unknown")
        extra = value.rank - like.rank
        pairs = list(zip(value.shape[extra:], like.shape, strict=True))
        if any(isinstance(b, str) and a != b for a, b in pairs):
            return self._sum_to_at_run_time(value, like)
        axes = [*range(extra), *(extra + i for i, (a, b) in enumerate(pairs) if b == 1 and a != 1)]
        summed = self.ReduceSum(value, axes, keepdims=1) if axes else value
        return self.reshape_like(summed, like) if extra else summed

    def zeros_like(self, value: Value) -> Value:
        """Zeros in the shape and element type of `value`."""
        zero = numpy_helper.from_array(np.zeros(1, value.dtype))
        return self.shaped(self.ConstantOfShape(self.shape(value), value=zero), value)

    def _target(self, like: Value) -> Operand:
        unknown = [dim for dim in like.shape or () if isinstance(dim, str)]
        if like.shape is not None and len(unknown) <= 1 and 0 not in like.shape:
            return np.array([dim if isinstance(dim, int) else -1 for dim in like.shape], np.int64)
        return self.shape(like)

    def _sum_to_at_run_time(self, value: Value, like: Value) -> Value:
        """Which axes were broadcast shows only when the sizes are known."""
        extra = value.rank - like.rank
        padded = self.Concat(np.ones(extra, np.int64), self.shape(like), axis=0)
        grown = self.And(
            self.Equal(padded, np.int64(1)), self.Not(self.Equal(self.shape(value), np.int64(1)))
        )
        axes = self.Reshape(self.NonZero(grown), [-1])
        summed = self.ReduceSum(value, axes, keepdims=1, noop_with_empty_axes=1)
        return self.shaped(self.Reshape(summed, self.shape(like)), like)

    def _operands(self, inputs: Sequence[Operand]) -> list[Value | None]:
        values = [item for item in inputs if isinstance(item, Value)]
        like = next((v for v in values if v.is_float), values[0] if values else None)
        return [self._operand(item, like) for item in inputs]

    def _operand(self, item: Operand, like: Value | None) -> Value | None:
        if item is None or isinstance(item, Value):
            return item
        if isinstance(item, float):
            return self.const(item, like.dtype if like else np.float32)
        if isinstance(item, np.ndarray | np.generic):
            return self.const(item)
        return self.const(item, np.int64)

    def _infer(
        self, node: onnx.NodeProto, operands: Sequence[Value | None]
    ) -> dict[str, onnx.TypeProto]:
        present = [value for value in operands if value]
        types = {value.name: type_proto(value) for value in present}
        contents = {
            value.name: numpy_helper.from_array(value.const, value.name)
            for value in present
            if value.const is not None and value.const.size <= _MAX_SHAPE_DATA
        }
        opsets = [helper.make_opsetid(node.domain, self.graph.opset)]
        try:
            schema = defs.get_schema(node.op_type, self._inference_opset(node), node.domain)
            return dict(
                shape_inference.infer_node_outputs(
                    schema, node, types, contents, opset_imports=opsets
                )
            )
        except Exception as error:  # ONNX's inference raises half a dozen kinds, in C++ and Python
            raise rejected(node, str(error)) from error

    def _inference_opset(self, node: onnx.NodeProto) -> int:
        """The opset whose inference tells the shapes that runtimes compute.

        Before opset 22 it counts a last pooling window that starts in the padding; nobody does.
        """
        return max(self.graph.opset, 22) if node.op_type in _POOLS else self.graph.opset

    def _value(
        self,
        name: str,
        inferred: onnx.TypeProto | None,
        node: onnx.NodeProto,
        operands: Sequence[Value | None],
    ) -> Value:
        if inferred is None or not inferred.HasField("tensor_type"):
            raise rejected(node, "it does not produce a tensor whose type can be inferred")
        tensor = inferred.tensor_type
        shape = self._shape(tensor.shape) if tensor.HasField("shape") else None
        decided = shape_after(node, operands)
        if decided is not None:
            pairs = zip(shape or decided, decided, strict=True)
            shape = tuple(known if isinstance(known, int) else dim for known, dim in pairs)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
        return check_size(node, Value(name, dtype, shape, sizes=sizes_after(node, operands)))

    def _shape(self, proto: onnx.TensorShapeProto) -> Shape:
        return tuple(
            dim.dim_value
            if dim.HasField("dim_value")
            else dim.dim_param or self.graph.fresh_name("dim")
            for dim in proto.dim
        )

    def _fold(
        self,
        node: onnx.NodeProto,
        operands: Sequence[Value | None],
        results: Sequence[Value | None],
    ) -> list[np.ndarray] | None:
        result = results[0] if results else None
        sizes = result.sizes if result else None
        if result and sizes is not None and all(isinstance(dim, int) for dim in sizes):
            return [np.array(sizes, result.dtype).reshape(() if not result.shape else -1)]
        return self._constants.folded(node, operands, results, self.graph.opset)


def _node(
    op_type: str,
    operands: Sequence[Value | None],
    outputs: Sequence[str],
    attributes: Mapping[str, Any],
    name: str,
    domain: str,
) -> onnx.NodeProto:
    inputs = [value.name if value else "" for value in operands]
    node: onnx.NodeProto = helper.make_node(op_type, inputs, outputs, name=name, domain=domain)
    try:
        node.attribute.extend(helper.make_attribute(k, v) for k, v in sorted(attributes.items()))
    except (TypeError, ValueError) as error:
        raise rejected(node, str(error)) from error
    return node
