"""Attention as ONNX Runtime fuses it: classifiers' kind, without masks and without a past."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MICROSOFT, Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()


@lowerings.form("Attention", domain=MICROSOFT, harmless=("mask_filter_value",))
def attention(
    op: Emitter, x: Value, weights: Value, bias: Value | None = None,
    mask_index: Value | None = None, past: Value | None = None,
    attention_bias: Value | None = None,
    *, num_heads: int, qkv_hidden_sizes: Sequence[int] | None = None, scale: float | None = None,
) -> Results:  # fmt: skip
    """q, k, v = the parts of x · weights + bias, x being [N, T, D]"""
    _absent(mask=mask_index, past=past)
    projected = op.MatMul(x, weights)
    if bias is not None:
        projected = op.Add(projected, bias)
    width = _known(projected, -1, "width")
    sizes = list(qkv_hidden_sizes or [width // 3] * 3)
    parts = op.emit("Split", [projected, sizes], {"axis": -1}, outputs=3)
    q, k, v = (_heads(op, part, num_heads) for part in parts)
    return _attended(op, q, k, v, attention_bias, scale), None


@lowerings.form("MultiHeadAttention", domain=MICROSOFT, harmless=("mask_filter_value",))
def multi_head_attention(
    op: Emitter, query: Value, key: Value | None = None, value: Value | None = None,
    bias: Value | None = None, key_padding_mask: Value | None = None,
    attention_bias: Value | None = None, past_key: Value | None = None,
    past_value: Value | None = None,
    *, num_heads: int, scale: float | None = None,
) -> Results:  # fmt: skip
    """q, k, v = query, key, value of [N, T, D] plus their parts of bias

    They may come packed, heads apart: all in the query [N, T, heads, 3, D/heads], or key and value
    in the key [N, T, heads, 2, D/heads]; or the key and the value as heads [N, heads, T, D/heads].
    """
    _absent(key_padding_mask=key_padding_mask, past=past_key)
    if key is None:
        parts = _unpacked(op, query, 3)
    elif value is None:
        parts = (query, *_unpacked(op, key, 2))
    else:
        parts = (query, key, value)
    if bias is not None:
        parts = _biased(op, parts, bias)
    q, k, v = (part if part.rank == 4 else _heads(op, part, num_heads) for part in parts)
    return _attended(op, q, k, v, attention_bias, scale), None, None, None


def _attended(
    op: Emitter, q: Value, k: Value, v: Value, bias: Value | None, scale: float | None
) -> Value:
    """y = Softmax(scale · q kᵀ + bias) v over heads [N, heads, T, D], side by side in [N, T, D]"""
    factor = scale or 1 / math.sqrt(_known(q, -1, "width of a head"))
    scores = op.MatMul(op.Mul(q, float(factor)), op.Transpose(k, perm=[0, 1, 3, 2]))
    if bias is not None:
        scores = op.Add(scores, bias)
    mixed = op.MatMul(op.Softmax(scores, axis=-1), v)
    width = _known(v, 1, "number of heads") * _known(v, -1, "width of a head")
    return op.Reshape(op.Transpose(mixed, perm=[0, 2, 1, 3]), [0, 0, width])


def _heads(op: Emitter, tokens: Value, count: int) -> Value:
    """`[N, T, D]` as `[N, count, T, D / count]`"""
    width = _known(tokens, -1, "width")
    if width % count:
        raise Uncovered(f"{count} heads over a width of {width}")
    return op.Transpose(op.Reshape(tokens, [0, 0, count, width // count]), perm=[0, 2, 1, 3])


def _unpacked(op: Emitter, packed: Value, count: int) -> tuple[Value, ...]:
    """`[N, T, heads, count, D / heads]` as `count` times `[N, T, D]`"""
    if packed.rank != 5:
        raise Uncovered(f"a packed input of rank {packed.rank}, expected 5")
    width = _known(packed, 2, "number of heads") * _known(packed, 4, "width of a head")
    parts = op.emit("Split", [packed, [1] * count], {"axis": 3}, outputs=count)
    return tuple(op.Reshape(part, [0, 0, width]) for part in parts)


def _biased(op: Emitter, parts: Sequence[Value], bias: Value) -> tuple[Value, ...]:
    if any(part.rank != 3 for part in parts):
        raise Uncovered("a bias over keys and values that are already heads")
    sizes = [_known(part, -1, "width") for part in parts]
    pieces = op.emit("Split", [bias, sizes], {"axis": 0}, outputs=3)
    return tuple(op.Add(part, piece) for part, piece in zip(parts, pieces, strict=True))


def _known(value: Value, axis: int, what: str) -> int:
    size = (value.shape or ())[axis]
    if not isinstance(size, int):
        raise Uncovered(f"a {what} known only at run time")
    return size


def _absent(**operands: Value | None) -> None:
    for name, operand in operands.items():
        if operand is not None:
            raise Uncovered(f"{name.replace('_', ' ')}")
