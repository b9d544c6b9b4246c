"""Matrix products."""

from __future__ import annotations

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("Gemm")
def gemm(
    op: Emitter, dy: Value, y: Value, a: Value, b: Value, c: Value | None = None,
    *, alpha: float, beta: float, transA: int, transB: int,
) -> Cotangents:  # fmt: skip
    """y = α A' B' + β C, so dA' = α dy B'ᵀ, dB' = α A'ᵀ dy, dC = β dy"""
    da = (
        op.Gemm(b, dy, alpha=alpha, transA=transB, transB=1)
        if transA
        else op.Gemm(dy, b, alpha=alpha, transB=1 - transB)
    )
    db = (
        op.Gemm(dy, a, alpha=alpha, transA=1, transB=transA)
        if transB
        else op.Gemm(a, dy, alpha=alpha, transA=1 - transA)
    )
    return da, db, op.Mul(dy, beta)
