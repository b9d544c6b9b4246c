"""Quantized models: the gradient of the float model, where the quantized one is not saturated."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.graph.quantizing import (
    VARIANTS,
    Array,
    pictures,
    residual_network,
    saved_by_runtime,
    transformer,
    with_weights_of,
)
from tests.models import halved, small_classifier
from tests.trained import MODELS, needs_trained_models
from unitscope.autodiff.gradient_model import gradient_model

BUILT = {
    "small": (small_classifier, ["logits"], ["relu_out", "conv_out"]),
    "residual": (residual_network, ["output"], ["relu2", "conv2"]),
    "transformer": (transformer, ["output"], ["relu", "wide"]),
}
"""How it is built, its scores, and an inner layer with what the layer is computed from."""
TRAINED = {
    "digits8_cnn": (["logits"], ["/3/Relu_output_0", "/2/Conv_output_0"]),
    "fashion_cnn": (["logits"], ["/5/Relu_output_0", "/3/Conv_output_0"]),
    "mnist_cnn": (
        ["logits"],
        [f"/conv_layers/conv_layers.{n}_output_0" for n in ("4/Relu", "3/Conv")],
    ),
}


def cosine(a: Array, b: Array) -> float:
    return float(np.sum(a * b) / (np.linalg.norm(a) * np.linalg.norm(b)))


def quantized_name(model: onnx.ModelProto, names: list[str]) -> str:
    """Where a quantizer has left the layer called `names[0]`: a Relu may be in its clip."""
    known = {name for node in model.graph.node for name in node.output}
    name = names[0]
    wanted = [f"{name}_DequantizeLinear_Output", name, *(f"{n}_quantized" for n in names)]
    return next(name for name in wanted if name in known)


def run(model: onnx.ModelProto, layer: str, images: Array) -> tuple[Array, Array]:
    """The layer and its gradient for a cotangent that is the same for all variants."""
    gradient = gradient_model(model, layer)
    session = ort.InferenceSession(gradient.SerializeToString())
    image, cotangent = session.get_inputs()
    sizes = [dim if isinstance(dim, int) else len(images) for dim in cotangent.shape]
    given = np.random.default_rng(5).standard_normal(sizes).astype(np.float32)
    activation, slope = session.run(None, {image.name: images, cotangent.name: given})
    return np.asarray(activation), np.asarray(slope)


def whole_numbers(model: onnx.ModelProto, layer: str, images: Array) -> Array:
    """The layer as ONNX Runtime's integer kernels compute it."""
    shown = onnx.ModelProto()
    shown.CopyFrom(model)
    if layer not in {value.name for value in shown.graph.output}:
        shown.graph.output.append(onnx.ValueInfoProto(name=layer))
    session = ort.InferenceSession(shown.SerializeToString())
    (found,) = session.run([layer], {session.get_inputs()[0].name: images})
    return np.asarray(found, np.float32)


def assert_alike(
    model: onnx.ModelProto, quantized: onnx.ModelProto, names: list[str], images: Array
) -> None:
    """Its value is that of the integer kernels, its gradient points where that of `model` does."""
    layer = quantized_name(quantized, names)
    value, slope = run(quantized, layer, images)
    expected = whole_numbers(quantized, layer, images)
    assert np.abs(value - expected).max() <= 8 * np.ptp(expected) / 255
    assert cosine(slope, run(model, names[0], images)[1]) >= 0.95


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("name", BUILT)
def test_a_quantized_model_has_the_gradient_of_the_float_one(
    name: str, variant: str, tmp_path: Path
) -> None:
    build, *layers = BUILT[name]
    shape = (3, 12, 12)
    quantized = VARIANTS[variant](build(), pictures(32, shape), tmp_path)
    for names in layers:
        assert_alike(build(), quantized, names, pictures(2, shape, seed=1))


@pytest.mark.parametrize("variant", ["qdq_per_channel", "dynamic"])
@pytest.mark.parametrize("name", ["residual", "transformer"])
def test_fusing_changes_nothing(name: str, variant: str, tmp_path: Path) -> None:
    build, (layer,), _ = BUILT[name]
    shape = (3, 12, 12)
    quantized = VARIANTS[variant](build(), pictures(32, shape), tmp_path)
    fused = saved_by_runtime(quantized, tmp_path)
    assert "com.microsoft" in {node.domain for node in fused.graph.node}
    images = pictures(2, shape, seed=1)
    pairs = zip(run(fused, layer, images), run(quantized, layer, images), strict=True)
    for found, expected in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_trained_models) for name in TRAINED]
)
def test_so_has_a_trained_one(name: str, variant: str, tmp_path: Path) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    _, *sizes = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    quantized = VARIANTS[variant](model, pictures(32, tuple(sizes)), tmp_path)
    for names in TRAINED[name]:
        assert_alike(model, quantized, names, pictures(2, tuple(sizes), seed=1))


@pytest.mark.parametrize("form", ["float16", "extended"])
@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=needs_trained_models) for name in TRAINED]
)
def test_another_form_of_a_trained_model_has_its_gradient(
    name: str, form: str, tmp_path: Path
) -> None:
    model = onnx.load(MODELS / f"{name}.onnx")
    _, *sizes = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    images = pictures(8, tuple(sizes), seed=1)
    (layer,) = TRAINED[name][0]
    _, expected = run(model, layer, images)
    other = (
        saved_by_runtime(model, tmp_path)
        if form == "extended"
        else halved(model, onnx.TensorProto.FLOAT16)
    )
    (scores,) = (value.name for value in other.graph.output)
    _, slope = run(other, scores, images)
    assert cosine(slope, expected) >= 0.999


@pytest.mark.parametrize(
    "name",
    [pytest.param(n, marks=needs_trained_models) for n in ("efficientnet_lite0", "squeezenet1_1")],
)
def test_in_deep_models_only_the_weights_have_turned_it(name: str, tmp_path: Path) -> None:
    """50 layers of weights in 8 bits do turn the gradient, however it is computed."""
    model = onnx.load(MODELS / f"{name}.onnx")
    _, *sizes = (dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    images = pictures(9, tuple(sizes)) * 2 - 1
    quantized = VARIANTS["qdq_per_channel"](model, images[:8], tmp_path)
    assert_alike(with_weights_of(quantized, model), quantized, ["logits"], images[8:])
