"""Fourier transforms."""

from __future__ import annotations

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("DFT")
def dft(
    op: Emitter, dy: Value, y: Value, x: Value, dft_length: Value | None = None,
    last: Value | None = None, *, axis: int | None = None, inverse: int, onesided: int,
) -> Cotangents:  # fmt: skip
    """y = M x along one axis, real and imaginary parts together, so dx = Mᵀ dy

    The axis was an attribute before opset 20 and is an input since.
    """
    if last is not None and last.const is None:
        raise Uncovered("an axis known only at run time")
    given = axis if last is None or last.const is None else int(last.const.item())
    along = (-2 if given is None else given) % x.rank
    sizes = [(value.shape or ())[i] for value in (x, y) for i in (along, -1)]
    if not all(isinstance(size, int) for size in sizes):
        raise Uncovered("a length known only at run time")
    length, parts, count, results = (int(size) for size in sizes)
    samples = count if inverse else length
    if dft_length is not None:
        samples = _constant(dft_length)
    matrix = _transform(length, parts, samples, results, inverse, onesided)
    to_end = [*(i for i in range(x.rank) if i not in (along, x.rank - 1)), along, x.rank - 1]
    turned = op.Transpose(dy, perm=to_end)
    flat = op.Reshape(turned, [*[0] * (x.rank - 2), count * results])
    dx = op.Reshape(op.MatMul(flat, matrix.T.astype(x.dtype)), [*[0] * (x.rank - 2), length, parts])
    return (op.Transpose(dx, perm=np.argsort(to_end).tolist()),)


def _constant(length: Value) -> int:
    if length.const is None:
        raise Uncovered("a length known only at run time")
    return int(length.const.item())


def _transform(
    length: int, parts: int, samples: int, results: int, inverse: int, onesided: int
) -> np.ndarray:
    """The transform of every unit vector: `[length · parts, count · results]`."""
    units = np.eye(length * parts).reshape(-1, length, parts)
    signal = units[..., 0] + (1j * units[..., 1] if parts == 2 else 0)
    rows: np.ndarray
    if inverse and onesided:
        rows = np.fft.irfft(signal, n=samples)
    elif inverse:
        rows = np.fft.ifft(signal, n=samples)
    else:
        rows = np.fft.fft(signal, n=samples)
        rows = rows[:, : samples // 2 + 1] if onesided else rows
    pairs = np.stack([rows.real, rows.imag], axis=-1)[..., :results]
    return pairs.reshape(len(units), -1)
