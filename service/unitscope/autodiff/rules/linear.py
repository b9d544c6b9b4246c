"""Matrix products."""

from __future__ import annotations

from collections.abc import Sequence
from string import ascii_letters

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

_MAX_MINORS = 4
"""The largest matrix whose cofactors are written out."""


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
    if b.rank == 2 and all(b.static_shape or ()):  # rows of all matrices in one, not one by one
        k, n = b.static_shape or ()
        db = op.Gemm(op.Reshape(a, [-1, k]), op.Reshape(dy, [-1, n]), transA=1)
        return op.MatMul(dy, _transposed(op, b)), db
    row = a if a.rank > 1 else op.Unsqueeze(a, [0])
    column = b if b.rank > 1 else op.Unsqueeze(b, [1])
    if b.rank == 1:
        dy = op.Unsqueeze(dy, [-1])
    if a.rank == 1:
        dy = op.Unsqueeze(dy, [-2])
    da = op.sum_to(op.MatMul(dy, _transposed(op, column)), row)
    db = op.sum_to(op.MatMul(_transposed(op, row), dy), column)
    return op.reshape_like(da, a), op.reshape_like(db, b)


@rules.vjp("Det")
def det(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy · the cofactors of x: determinants without one row and one column"""
    size = (x.shape or ())[-1]
    if not isinstance(size, int):
        raise Uncovered("matrices whose size is known only at run time")
    if size > _MAX_MINORS:
        raise Uncovered(f"matrices of {size} rows, more than {_MAX_MINORS}")
    if size == 1:
        return (op.reshape_like(dy, x),)
    rows = [
        op.Concat(*(_cofactor(op, x, i, j, size) for j in range(size)), axis=-1)
        for i in range(size)
    ]
    return (op.Mul(op.Unsqueeze(dy, [-2, -1]), op.Concat(*rows, axis=-2)),)


@rules.vjp("Einsum")
def einsum(op: Emitter, dy: Value, y: Value, *xs: Value, equation: str) -> Cotangents:
    """dxᵢ = dy times the other factors, summed to the indices of xᵢ"""
    terms, result = _indices(equation, xs)
    dxs = []
    for i, (x, term) in enumerate(zip(xs, terms, strict=True)):
        apart, diagonals = _told_apart(op, x, term)
        factors = [dy, *xs[:i], *xs[i + 1 :], *diagonals.values()]
        indices = [result, *terms[:i], *terms[i + 1 :], *diagonals]
        kept = "".join(index for index in apart if index in "".join(indices))
        product = op.Einsum(*factors, equation=f"{','.join(indices)}->{kept}")
        summed = [axis for axis, index in enumerate(apart) if index not in kept]
        spread = op.Unsqueeze(product, summed) if summed else product
        dxs.append(spread if spread.shape == x.shape else op.Expand(spread, op.shape(x)))
    return tuple(dxs)


def along(op: Emitter, value: Value, matrix: Value, axis: int) -> Value:
    """The product of `matrix` `[n, m]` with one axis of `value` of size n, which becomes m."""
    if axis == value.rank - 1:
        return op.MatMul(value, matrix)
    if axis == value.rank - 2:
        return op.MatMul(_transposed(op, matrix), value)
    swap = list(range(value.rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return op.Transpose(op.MatMul(op.Transpose(value, perm=swap), matrix), perm=swap)


def _indices(equation: str, xs: Sequence[Value]) -> tuple[list[str], str]:
    """The indices of each factor and those of the product, which may be left to convention.

    An ellipsis becomes indices of its own.
    """
    left, arrow, result = equation.replace(" ", "").partition("->")
    once = sorted(index for index in {*left} - {",", "."} if left.count(index) == 1)
    result = result if arrow else "..." * ("." in left) + "".join(once)
    free = [letter for letter in ascii_letters if letter not in equation]
    terms = left.split(",")
    counts = [x.rank - len(term) + 3 for x, term in zip(xs, terms, strict=True) if "." in term]
    if len({*counts}) > 1:
        raise Uncovered(f"the equation {equation!r}: an ellipsis of several ranks")
    implied = "".join(free[: max(counts, default=0)])
    return [term.replace("...", implied) for term in terms], result.replace("...", implied)


def _told_apart(op: Emitter, x: Value, term: str) -> tuple[str, dict[str, Value]]:
    """`term` with an index of its own for every axis, and the identity matrices that tie them."""
    free = iter(letter for letter in reversed(ascii_letters) if letter not in term)
    apart, diagonals = "", {}
    for axis, index in enumerate(term):
        if index in apart:
            size = (x.shape or ())[axis]
            if not isinstance(size, int):
                raise Uncovered("the diagonal of a matrix whose size is known only at run time")
            other = next(free)
            diagonals[index + other] = op.const(np.eye(size, dtype=x.dtype))
            index = other
        apart += index
    return apart, diagonals


def _transposed(op: Emitter, matrix: Value) -> Value:
    """The last two axes swapped; a constant is transposed here and now."""
    batch = range(matrix.rank - 2)
    return op.Transpose(matrix, perm=[*batch, matrix.rank - 1, matrix.rank - 2])


def _cofactor(op: Emitter, x: Value, row: int, column: int, size: int) -> Value:
    """(−1)ⁱ⁺ʲ · the determinant of x without row i and column j, `[..., 1, 1]`."""
    rows, columns = ([i for i in range(size) if i != left] for left in (row, column))
    minor = op.Gather(op.Gather(x, rows, axis=-2), columns, axis=-1)
    return op.Mul(op.Unsqueeze(op.Det(minor), [-2, -1]), float((-1) ** (row + column)))
