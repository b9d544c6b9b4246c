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
        alike = self._of_one_type(op_type, inputs, domain)
        if op_type not in _IN_SINGLE or not any(map(_is_half, alike)):
            return super().emit(
                op_type, alike, attributes, outputs=outputs, name=name, domain=domain
            )
        given = [""] * outputs if isinstance(outputs, int) else outputs
        names = [
            self.graph.fresh_name(op_type.lower()) if final or given is not outputs else ""
            for final in given
        ]
        exact = super().emit(
            op_type,
            [self._widened(x) if _is_half(x) else x for x in alike],
            attributes,
            outputs=names,
            name=name,
            domain=domain,
        )
        return tuple(self._result(x, final) for x, final in zip(exact, given, strict=True))

    def _of_one_type(
        self, op_type: str, inputs: Sequence[Operand], domain: str
    ) -> Sequence[Operand]:
        """The operands, those rounded that must have the type of one in half precision."""
        if not any(map(_is_half, inputs)):
            return inputs
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

    def _widened(self, value: Value) -> Value:
        if value not in self._exact:
            self._exact[value] = self._as(value, TensorProto.FLOAT)
        return self._exact[value]

    def _result(self, exact: Value, name: str) -> Value:
        """`exact` rounded, under `name` if it has one."""
        result = self._as(exact, TensorProto.FLOAT16, name)
        self._exact[result] = exact
        return result

    def _as(self, value: Value, to: int, name: str = "") -> Value:
        return super().emit("Cast", [value], {"to": to}, outputs=[name] if name else 1)[0]


def _is_half(operand: Operand) -> TypeGuard[Value]:
    return isinstance(operand, Value) and operand.dtype == np.float16


def _rounded(content: np.ndarray) -> np.ndarray:
    """In float16; what lies beyond it, such as masks of attention, becomes its largest number."""
    return np.asarray(np.clip(content, -_LARGEST, _LARGEST), np.float16)
