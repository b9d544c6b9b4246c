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
    if transA:
        da = op.Gemm(b, dy, alpha=alpha, transA=transB, transB=1)
    else:
        da = op.Gemm(dy, b, alpha=alpha, transB=1 - transB)
    if transB:
        db = op.Gemm(dy, a, alpha=alpha, transA=1, transB=transA)
    else:
        db = op.Gemm(a, dy, alpha=alpha, transA=1 - transA)
    return da, db, op.Mul(dy, beta)


@rules.vjp("MatMul")
def matmul(op: Emitter, dy: Value, y: Value, a: Value, b: Value) -> Cotangents:
    """dA = dy Bᵀ, dB = Aᵀ dy, a vector being a matrix of one row or one column"""
    if a.rank == b.rank == 2:
        return op.Gemm(dy, b, transB=1), op.Gemm(a, dy, transA=1)
    row = a if a.rank > 1 else op.Unsqueeze(a, [0])
    column = b if b.rank > 1 else op.Unsqueeze(b, [1])
    if b.rank == 1:
        dy = op.Unsqueeze(dy, [-1])
    if a.rank == 1:
        dy = op.Unsqueeze(dy, [-2])
    da = op.sum_to(op.MatMul(dy, _transposed(op, column)), row)
    db = op.sum_to(op.MatMul(_transposed(op, row), dy), column)
    return op.reshape_like(da, a), op.reshape_like(db, b)


def along(op: Emitter, value: Value, matrix: Value, axis: int) -> Value:
    """The product of `matrix` `[n, m]` with one axis of `value` of size n, which becomes m."""
    if axis == value.rank - 1:
        return op.MatMul(value, matrix)
    if axis == value.rank - 2:
        return op.MatMul(_transposed(op, matrix), value)
    swap = list(range(value.rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return op.Transpose(op.MatMul(op.Transpose(value, perm=swap), matrix), perm=swap)


def _transposed(op: Emitter, matrix: Value) -> Value:
    """The last two axes swapped; a constant is transposed here and now."""
    batch = range(matrix.rank - 2)
    return op.Transpose(matrix, perm=[*batch, matrix.rank - 1, matrix.rank - 2])
