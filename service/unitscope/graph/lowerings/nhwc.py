"""Convolutions and pools over images with their channels last, as ONNX Runtime fuses them."""

from __future__ import annotations

from collections.abc import Sequence

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MICROSOFT, Lowerings, Results
from unitscope.graph.lowerings.contrib import activated
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Ints = Sequence[int]


@lowerings.form("NhwcConv", domain=MICROSOFT, harmless=("kernel_shape",))
def nhwc_conv(
    op: Emitter, x: Value, w: Value, b: Value | None = None,
    *, auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Results:  # fmt: skip
    """y = x ∗ w + b; the kernel, too, has its input channels last"""
    turned = channels_first(op, w)
    _fitting(x, turned, group)
    y = op.Conv(
        channels_first(op, x), turned, b,
        auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides,
    )  # fmt: skip
    return channels_last(op, y)


@lowerings.form("NhwcFusedConv", domain=MICROSOFT, harmless=("kernel_shape",))
def nhwc_fused_conv(
    op: Emitter, x: Value, w: Value, b: Value | None = None, z: Value | None = None,
    *, activation: str | None = None, activation_params: Sequence[float] | None = None,
    auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Results:  # fmt: skip
    """y = activation(x ∗ w + b + z); the kernel has its input channels first"""
    _fitting(x, w, group)
    y = op.Conv(
        channels_first(op, x), w, b,
        auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides,
    )  # fmt: skip
    y = channels_last(op, y)
    return activated(op, y if z is None else op.Add(y, z), activation, activation_params or ())


@lowerings.form("NhwcMaxPool", domain=MICROSOFT)
def nhwc_max_pool(
    op: Emitter, x: Value,
    *, auto_pad: str = "NOTSET", ceil_mode: int = 0, dilations: Ints | None = None,
    kernel_shape: Ints, pads: Ints | None = None, strides: Ints | None = None,
) -> Results:  # fmt: skip
    """y = MaxPool(x)"""
    y = op.MaxPool(
        channels_first(op, x),
        auto_pad=auto_pad, ceil_mode=ceil_mode, dilations=dilations, kernel_shape=kernel_shape,
        pads=pads, strides=strides,
    )  # fmt: skip
    return channels_last(op, y)


def channels_first(op: Emitter, x: Value) -> Value:
    """`[N, …, C]` as `[N, C, …]`"""
    return op.Transpose(x, perm=[0, x.rank - 1, *range(1, x.rank - 1)])


def channels_last(op: Emitter, x: Value) -> Value:
    """`[N, C, …]` as `[N, …, C]`"""
    return op.Transpose(x, perm=[0, *range(2, x.rank), 1])


def _fitting(x: Value, w: Value, group: int) -> None:
    """Raise Uncovered if the kernel does not take the channels of x: it is laid out otherwise."""
    channels, taken = (x.shape or ())[-1], (w.shape or ())[1]
    if not isinstance(channels, int) or not isinstance(taken, int) or channels != taken * group:
        raise Uncovered(f"a kernel that takes {taken} channels of {channels} in {group} groups")
