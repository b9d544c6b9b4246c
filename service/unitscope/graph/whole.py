"""Whole numbers that are carried as floats, on their way between two quantizers.

Lowered quantizers round nothing, so what a file declares as int8 arrives as float32. Operators
that move such numbers take them as they are, and their constants as floats too.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from onnx import TensorProto, defs

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.signature import Uncovered

_WIDE = (TensorProto.INT32, TensorProto.INT64)
_NARROW = (
    TensorProto.INT8, TensorProto.UINT8, TensorProto.INT16, TensorProto.UINT16,
    TensorProto.INT4, TensorProto.UINT4,
)  # fmt: skip

Operands = Sequence[Value | None]


def emit(
    op: Emitter, op_type: str, inputs: Operands, attributes: Mapping[str, Any], **names: Any
) -> tuple[Value | None, ...]:
    """Emit an operator of the file; what it makes of whole numbers is marked as such again.

    Raises Uncovered for a cast that may wrap around.
    """
    if not any(x in op.graph.whole for x in inputs):
        return op.emit(op_type, inputs, attributes, **names)
    to = _cast_to(op_type, inputs, attributes)
    if to in _WIDE:
        return (inputs[0],)
    if to in _NARROW:
        raise Uncovered("a cast of whole numbers to fewer bits")
    schema = defs.get_schema(op_type, op.graph.opset, "")
    kinds = [parameter.type_str for parameter in schema.inputs]
    kinds += kinds[-1:] * (len(inputs) - len(kinds))
    whole = {kind for kind, x in zip(kinds, inputs, strict=False) if x in op.graph.whole}
    alike = [
        _like_floats(op, x) if kind in whole else x for kind, x in zip(kinds, inputs, strict=False)
    ]
    results = op.emit(op_type, alike, attributes, **names)
    last = schema.outputs[-1]
    for y, parameter in zip(results, [*schema.outputs, *[last] * len(results)], strict=False):
        if y is not None and parameter.type_str in whole:
            op.graph.whole.add(y)
    return results


def _cast_to(op_type: str, inputs: Operands, attributes: Mapping[str, Any]) -> int | None:
    """The element type of a cast, as ONNX numbers it."""
    if op_type == "CastLike" and inputs[1] is not None:
        return inputs[1].elem_type
    return int(attributes["to"]) if op_type == "Cast" else None


def _like_floats(op: Emitter, x: Value | None) -> Value | None:
    if x is None or x.is_float or x.const is None:
        return x
    return op.const(x.const, "float32")
