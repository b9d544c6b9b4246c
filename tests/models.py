"""Small models built in code, for tests of every floor."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

SIZE = 12
CLASSES = 5
CARD = f"""
[model]
title = "Small"
license = "none"
[input]
layout = "NCHW"
channels = "RGB"
height_px = {SIZE}
width_px = {SIZE}
mean = [0.5, 0.5, 0.5]
std = [1.0, 1.0, 1.0]
[labels]
names = ["ant", "bee", "cat", "dog", "eel"]
"""
"""The card of `small_classifier`."""


def model_of(
    nodes: list[onnx.NodeProto],
    weights: dict[str, np.ndarray[Any, Any]],
    *,
    image: tuple[int | str, ...] = ("N", 3, SIZE, SIZE),
    output: tuple[int | str, ...] = ("N", CLASSES),
    opset: int = 17,
) -> onnx.ModelProto:
    """A checked model from `image` to `output` (both float32)."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, image)],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, output)],
        [numpy_helper.from_array(content, name) for name, content in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    onnx.checker.check_model(model)
    return model


def small_classifier(
    *,
    seed: int = 0,
    channels: int = 3,
    relus: Literal["awake", "asleep", "dead"] = "awake",
    layout: str = "NCHW",
    batch: int | str = "N",
) -> onnx.ModelProto:
    """Conv, Relu, pooling, Gemm, Softmax with random weights.

    `relus`: "asleep" is off on a grey image, "dead" on every image.
    """
    rng = np.random.default_rng(seed)
    kernel = rng.standard_normal((4, channels, 3, 3)).astype(np.float32) * 0.3
    bias = {"awake": 0.1, "asleep": -0.5 - kernel.sum((1, 2, 3)) / 2, "dead": -100.0}[relus]
    weights = {
        "features.conv.weight": kernel,
        "features.conv.bias": np.broadcast_to(bias, 4).astype(np.float32),
        "fc.weight": rng.standard_normal((4, CLASSES)).astype(np.float32),
        "fc.bias": np.zeros(CLASSES, np.float32),
    }
    nodes = [
        helper.make_node(
            "Conv",
            ["image", "features.conv.weight", "features.conv.bias"],
            ["conv_out"],
            name="/features/conv/Conv",
        ),
        helper.make_node("Relu", ["conv_out"], ["relu_out"], name="/features/relu/Relu"),
        helper.make_node(
            "GlobalAveragePool", ["relu_out"], ["pooled"], name="/pool/GlobalAveragePool"
        ),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc.weight", "fc.bias"], ["logits"], name="/fc/Gemm"),
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
    ]
    if layout == "NCHW":
        return model_of(nodes, weights, image=(batch, channels, SIZE, SIZE))
    nodes[0].input[0] = "turned"
    turn = helper.make_node("Transpose", ["image"], ["turned"], perm=[0, 3, 1, 2])
    return model_of([turn, *nodes], weights, image=(batch, SIZE, SIZE, channels))


def perceptron() -> onnx.ModelProto:
    """One hidden layer of sigmoids over the picture as a row of numbers, as Erhan et al. had it."""
    rng = np.random.default_rng(0)
    size = 3 * SIZE * SIZE
    weights = {
        "hidden.weight": rng.standard_normal((size, 6)).astype(np.float32) / size**0.5,
        "out.weight": rng.standard_normal((6, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "hidden.weight"], ["summed"]),
        helper.make_node("Sigmoid", ["summed"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "out.weight"], ["output"]),
    ]
    return model_of(nodes, weights)


def halved(model: onnx.ModelProto, half: int) -> onnx.ModelProto:
    """The model in half precision, its picture cast there and back and there again."""
    dtype = helper.tensor_dtype_to_np_dtype(half)
    for tensor in model.graph.initializer:
        content = numpy_helper.to_array(tensor)
        if content.dtype == np.float32:
            tensor.CopyFrom(numpy_helper.from_array(content.astype(dtype), tensor.name))
    image = model.graph.input[0].name
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = half
    for node in model.graph.node:
        for index, name in enumerate(node.input):
            node.input[index] = "narrow" if name == image else name
    casts = [
        helper.make_node("Cast", [image], ["wide"], to=TensorProto.FLOAT),
        helper.make_node("Cast", ["wide"], ["narrow"], to=half),
    ]
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    return model
