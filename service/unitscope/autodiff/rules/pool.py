"""Pooling."""

from __future__ import annotations

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.reduce import part
from unitscope.autodiff.rules.windows import Ints, Window, crop_to, scatter_windows, window_of
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("MaxPool", harmless=("storage_order",))
def max_pool(
    op: Emitter, dy: Value, y: Value, x: Value,
    *, auto_pad: str, ceil_mode: int, dilations: Ints | None, kernel_shape: Ints,
    pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """dx = dy at the first maximum of each window, added up"""
    attributes = {
        "auto_pad": auto_pad, "ceil_mode": ceil_mode, "dilations": dilations,
        "kernel_shape": kernel_shape, "pads": pads, "strides": strides,
    }  # fmt: skip
    _, indices = op.emit("MaxPool", [x], attributes, outputs=2)
    flat = op.Reshape(op.zeros_like(x), [-1])
    dx = op.ScatterElements(
        flat, op.Reshape(indices, [-1]), op.Reshape(dy, [-1]), axis=0, reduction="add"
    )
    return (op.reshape_like(dx, x),)


@rules.vjp("MaxUnpool", harmless=("kernel_shape", "pads", "strides"))
def max_unpool(
    op: Emitter, dy: Value, y: Value, x: Value, indices: Value, output_shape: Value | None = None
) -> Cotangents:
    """dx = dy at the indices"""
    if output_shape is not None:
        raise Uncovered("an output_shape: runtimes disagree on what the indices then count")
    dx = op.Gather(op.Reshape(dy, [-1]), op.Reshape(indices, [-1]), axis=0)
    return (op.reshape_like(dx, x),)


@rules.vjp("AveragePool")
def average_pool(
    op: Emitter, dy: Value, y: Value, x: Value,
    *, auto_pad: str, ceil_mode: int, count_include_pad: int, dilations: Ints | None = None,
    kernel_shape: Ints, pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """dx = dy / (elements of the window), given to each element of the window"""
    window = window_of(x, kernel_shape, strides, dilations, pads, auto_pad)
    share = op.Div(dy, _counts(op, window, x, y, padded=bool(count_include_pad)))
    return (_spread(op, share, window, x),)


@rules.vjp("LpPool")
def lp_pool(
    op: Emitter, dy: Value, y: Value, x: Value,
    *, auto_pad: str, ceil_mode: int, dilations: Ints | None, kernel_shape: Ints, p: int,
    pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """dx = sign(x) |x|ᵖ⁻¹ · (dy / yᵖ⁻¹, given to each element of the window)"""
    window = window_of(x, kernel_shape, strides, dilations, pads, auto_pad)
    return (op.Mul(_norm_slope(op, x, p), _spread(op, _norm_share(op, dy, y, p), window, x)),)


@rules.vjp("GlobalLpPool")
def global_lp_pool(op: Emitter, dy: Value, y: Value, x: Value, *, p: int) -> Cotangents:
    """dx = sign(x) |x|ᵖ⁻¹ · dy / yᵖ⁻¹"""
    return (op.Mul(_norm_slope(op, x, p), _norm_share(op, dy, y, p)),)


@rules.vjp("GlobalAveragePool")
def global_average_pool(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy / (H · W)"""
    return (op.expand_like(op.Mul(dy, part(op, x, range(2, x.rank))), x),)


@rules.vjp("GlobalMaxPool")
def global_max_pool(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
    """dx = dy at the first maximum"""
    maps = op.Reshape(x, [0, 0, -1])
    first = op.ArgMax(maps, axis=2, keepdims=1)
    dx = op.ScatterElements(op.zeros_like(maps), first, op.Reshape(dy, [0, 0, -1]), axis=2)
    return (op.reshape_like(dx, x),)


def _spread(op: Emitter, dy: Value, window: Window, x: Value) -> Value:
    """Each element of `dy` given to every element of its window in `x`."""
    channels = (x.shape or ())[1]
    if not isinstance(channels, int):
        raise Uncovered("a number of channels known only at run time")
    ones = op.const(np.ones((channels, 1, *window.kernel)), dy.dtype)
    return scatter_windows(op, dy, ones, window, x, group=channels)


def _counts(op: Emitter, window: Window, x: Value, y: Value, *, padded: bool) -> Value:
    """How many elements each window averages over: `[1, 1, *sizes of y]`.

    Padding counts if `padded`; what a last window of `ceil_mode` reaches beyond it never does.
    """
    rank = len(window.kernel)
    sizes = op.Concat(np.ones(2, np.int64), op.shape(x, start=2), axis=0)
    frame = op.Expand(op.const(1.0, y.dtype), sizes)
    margins = [0] * 2 * rank
    if padded:
        frame = op.Pad(frame, [0, 0, *window.begins, 0, 0, *window.ends], 1.0)
    else:
        margins = window.pads
    counts = op.Conv(
        frame,
        op.const(np.ones((1, 1, *window.kernel)), y.dtype),
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=[
            *margins[:rank],
            *(m + s - 1 for m, s in zip(margins[rank:], window.strides, strict=True)),
        ],
    )
    return crop_to(op, counts, y, range(2, 2 + rank))


def _norm_slope(op: Emitter, x: Value, p: int) -> Value:
    """d|x|ᵖ/dx over p"""
    if p == 2:
        return x
    return op.Sign(x) if p == 1 else op.Mul(op.Sign(x), op.Pow(op.Abs(x), float(p - 1)))


def _norm_share(op: Emitter, dy: Value, y: Value, p: int) -> Value:
    """dy / yᵖ⁻¹, and 0 where y is: the norm has no slope there."""
    if p == 1:
        return dy
    safe = op.Where(op.Equal(y, 0.0), 1.0, y)
    return op.Div(dy, op.Pow(safe, float(p - 1)))
