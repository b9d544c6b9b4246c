"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.windows import Ints, Window, crop_to, scatter_windows, window_of
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Dim, Value

rules = Rules()


@rules.vjp("Conv", harmless=("kernel_shape",))
def conv(
    op: Emitter, dy: Value, y: Value, x: Value, w: Value, b: Value | None = None,
    *, auto_pad: str, dilations: Ints | None, group: int, pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """dx = the transposed convolution of dy with w, dw = that of x with dy, db = Σ dy"""
    window = window_of(x, (w.shape or ())[2:], strides, dilations, pads, auto_pad)
    dx = scatter_windows(op, dy, w, window, x, group=group)
    return dx, _kernel_gradient(op, x, dy, w, window, group), _bias_gradient(op, dy, b)


@rules.vjp("ConvTranspose", harmless=("kernel_shape",))
def conv_transpose(
    op: Emitter, dy: Value, y: Value, x: Value, w: Value, b: Value | None = None,
    *, auto_pad: str, dilations: Ints | None, group: int, output_padding: Ints | None,
    output_shape: Ints | None, pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """dx = the convolution of dy with w, dw = that of dy with x, db = Σ dy"""
    explicit = "VALID" if auto_pad == "VALID" else "NOTSET"
    window = window_of(x, (w.shape or ())[2:], strides, dilations, pads, explicit)
    if output_shape or auto_pad.startswith("SAME"):
        window = _padded_to_output(x, y, window, output_padding, auto_pad)
    dx = op.Conv(
        dy,
        w,
        group=group,
        strides=list(window.strides),
        dilations=list(window.dilations),
        pads=window.pads,
    )
    size = [*range(2, x.rank)]
    if any(extra >= s for extra, s in zip(output_padding or [], window.strides, strict=False)):
        dx = op.Slice(dx, [0] * len(size), op.shape(x, start=2), size)
    dw = _kernel_gradient(op, dy, x, w, window, group)
    return op.shaped(dx, x), dw, _bias_gradient(op, dy, b)


@rules.vjp("Col2Im")
def col2im(
    op: Emitter, dy: Value, y: Value, x: Value, image_shape: Value, block_shape: Value,
    *, dilations: Ints | None, pads: Ints | None, strides: Ints | None,
) -> Cotangents:  # fmt: skip
    """y adds blocks up, so dx = the blocks of dy: a convolution with a kernel for each place"""
    channels = (y.shape or ())[1]
    if block_shape.const is None or not isinstance(channels, int):
        raise Uncovered("a block or a number of channels known only at run time")
    taps = [int(size) for size in block_shape.const]
    places = np.eye(int(np.prod(taps)), dtype=x.dtype).reshape(-1, 1, *taps)
    kernel = op.const(np.tile(places, (channels, *[1] * (1 + len(taps)))))
    blocks = op.Conv(dy, kernel, group=channels, strides=strides, dilations=dilations, pads=pads)
    return (op.reshape_like(blocks, x),)


def cut(op: Emitter, dy: Value, sizes: Sequence[Dim]) -> Cotangents | None:
    """The channels of `dy` in blocks of `sizes`, if it comes straight from a convolution.

    Then its kernel is cut instead, and the blocks stay in ONNX Runtime's blocked layout.
    """
    node = next((node for node in reversed(op.graph.nodes) if node.outputs[0] is dy), None)
    if node is None or node.op_type != "Conv" or node.attributes.get("group", 1) != 1:
        return None
    x, kernel, *_ = node.inputs
    lengths = [size for size in sizes if isinstance(size, int)]
    if len(node.inputs) > 2 or kernel is None or kernel.const is None or len(lengths) < len(sizes):
        return None
    blocks = np.split(kernel.const, np.cumsum(lengths)[:-1])
    return tuple(op.Conv(x, op.const(block), **node.attributes) for block in blocks)


def _kernel_gradient(
    op: Emitter, x: Value, dy: Value, w: Value, window: Window, group: int
) -> Value | None:
    """The convolution of x with dy, examples being channels; None for the kernel of a model.

    Strides and dilations change places: the taps of a kernel are as far apart as its windows.
    """
    if w.const is not None:
        return None
    batch, sizes = op.shape(x, end=1), op.shape(x, start=2)
    grouped = op.Reshape(x, op.Concat(batch, [group, -1], sizes, axis=0))
    turned = op.Transpose(grouped, perm=[2, 1, 0, *range(3, x.rank + 1)])
    examples = op.Reshape(turned, op.Concat(op.shape(w, 1, 2), [-1], sizes, axis=0))
    flipped = op.Transpose(dy, perm=[1, 0, *range(2, x.rank)])
    dw = op.Conv(
        examples,
        flipped,
        group=group,
        strides=list(window.dilations),
        dilations=list(window.strides),
        pads=window.pads,
    )
    spatial = range(2, x.rank)
    return crop_to(op, op.Transpose(dw, perm=[1, 0, *spatial]), w, spatial)


def _bias_gradient(op: Emitter, dy: Value, b: Value | None) -> Value | None:
    """Σ dy over everything but the channels"""
    if b is None or b.const is not None:
        return None
    return op.ReduceSum(dy, [0, *range(2, dy.rank)], keepdims=0)


def _padded_to_output(
    x: Value, y: Value, window: Window, output_padding: Ints | None, auto_pad: str
) -> Window:
    """`window` with the padding that gives `y` its size; an odd rest goes where ONNX says."""
    if x.static_shape is None or y.static_shape is None:
        raise Uncovered("an output_shape over sizes known only at run time")
    extra = output_padding or [0] * len(window.kernel)
    totals = [
        s * (size - 1) + o + reach + 1 - result
        for size, result, s, o, reach in zip(
            x.static_shape[2:], y.static_shape[2:], window.strides, extra, window.reach, strict=True
        )
    ]
    if any(total < 0 for total in totals):
        raise Uncovered(f"an output_shape beyond what the windows reach, by {-min(totals)}")
    small = tuple(total // 2 for total in totals)
    large = tuple(total - total // 2 for total in totals)
    begins, ends = (small, large) if auto_pad == "SAME_UPPER" else (large, small)
    return Window(window.kernel, window.strides, window.dilations, begins, ends)
