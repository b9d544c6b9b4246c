"""Models as ONNX Runtime's own quantizers leave them, and pictures to calibrate on."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnxruntime.quantization import (
    CalibrationDataReader,
    QuantFormat,
    QuantType,
    quantize_dynamic,
    quantize_static,
)
from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

from tests.models import CLASSES, SIZE, model_of

Array = np.ndarray[Any, np.dtype[np.float32]]
Variant = Callable[[onnx.ModelProto, Array, Path], onnx.ModelProto]
"""From a model, images to calibrate on and a directory to work in to the quantized model."""


def pictures(count: int, shape: tuple[int, ...], seed: int = 0) -> Array:
    """`[count, C, H, W]` from 0 to 1 with the spectrum of photographs, 1 / frequency."""
    noise = np.random.default_rng(seed).standard_normal((count, *shape))
    up, across = np.fft.fftfreq(shape[-2])[:, None], np.fft.rfftfreq(shape[-1])[None]
    spectrum = np.fft.rfft2(noise) / (np.hypot(up, across) + 1 / shape[-1])
    smooth = np.fft.irfft2(spectrum, s=shape[-2:])
    low, high = (limit(smooth, axis=(1, 2, 3), keepdims=True) for limit in (np.min, np.max))
    return np.asarray((smooth - low) / (high - low), np.float32)


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # it ships no types
    def __init__(self, name: str, images: Array) -> None:
        self._feeds: Iterator[dict[str, Array]] = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, Array] | None:
        return next(self._feeds, None)


def quietly(make: Variant) -> Variant:
    """Without the advice that the quantizers log."""

    def run(model: onnx.ModelProto, images: Array, directory: Path) -> onnx.ModelProto:
        logging.disable(logging.WARNING)
        try:
            return make(model, images, directory)
        finally:
            logging.disable(logging.NOTSET)

    return run


def static(**options: Any) -> Variant:
    """What `quantize_static` makes with these options."""

    @quietly
    def make(model: onnx.ModelProto, images: Array, directory: Path) -> onnx.ModelProto:
        source, target = directory / "float.onnx", directory / "quantized.onnx"
        onnx.save(model, source)
        quantize_static(source, target, _Reader(model.graph.input[0].name, images), **options)
        return onnx.load(target)

    return make


@quietly
def dynamic(model: onnx.ModelProto, images: Array, directory: Path) -> onnx.ModelProto:
    """What `quantize_dynamic` makes."""
    source, target = directory / "float.onnx", directory / "quantized.onnx"
    onnx.save(model, source)
    quantize_dynamic(source, target)
    return onnx.load(target)


def n_bits(bits: int, *, symmetric: bool) -> Variant:
    """What MatMulNBitsQuantizer makes, in blocks of 16."""

    @quietly
    def make(model: onnx.ModelProto, images: Array, directory: Path) -> onnx.ModelProto:
        quantizer = MatMulNBitsQuantizer(
            without_gemm(model), bits=bits, block_size=16, is_symmetric=symmetric
        )
        quantizer.process()
        quantized: onnx.ModelProto = quantizer.model.model
        return quantized

    return make


QDQ, QOPERATOR = QuantFormat.QDQ, QuantFormat.QOperator
_PER_CHANNEL = {
    "per_channel": True,
    "weight_type": QuantType.QInt8,
    "activation_type": QuantType.QUInt8,
}
VARIANTS: dict[str, Variant] = {
    "qdq": static(quant_format=QDQ),
    "qdq_per_channel": static(quant_format=QDQ, **_PER_CHANNEL),
    "qdq_16_bits": static(
        quant_format=QDQ,
        activation_type=QuantType.QInt16,
        weight_type=QuantType.QInt8,
        extra_options={"UseQDQContribOps": True},
    ),
    "qoperator": static(quant_format=QOPERATOR),
    "qoperator_per_channel": static(quant_format=QOPERATOR, **_PER_CHANNEL),
    "dynamic": dynamic,
    "n_bits": n_bits(8, symmetric=True),
    "n_bits_zero_points": n_bits(8, symmetric=False),
}


def without_gemm(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with MatMul and Add for every Gemm, as MatMulNBitsQuantizer wants it."""
    changed = onnx.ModelProto()
    changed.CopyFrom(model)
    weights = {tensor.name: tensor for tensor in changed.graph.initializer}
    nodes: list[onnx.NodeProto] = []
    for node in model.graph.node:
        if node.op_type != "Gemm":
            nodes.append(node)
            continue
        (x, weight, bias), (y,) = node.input, node.output
        if any(a.name == "transB" and a.i for a in node.attribute):
            turned = np.ascontiguousarray(numpy_helper.to_array(weights[weight]).T)
            weights[weight].CopyFrom(numpy_helper.from_array(turned, weight))
        nodes.append(helper.make_node("MatMul", [x, weight], [f"{y}_product"]))
        nodes.append(helper.make_node("Add", [f"{y}_product", bias], [y]))
    del changed.graph.node[:]
    changed.graph.node.extend(nodes)
    return changed


def saved_by_runtime(model: onnx.ModelProto, directory: Path) -> onnx.ModelProto:
    """The model as ONNX Runtime fuses and saves it for any machine."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    options.optimized_model_filepath = str(directory / "saved.onnx")
    ort.InferenceSession(model.SerializeToString(), options)
    return onnx.load(directory / "saved.onnx")


def with_weights_of(quantized: onnx.ModelProto, model: onnx.ModelProto) -> onnx.ModelProto:
    """The float model with its weights rounded as those of its per-channel QDQ variant are."""
    held = {tensor.name: numpy_helper.to_array(tensor) for tensor in quantized.graph.initializer}
    rounded = onnx.ModelProto()
    rounded.CopyFrom(model)
    for tensor in rounded.graph.initializer:
        whole = held.get(f"{tensor.name}_quantized")
        if whole is not None and whole.dtype == np.int8:  # its zero points are 0
            scale = held[f"{tensor.name}_scale"]
            axis = whole.shape.index(scale.size)
            steps = scale.reshape([-1 if i == axis else 1 for i in range(whole.ndim)])
            tensor.CopyFrom(numpy_helper.from_array(whole * steps, tensor.name))
    return rounded


def residual_network() -> onnx.ModelProto:
    """Convolutions with a skip connection, a gate, a leaky branch and two kinds of pooling."""
    rng = np.random.default_rng(2)

    def kernel(*shape: int) -> Array:
        return np.asarray(rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:])), np.float32)

    weights = {
        "w1": kernel(8, 3, 3, 3), "w2": kernel(8, 8, 3, 3), "w3": kernel(8, 8, 1, 1),
        "b1": kernel(8, 4)[:, 0], "b2": kernel(8, 4)[:, 0],
        "fc": kernel(CLASSES, 16).T.copy(), "fc_bias": kernel(CLASSES, 4)[:, 0],
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["conv1"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv1"], ["relu1"]),
        helper.make_node("MaxPool", ["relu1"], ["pool1"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("Conv", ["pool1", "w2", "b2"], ["conv2"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["conv2"], ["relu2"]),
        helper.make_node("Add", ["pool1", "relu2"], ["sum"]),
        helper.make_node("Conv", ["sum", "w3"], ["mixed"]),
        helper.make_node("Sigmoid", ["mixed"], ["gate"]),
        helper.make_node("Mul", ["sum", "gate"], ["gated"]),
        helper.make_node("LeakyRelu", ["mixed"], ["leaky"], alpha=0.1),
        helper.make_node("Concat", ["gated", "leaky"], ["both"], axis=1),
        helper.make_node("AveragePool", ["both"], ["pool2"], kernel_shape=[2, 2], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["pool2"], ["pool3"]),
        helper.make_node("Flatten", ["pool3"], ["flat"]),
        helper.make_node("Gemm", ["flat", "fc", "fc_bias"], ["output"]),
    ]
    for node in nodes:
        node.name = f"/{node.output[0]}/{node.op_type}"
    return model_of(nodes, weights)


def transformer() -> onnx.ModelProto:
    """Patches of an image as tokens, one head of attention, a block of two products."""
    rng, width = np.random.default_rng(3), 16

    def matrix(rows: int, columns: int) -> Array:
        return np.asarray(rng.standard_normal((rows, columns)) / np.sqrt(rows), np.float32)

    weights = {
        "patches": matrix(48, width).T.reshape(width, 3, 4, 4).copy(),
        **{name: matrix(width, width) for name in ("q", "k", "v", "o")},
        "up": matrix(width, 2 * width), "down": matrix(2 * width, width),
        "fc": matrix(width, CLASSES), "fc_bias": matrix(1, CLASSES)[0],
        "one": np.ones(width, np.float32), "zero": np.zeros(width, np.float32),
        "tokens": np.array([0, width, -1]), "scale": np.array([width**-0.5], np.float32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "patches"], ["cut"], strides=[4, 4]),
        helper.make_node("Reshape", ["cut", "tokens"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["x"], perm=[0, 2, 1]),
        helper.make_node("LayerNormalization", ["x", "one", "zero"], ["normal"]),
        *(helper.make_node("MatMul", ["normal", name], [name.upper()]) for name in "qkv"),
        helper.make_node("Transpose", ["K"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["Q", "turned"], ["likeness"]),
        helper.make_node("Mul", ["likeness", "scale"], ["scaled"]),
        helper.make_node("Softmax", ["scaled"], ["attention"], axis=-1),
        helper.make_node("MatMul", ["attention", "V"], ["seen"]),
        helper.make_node("MatMul", ["seen", "o"], ["told"]),
        helper.make_node("Add", ["x", "told"], ["sum"]),
        helper.make_node("MatMul", ["sum", "up"], ["wide"]),
        helper.make_node("Relu", ["wide"], ["relu"]),
        helper.make_node("MatMul", ["relu", "down"], ["narrow"]),
        helper.make_node("Add", ["sum", "narrow"], ["total"]),
        helper.make_node("ReduceMean", ["total"], ["pooled"], axes=[1], keepdims=0),
        helper.make_node("Gemm", ["pooled", "fc", "fc_bias"], ["output"]),
    ]
    for node in nodes:
        node.name = f"/{node.output[0]}/{node.op_type}"
    return model_of(nodes, weights, image=("N", 3, SIZE, SIZE))
