"""What is known of tensors that hold sizes while some sizes are open.

Exporters read shapes, pick sizes out of them and put them together again. With an open batch such
a vector is not constant, but most of its elements are: `[N, 3, 224, 224]`. Following them keeps
everything but the batch known at build time. What is computed from an open size, `4 · N`, is not
known, but its neighbours stay so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import onnx

from unitscope.graph.ir import Dim, Shape, Value

Operands = Sequence[Value | None]

_UNKNOWN = "?"
"""An element of which nothing is known, not even that it is a size: it may be −1."""


def content(value: Value | None) -> Shape | None:
    """The elements of an integer tensor of sizes, symbols for open ones; None if unknown."""
    if value is None:
        return None
    if value.const is not None and value.const.dtype.kind == "i" and value.const.ndim <= 1:
        return tuple(int(item) for item in value.const.ravel())
    return value.sizes


def sizes_after(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    """The elements of the node's result, if it moves known sizes about."""
    follow = _FOLLOWED.get(node.op_type)
    return follow(node, operands) if follow else None


def shape_after(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    """The shape of the node's result, if known sizes decide it."""
    decide = _DECIDED.get(node.op_type)
    shape = decide(node, operands) if decide else None
    if shape is None:
        return None
    return tuple(
        f"{node.output[0]}:{axis}" if dim == _UNKNOWN else dim for axis, dim in enumerate(shape)
    )


def _shape(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    (value,) = operands
    if value is None or value.shape is None:
        return None
    return value.shape[_integer(node, "start", 0) : _integer(node, "end", value.rank)]


def _size(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    (value,) = operands
    dims = value.static_shape if value is not None else None
    return None if dims is None else (int(np.prod(dims)),)


def _same(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    return content(operands[0])


def _flattened(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    """A Reshape that leaves a vector a vector, or makes one element a scalar."""
    value, target = operands
    short = target is not None and target.static_shape in ((0,), (1,))
    return content(value) if short else None


def _unsqueeze(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    """A single size as a vector; a vector would become a matrix, which sizes are not."""
    value, axes = operands
    single = value is not None and value.shape == () and len(content(axes) or ()) == 1
    return content(value) if single else None


def _cast(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    kept = _integer(node, "to", 0) in (onnx.TensorProto.INT64, onnx.TensorProto.INT32)
    return content(operands[0]) if kept else None


def _gather(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    sizes, indices = content(operands[0]), content(operands[1])
    if sizes is None or indices is None:
        return None
    known = [i for i in indices if isinstance(i, int) and -len(sizes) <= i < len(sizes)]
    return tuple(sizes[i] for i in known) if len(known) == len(indices) else None


def _slice(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    sizes = content(operands[0])
    given = [content(value) for value in (*operands[1:3], *operands[4:5])]
    bounds = [bound[0] for bound in given if bound is not None and len(bound) == 1]
    whole = [bound for bound in bounds if isinstance(bound, int)]
    return sizes[slice(*whole)] if sizes is not None and len(whole) == len(given) else None


def _concat(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    parts = [_elements(value) for value in operands]
    if any(part is None for part in parts):
        return None
    return tuple(dim for part in parts if part is not None for dim in part)


def _equal(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    """1 or 0 for each pair, if all can be told."""
    pairs = _aligned(*(content(value) for value in operands))
    answers = [_same_size(a, b) for a, b in pairs or ()]
    known = [int(answer) for answer in answers if answer is not None]
    return tuple(known) if known and len(known) == len(answers) else None


def _where(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    condition, *choices = operands
    if condition is None or condition.const is None or condition.const.ndim > 1:
        return None
    asked = tuple(int(holds) for holds in condition.const.ravel())
    triples = _aligned(asked, *(_elements(value) for value in choices))
    return None if triples is None else tuple(a if holds else b for holds, a, b in triples)


_FOLLOWED: dict[str, Callable[[onnx.NodeProto, Operands], Shape | None]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Equal": _equal,
    "Gather": _gather,
    "Identity": _same,
    "Reshape": _flattened,
    "Shape": _shape,
    "Size": _size,
    "Slice": _slice,
    "Squeeze": _same,
    "Unsqueeze": _unsqueeze,
    "Where": _where,
}


def _reshaped(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    value, target = operands
    wanted = content(target)
    if value is None or value.shape is None or wanted is None:
        return None
    if 0 in wanted and (_integer(node, "allowzero", 0) or len(wanted) > value.rank):
        return None
    copied = [value.shape[i] if dim == 0 else dim for i, dim in enumerate(wanted)]
    known = [dim for dim in copied if dim not in (-1, _UNKNOWN)]
    rest = _quotient(value.shape, known) if len(known) == len(copied) - 1 else None
    return tuple(
        (_UNKNOWN if rest is None else rest) if dim in (-1, _UNKNOWN) else dim for dim in copied
    )


def _expanded(node: onnx.NodeProto, operands: Operands) -> Shape | None:
    value, target = operands
    wanted = content(target)
    if value is None or value.shape is None or wanted is None or len(wanted) < value.rank:
        return None
    own = (*[1] * (len(wanted) - value.rank), *value.shape)
    return tuple(
        have if want == 1 or (want == _UNKNOWN and have != 1) else want
        for have, want in zip(own, wanted, strict=True)
    )


_DECIDED: dict[str, Callable[[onnx.NodeProto, Operands], Shape | None]] = {
    "ConstantOfShape": _same,
    "Expand": _expanded,
    "Reshape": _reshaped,
}


def _elements(value: Value | None) -> Shape | None:
    """The elements of a scalar or vector of integers, each known or not."""
    known = content(value)
    if known is not None or value is None or value.dtype.kind != "i":
        return known
    sizes = value.static_shape
    return None if sizes is None or len(sizes) > 1 else (_UNKNOWN,) * int(np.prod(sizes, dtype=int))


def _aligned(*vectors: Shape | None) -> list[tuple[Dim, ...]] | None:
    """Elements that belong together, a single one repeated."""
    present = [vector for vector in vectors if vector is not None]
    count = max((len(vector) for vector in present), default=0)
    if len(present) < len(vectors) or any(len(vector) not in (1, count) for vector in present):
        return None
    full = [vector * count if len(vector) == 1 else vector for vector in present]
    return list(zip(*full, strict=True))


def _same_size(a: Dim, b: Dim) -> bool | None:
    """Whether two elements are equal, None if only the run can tell: a size is not negative."""
    if isinstance(a, int) and isinstance(b, int):
        return a == b
    if _UNKNOWN in (a, b):
        return None
    smallest = min(dim for dim in (a, b, 0) if isinstance(dim, int))
    return True if a == b else False if smallest < 0 else None


def _quotient(whole: Sequence[Dim], part: Sequence[Dim]) -> Dim | None:
    """The product of `whole` over that of `part`, where symbols cancel."""
    left = list(whole)
    for dim in part:
        if isinstance(dim, str):
            if dim not in left:
                return None
            left.remove(dim)
    symbols = [dim for dim in left if isinstance(dim, str)]
    above, below = (np.prod([d for d in dims if isinstance(d, int)]) for dims in (left, part))
    if below == 0 or above % below or len(symbols) > 1 or (symbols and above != below):
        return None
    return symbols[0] if symbols else int(above // below)


def _integer(node: onnx.NodeProto, name: str, default: Any) -> Any:
    return next((attribute.i for attribute in node.attribute if attribute.name == name), default)
