"""Constants that a graph computes: evaluated while it is built, within bounds.

A tiny file can ask for a huge tensor, or for many of a good size. Large constants are left to the
runtime, and what no classifier needs is refused by name.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence

import numpy as np
import onnx
from onnx import helper
from onnx.reference import ReferenceEvaluator

from unitscope.errors import ModelRejected
from unitscope.graph.ir import Value

MAX_TENSOR_BYTES = 1 << 31
"""No tensor of a classifier is larger: attention over 4096 tokens takes half of it."""
MAX_CONSTANT_BYTES = 1 << 33
"""All constants together that a graph computes, the weights of quantized models among them."""
MAX_FOLDED_BYTES = 1 << 28
_MAX_ALL_FOLDED_BYTES = 1 << 30

_NEVER_FOLDED = {
    "Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform",
    "RandomUniformLike",  # another value each time
    "If", "Loop", "Scan",
    "ConvTranspose", "LpNormalization", "MaxPool", "Resize",  # evaluator and runtime do not agree
}  # fmt: skip
_WINDOWED = {
    "AveragePool", "Conv", "ConvTranspose", "GlobalAveragePool", "GlobalLpPool", "GlobalMaxPool",
    "LpPool", "MaxPool",
}  # fmt: skip
"""Operators that end ONNX Runtime's process where their result has no elements."""
_NO_LARGER_THAN_INPUTS = {"Compress", "NonMaxSuppression", "NonZero", "Unique"}
"""Operators whose results have sizes that only evaluating them tells."""


class Constants:
    """What the constants of one graph take, and which of them are left to the runtime."""

    def __init__(self) -> None:
        self._bytes = 0
        self._left: set[str] = set()

    def folded(
        self,
        node: onnx.NodeProto,
        operands: Sequence[Value | None],
        results: Sequence[Value | None],
        opset: int,
    ) -> list[np.ndarray] | None:
        """The content of `results` if they are constant and not too large.

        Raises ModelRejected when the graph's constants take more than is sane.
        """
        present = [value for value in operands if value is not None]
        made = [value for value in results if value is not None]
        if any(value.const is None and value.name not in self._left for value in present):
            return None
        self._bytes += sum(_bytes_of(value) or 0 for value in made)
        if self._bytes > MAX_CONSTANT_BYTES:
            raise rejected(
                node, f"the model's constants take more than {_gibibytes(MAX_CONSTANT_BYTES)}"
            )
        if self._is_foldable(node, present, made):
            return _evaluated(node, present, opset)
        self._left.update(node.output)
        return None

    def _is_foldable(
        self, node: onnx.NodeProto, present: Sequence[Value], made: Sequence[Value]
    ) -> bool:
        if node.op_type in _NEVER_FOLDED or any(value.const is None for value in present):
            return False
        if node.op_type in _NO_LARGER_THAN_INPUTS:
            return True
        sizes = [_bytes_of(value) for value in made]
        fitting = all(size is not None and size <= MAX_FOLDED_BYTES for size in sizes)
        return fitting and self._bytes <= _MAX_ALL_FOLDED_BYTES


def check_size(node: onnx.NodeProto, value: Value) -> Value:
    """`value`; raises ModelRejected if it has a negative size or takes more than is sane."""
    if any(isinstance(dim, int) and dim < 0 for dim in value.shape or ()):
        raise rejected(node, f"its result {value.name!r} would have the shape {value.shape}")
    if node.op_type in _WINDOWED and 0 in (value.shape or ()):
        raise rejected(node, f"its result {value.name!r} would be empty, {value.shape}")
    taken = _bytes_of(value) or 0
    if taken > MAX_TENSOR_BYTES:
        raise rejected(
            node,
            f"its result {value.name!r} would take {_gibibytes(taken)}, more than the "
            f"{_gibibytes(MAX_TENSOR_BYTES)} that a tensor may",
        )
    return value


def rejected(node: onnx.NodeProto, why: str) -> ModelRejected:
    """The error for a node that cannot be emitted."""
    label = node.name or (node.output[0] if node.output else "?")
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    return ModelRejected(f"node {label!r} ({operator}): {why}", node=label, operator=operator)


def type_proto(value: Value) -> onnx.TypeProto:
    """Element type and shape of a value, as ONNX says them."""
    return helper.make_tensor_type_proto(value.elem_type, value.shape)


def _evaluated(node: onnx.NodeProto, constants: Sequence[Value], opset: int) -> list[np.ndarray]:
    unique = {value.name: value for value in constants}
    graph = helper.make_graph(
        [node],
        "fold",
        [onnx.ValueInfoProto(name=name, type=type_proto(value)) for name, value in unique.items()],
        [onnx.ValueInfoProto(name=name) for name in node.output],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # of infinities that the model asked for
            results = ReferenceEvaluator(model).run(None, {n: v.const for n, v in unique.items()})
    except Exception as error:  # the evaluator raises whatever numpy raises
        raise rejected(node, f"its constant inputs cannot be evaluated: {error}") from error
    return [np.asarray(result) for result in results]


def _bytes_of(value: Value) -> int | None:
    """None where a size is not known."""
    shape = value.static_shape
    return None if shape is None else math.prod(shape) * value.dtype.itemsize


def _gibibytes(count: int) -> str:
    return f"{count / (1 << 30):.3g} GiB"
