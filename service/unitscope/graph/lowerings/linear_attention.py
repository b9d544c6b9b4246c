"""Attention that carries a state instead of comparing all tokens: unrolled over a fixed length."""

from __future__ import annotations

import math

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()


@lowerings.form("LinearAttention", harmless=("chunk_size",))
def linear_attention(
    op: Emitter, query: Value, key: Value, value: Value, past_state: Value | None = None,
    decay: Value | None = None, beta: Value | None = None,
    *, kv_num_heads: int, q_num_heads: int, scale: float, update_rule: str,
) -> Results:  # fmt: skip
    """Sₜ = exp(decayₜ) · Sₜ₋₁ + kₜ vₜᵀ, yₜ = scale · Sₜᵀ qₜ in every head

    With a delta rule vₜ is βₜ · (vₜ − Sᵀ kₜ): what the state does not yet say of kₜ.
    """
    length, wide = (_known(query, axis) for axis in (1, 2))
    group = q_num_heads // kv_num_heads
    factor = float(scale or 1 / math.sqrt(wide / q_num_heads))
    state, outputs = past_state, []
    for t in range(length):
        q = op.Reshape(_at(op, query, t), [0, kv_num_heads, group, -1])
        k = op.Reshape(_at(op, key, t), [0, kv_num_heads, -1, 1])
        v = op.Reshape(_at(op, value, t), [0, kv_num_heads, 1, -1])
        if state is not None and decay is not None:
            state = op.Mul(state, op.Exp(_per_head(op, _at(op, decay, t), kv_num_heads)))
        if beta is not None:
            if state is not None:
                v = op.Sub(v, op.MatMul(op.Transpose(k, perm=[0, 1, 3, 2]), state))
            v = op.Mul(v, op.Unsqueeze(op.Reshape(_at(op, beta, t), [0, -1, 1]), [3]))
        written = op.Mul(k, v)
        state = written if state is None else op.Add(state, written)
        outputs.append(op.Reshape(op.Mul(op.MatMul(q, state), factor), [0, 1, -1]))
    return op.Concat(*outputs, axis=1), state


def _at(op: Emitter, tokens: Value, t: int) -> Value:
    """One token of `[N, T, D]`, `[N, 1, D]`"""
    return op.Slice(tokens, [t], [t + 1], [1])


def _per_head(op: Emitter, decay: Value, heads: int) -> Value:
    """One number for each head or each of its key's elements, `[N, heads, D or 1, 1]`."""
    return op.Reshape(decay, [0, heads, -1, 1])


def _known(value: Value, axis: int) -> int:
    size = (value.shape or ())[axis] if value.rank == 3 else None
    if not isinstance(size, int):
        raise Uncovered("a sequence whose length or width is known only at run time")
    return size
