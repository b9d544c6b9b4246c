"""Half precision where a graph asks for it, single where half would not do.

It follows the type of values, as in automatic mixed precision: a graph is in float16 from where
somebody casts to it to where somebody casts from it, and so is the way back, which is emitted from
the same values.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeGuard

import numpy as np
from onnx import TensorProto, defs

from unitscope.graph.emit import Emitter, Operand
from unitscope.graph.ir import Graph, Value

_LARGEST = float(np.finfo(np.float16).max)
_IN_SINGLE = frozenset({
    "BatchNormalization", "Celu", "CumSum", "Exp", "GridSample", "InstanceNormalization", "LRN",
    "LayerNormalization", "Log", "LogSoftmax", "LpNormalization", "Pow", "Reciprocal", "ReduceL1",
    "ReduceL2", "ReduceLogSumExp", "ReduceMean", "ReduceProd", "ReduceSum", "ReduceSumSquare",
    "ScatterElements", "ScatterND", "Softmax", "Softplus",
})  # fmt: skip
"""Operators that leave the range of float16 or its precision on their way (PyTorch's autocast has
nearly the same), or have no kernel for it.
"""


class HalfEmitter(Emitter):
    """Emits a node with a float16 operand in float16: other operands of its type are rounded.

    Some operators are computed in float32 and their results rounded; where such a result goes into
    another of them it is taken as it was.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph)
        self._rounded: dict[Value, Value] = {}
        self._exact: dict[Value, Value] = {}

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
        """As `Emitter.emit`."""
        if any(map(_is_half, inputs)):
            if op_type in _IN_SINGLE:
                return self._emit_in_single(op_type, inputs, attributes, outputs, name, domain)
            inputs = self._of_one_type(op_type, inputs, domain)
        return super().emit(op_type, inputs, attributes, outputs=outputs, name=name, domain=domain)

    def _emit_in_single(
        self,
        op_type: str,
        inputs: Sequence[Operand],
        attributes: Mapping[str, Any] | None,
        outputs: int | Sequence[str],
        name: str,
        domain: str,
    ) -> tuple[Value, ...]:
        """The node between casts; the results have the names that were asked for."""
        wanted = [None] * outputs if isinstance(outputs, int) else outputs
        results = super().emit(
            op_type,
            [self._widened(x) for x in inputs],
            attributes,
            outputs=["" if x == "" else self.graph.fresh_name(op_type.lower()) for x in wanted],
            name=name,
            domain=domain,
        )
        return tuple(
            x if x is None else self._result(x, given)
            for x, given in zip(results, wanted, strict=True)
        )

    def _of_one_type(
        self, op_type: str, inputs: Sequence[Operand], domain: str
    ) -> Sequence[Operand]:
        """The operands, those rounded that must have the type of one in half precision."""
        formal = defs.get_schema(op_type, self.graph.opset, domain).inputs
        kinds = [formal[min(index, len(formal) - 1)].type_str for index in range(len(inputs))]
        halves = {kind for kind, x in zip(kinds, inputs, strict=True) if _is_half(x)}
        return [
            self._halved(x) if kind in halves else x for kind, x in zip(kinds, inputs, strict=True)
        ]

    def _halved(self, operand: Operand) -> Operand:
        """A tensor of floats, rounded; what is not one as it is."""
        if isinstance(operand, np.ndarray | np.generic) and operand.dtype.kind == "f":
            return _rounded(np.asarray(operand))
        if not isinstance(operand, Value) or not operand.is_float or _is_half(operand):
            return operand
        if operand not in self._rounded:
            self._rounded[operand] = (
                self._as(operand, TensorProto.FLOAT16)
                if operand.const is None
                else self.const(_rounded(operand.const))
            )
        return self._rounded[operand]

    def _widened(self, operand: Operand) -> Operand:
        """A tensor of floats in single precision; what is not one as it is."""
        if not isinstance(operand, Value) or not operand.is_float or operand.dtype == np.float32:
            return operand
        if operand not in self._exact:
            self._exact[operand] = self._as(operand, TensorProto.FLOAT)
        return self._exact[operand]

    def _result(self, exact: Value, name: str | None) -> Value:
        """`exact` rounded, under `name` if it has one."""
        result = self._as(exact, TensorProto.FLOAT16, name)
        self._exact[result] = exact
        return result

    def _as(self, value: Value, to: int, name: str | None = None) -> Value:
        return super().emit("Cast", [value], {"to": to}, outputs=[name] if name else 1)[0]


def _is_half(operand: Operand) -> TypeGuard[Value]:
    return isinstance(operand, Value) and operand.dtype == np.float16


def _rounded(content: np.ndarray) -> np.ndarray:
    """In float16; what lies beyond it, such as masks of attention, becomes its largest number."""
    return np.asarray(np.clip(content, -_LARGEST, _LARGEST), np.float16)
