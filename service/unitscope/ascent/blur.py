"""Blurring pictures, each row by a kernel of its own."""

from __future__ import annotations

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value


def emit_blur(op: Emitter, picture: Value, kernels: Value) -> Value:
    """`picture` `[N, C, H, W]` blurred by `kernels` `[N, K]`, K odd, along both sides.

    Beyond its border a picture is as at its border.
    """
    rows, channels, height, width = (int(dim) for dim in picture.shape or ())
    size = int((kernels.shape or ())[1])
    reach = size // 2
    filters = op.Expand(op.Reshape(kernels, [rows, 1, size]), [rows, channels, size])
    padded = op.Pad(picture, [0, 0, reach, reach] * 2, mode="edge")
    flat = op.Reshape(padded, [1, rows * channels, height + 2 * reach, width + 2 * reach])
    for shape in ([rows * channels, 1, size, 1], [rows * channels, 1, 1, size]):
        flat = op.Conv(flat, op.Reshape(filters, shape), group=rows * channels)
    return op.Reshape(flat, [rows, channels, height, width])
