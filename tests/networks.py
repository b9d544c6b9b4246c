"""Small networks of the kinds people have, with random weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper

from tests.models import CLASSES, model_of

SIDE = 32


class Writer:
    """Appends nodes and draws weights."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray[Any, Any]] = {}

    def node(self, op_type: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Append a node; returns the name of its result."""
        name = output or f"{op_type.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(op_type, inputs, [name], **attributes))
        return name

    def weight(self, *shape: int, fan: int = 0, offset: float = 0.0) -> str:
        """A weight drawn with the deviation √(2 / fan)."""
        name = f"weight_{len(self.weights)}"
        drawn = self.rng.standard_normal(shape) * (2 / fan) ** 0.5 if fan else np.zeros(shape)
        self.weights[name] = (drawn + offset).astype(np.float32)
        return name

    def conv(
        self, x: str, ins: int, outs: int, side: int, *, stride: int = 1, group: int = 1
    ) -> str:
        """A convolution that pads so as to keep the size."""
        kernel = self.weight(outs, ins // group, side, side, fan=ins // group * side * side)
        bias = self.weight(outs, fan=200)
        pads = [side // 2] * 4
        return self.node("Conv", x, kernel, bias, strides=[stride] * 2, pads=pads, group=group)

    def linear(self, x: str, ins: int, outs: int) -> str:
        """x · W + b over the last axis."""
        product = self.node("MatMul", x, self.weight(ins, outs, fan=2 * ins))
        return self.node("Add", product, self.weight(outs, fan=200))

    def layer_norm(self, x: str, size: int) -> str:
        """Over the last axis."""
        return self.node(
            "LayerNormalization", x, self.weight(size, offset=1.0), self.weight(size), axis=-1
        )

    def gelu(self, x: str) -> str:
        """x · Φ(x), as exporters write it."""
        half, root, one = (self.weight(1, offset=value) for value in (0.5, 1 / 2**0.5, 1.0))
        erf = self.node("Erf", self.node("Mul", x, root))
        return self.node("Mul", self.node("Mul", x, self.node("Add", erf, one)), half)

    def classifier(self, x: str, channels: int) -> onnx.ModelProto:
        """Mean over the map and a last layer."""
        flat = self.node("Flatten", self.node("GlobalAveragePool", x))
        return self.finish(self.linear(flat, channels, CLASSES))

    def finish(self, logits: str) -> onnx.ModelProto:
        """The checked model."""
        self.node("Identity", logits, output="output")
        return model_of(self.nodes, self.weights, image=("N", 3, SIDE, SIDE), opset=17)


def residual(seed: int = 0) -> onnx.ModelProto:
    """ResNet: two convolutions and a way around them."""
    net = Writer(seed)
    x = net.node("Relu", net.conv("image", 3, 16, 7, stride=2))
    x = net.node("MaxPool", x, kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4)
    for _ in range(3):
        inner = net.node("Relu", net.conv(x, 16, 16, 3))
        x = net.node("Relu", net.node("Add", x, net.conv(inner, 16, 16, 3)))
    return net.classifier(x, 16)


def inverted_residual(seed: int = 0) -> onnx.ModelProto:
    """MobileNetV2: wide, depthwise, narrow, with ReLU6."""
    net = Writer(seed)
    low, high = net.weight(offset=0.0), net.weight(offset=6.0)

    def relu6(x: str) -> str:
        return net.node("Clip", x, low, high)

    x = relu6(net.conv("image", 3, 8, 3, stride=2))
    for _ in range(3):
        wide = relu6(net.conv(x, 8, 32, 1))
        deep = relu6(net.conv(wide, 32, 32, 3, group=32))
        x = net.node("Add", x, net.conv(deep, 32, 8, 1))
    return net.classifier(relu6(net.conv(x, 8, 32, 1)), 32)


def convnext(seed: int = 0) -> onnx.ModelProto:
    """ConvNeXt: depthwise 7×7, LayerNorm over channels, GELU; one more norm behind the mean."""
    net, width = Writer(seed), 48
    x = net.conv("image", 3, width, 4, stride=4)
    for _ in range(3):
        inner = net.node("Transpose", net.conv(x, width, width, 7, group=width), perm=[0, 2, 3, 1])
        inner = net.linear(net.layer_norm(inner, width), width, 4 * width)
        inner = net.linear(net.gelu(inner), 4 * width, width)
        x = net.node("Add", x, net.node("Transpose", inner, perm=[0, 3, 1, 2]))
    mean = net.node("Flatten", net.node("GlobalAveragePool", x))
    return net.finish(net.linear(net.layer_norm(mean, width), width, CLASSES))


def vision_transformer(seed: int = 0) -> onnx.ModelProto:
    """ViT: patches of 8 pixels, one head of attention, GELU, the mean of the tokens."""
    net, width = Writer(seed), 24
    kernel = net.weight(width, 3, 8, 8, fan=2 * 3 * 64)
    patches = net.node("Conv", "image", kernel, strides=[8, 8])
    net.weights["rows"] = np.array([0, width, -1], np.int64)
    tokens = net.node("Transpose", net.node("Reshape", patches, "rows"), perm=[0, 2, 1])
    x = net.node("Add", tokens, net.weight((SIDE // 8) ** 2, width, fan=200))
    scale = net.weight(1, offset=width**-0.5)
    for _ in range(2):
        seen = net.layer_norm(x, width)
        query, key, value = (net.linear(seen, width, width) for _ in range(3))
        scores = net.node("MatMul", query, net.node("Transpose", key, perm=[0, 2, 1]))
        shares = net.node("Softmax", net.node("Mul", scores, scale), axis=-1)
        x = net.node("Add", x, net.linear(net.node("MatMul", shares, value), width, width))
        inner = net.gelu(net.linear(net.layer_norm(x, width), width, 4 * width))
        x = net.node("Add", x, net.linear(inner, 4 * width, width))
    mean = net.node("ReduceMean", net.layer_norm(x, width), axes=[1], keepdims=0)
    return net.finish(net.linear(mean, width, CLASSES))


NETWORKS: dict[str, Callable[[int], onnx.ModelProto]] = {
    "residual": residual,
    "inverted_residual": inverted_residual,
    "convnext": convnext,
    "vision_transformer": vision_transformer,
}
