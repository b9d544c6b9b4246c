"""The gradient as a model: what goes in, what comes out, and that any runtime runs it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from tests.models import CLASSES, SIZE, model_of, small_classifier
from tests.trained import MODELS
from unitscope.autodiff.gradient_model import gradient_model, save_gradient_model
from unitscope.errors import ModelRejected, NotFound

Array = np.ndarray[Any, np.dtype[np.float32]]


def run(model: onnx.ModelProto, image: Array, cotangent: Array) -> tuple[Array, Array]:
    """The activation and the gradient, from a model that passes ONNX's full check."""
    onnx.checker.check_model(model, full_check=True)
    session = ort.InferenceSession(model.SerializeToString())
    activation, gradient = session.run(None, {image_name(model): image, "cotangent": cotangent})
    return np.asarray(activation), np.asarray(gradient)


def image_name(model: onnx.ModelProto) -> str:
    return str(model.graph.input[0].name)


def shape_of(value: onnx.ValueInfoProto) -> list[int | str]:
    return [dim.dim_param or dim.dim_value for dim in value.type.tensor_type.shape.dim]


def slope(model: onnx.ModelProto, image: Array, cotangent: Array, direction: Array) -> float:
    """The central difference of the score cotangentᵀ · activation along `direction`."""
    session = ort.InferenceSession(model.SerializeToString())
    name = model.graph.output[0].name

    def score(step: float) -> float:
        feeds = {image_name(model): image + np.float32(step) * direction, "cotangent": cotangent}
        (activation,) = session.run([name], feeds)
        return float(np.sum(activation.astype(np.float64) * cotangent))

    step = 3e-4 * float(np.abs(image).mean()) / float(np.abs(direction).max())
    return (score(step) - score(-step)) / (2 * step)


def open_classifier() -> onnx.ModelProto:
    """Strided and padded windows over an image whose batch, height and width are open."""
    rng = np.random.default_rng(0)
    weights = {
        "w1": rng.standard_normal((4, 3, 3, 3)).astype(np.float32),
        "w2": rng.standard_normal((6, 4, 2, 2)).astype(np.float32),
        "fc": rng.standard_normal((6, CLASSES)).astype(np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "w1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Conv", ["p1", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("AveragePool", ["c2"], ["a2"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("GlobalAveragePool", ["a2"], ["g2"]),
        helper.make_node("Flatten", ["g2"], ["f2"]),
        helper.make_node("MatMul", ["f2", "fc"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"]),
    ]
    return model_of(nodes, weights, image=("N", 3, "H", "W"))


def test_ports_keep_names_and_open_sizes() -> None:
    model = gradient_model(small_classifier())
    image, cotangent = model.graph.input
    logits, gradient = model.graph.output
    assert [image.name, cotangent.name] == ["image", "cotangent"]
    assert [logits.name, gradient.name] == ["logits", "image_gradient"]
    assert shape_of(image) == shape_of(gradient) == ["N", 3, SIZE, SIZE]
    assert shape_of(cotangent) == shape_of(logits) == ["N", CLASSES]
    assert {node.domain for node in model.graph.node} == {""}


def test_every_row_of_a_batch_has_its_own_gradient() -> None:
    model = gradient_model(small_classifier())
    rng = np.random.default_rng(0)
    images = rng.random((3, 3, SIZE, SIZE), np.float32)
    cotangents = rng.standard_normal((3, CLASSES)).astype(np.float32)
    _, together = run(model, images, cotangents)
    alone = [run(model, images[i : i + 1], cotangents[i : i + 1])[1] for i in range(3)]
    np.testing.assert_allclose(together, np.concatenate(alone), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("size", [(23, 18), (16, 31), (32, 32)])
def test_open_sizes_give_the_gradient_of_fixed_ones(size: tuple[int, int]) -> None:
    opened, fixed = open_classifier(), open_classifier()
    for dim, length in zip(
        fixed.graph.input[0].type.tensor_type.shape.dim, (2, 3, *size), strict=True
    ):
        dim.dim_value = length
    rng = np.random.default_rng(0)
    image = rng.standard_normal((2, 3, *size)).astype(np.float32)
    cotangent = rng.standard_normal((2, CLASSES)).astype(np.float32)
    expected = run(gradient_model(fixed), image, cotangent)
    for found, wanted in zip(run(gradient_model(opened), image, cotangent), expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-4, atol=1e-5)
    assert expected[1].any()


def test_a_layer_by_either_name() -> None:
    for name in ("relu_out", "features.relu"):
        activation, gradient = gradient_model(small_classifier(), name).graph.output
        assert (activation.name, gradient.name) == ("relu_out", "image_gradient")
    with pytest.raises(NotFound, match="relu"):
        gradient_model(small_classifier(), "features.rely")


def test_from_a_path_or_bytes(tmp_path: Path) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    assert gradient_model(path) == gradient_model(str(path)) == gradient_model(path.read_bytes())


@pytest.mark.parametrize("name", ["cotangent", "image_gradient"])
def test_a_tensor_with_a_name_of_ours_is_refused(name: str) -> None:
    model = small_classifier()
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if tensor == "relu_out" else tensor for tensor in names]
    with pytest.raises(ModelRejected, match=name):
        gradient_model(model)


def test_several_images_are_refused() -> None:
    model = small_classifier()
    model.graph.input.append(helper.make_tensor_value_info("mask", onnx.TensorProto.FLOAT, [1]))
    with pytest.raises(ModelRejected, match="2 inputs"):
        gradient_model(model)


def test_what_stops_the_gradient_is_named() -> None:
    model = small_classifier()
    model.graph.node[1].op_type = "Floor"
    with pytest.raises(ModelRejected, match="/features/relu/Relu") as caught:
        gradient_model(model)
    assert caught.value.operator == "Floor"


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.is_dir(), reason="the trained models of ../shared are absent")
@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_trained_models_rise_along_their_gradient(path: Path) -> None:
    model = gradient_model(path)
    rng = np.random.default_rng(0)
    declared = [dim if isinstance(dim, int) else 0 for dim in shape_of(model.graph.input[0])]
    sizes = [length or default for length, default in zip(declared, (1, 3, 48, 192), strict=True)]
    image = rng.standard_normal(sizes).astype(np.float32)
    classes = shape_of(model.graph.output[0])[1]
    assert isinstance(classes, int)
    cotangent = rng.standard_normal((1, classes)).astype(np.float32)
    _, gradient = run(model, image, cotangent)
    expected = float(np.sum(gradient.astype(np.float64) ** 2))
    assert slope(model, image, cotangent, gradient) == pytest.approx(expected, rel=0.01)


def test_weights_beyond_one_file_go_beside_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "small.onnx"
    onnx.save(wide_classifier(), path)
    whole, apart = tmp_path / "whole.onnx", tmp_path / "apart.onnx"
    save_gradient_model(whole, path)
    monkeypatch.setattr("unitscope.autodiff.gradient_model._MAX_FILE_BYTES", 0)
    save_gradient_model(apart, path)
    assert (tmp_path / "apart.onnx.data").stat().st_size >= 4 * 64 * 64
    feeds = {
        "image": np.random.default_rng(0).random((1, 3, 8, 8), np.float32),
        "cotangent": np.ones((1, 64), np.float32),
    }
    expected, found = (ort.InferenceSession(file).run(None, feeds) for file in (whole, apart))
    for wanted, got in zip(expected, found, strict=True):
        np.testing.assert_array_equal(got, wanted)
    with pytest.raises(ModelRejected, match="save_gradient_model"):
        gradient_model(path)


def wide_classifier() -> onnx.ModelProto:
    """Weights large enough to be kept apart."""
    weight = np.random.default_rng(0).standard_normal((192, 64)).astype(np.float32)
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weight"], ["output"]),
    ]
    return model_of(nodes, {"weight": weight}, image=("N", 3, 8, 8), output=("N", 64))


def test_pixels_keep_their_gradient_through_wider_whole_numbers() -> None:
    nodes = [
        helper.make_node("Cast", ["image"], ["wide"], to=onnx.TensorProto.INT32),
        helper.make_node("Sub", ["wide", "middle"], ["shifted"]),
        helper.make_node("Cast", ["shifted"], ["real"], to=onnx.TensorProto.FLOAT),
        helper.make_node("Flatten", ["real"], ["flat"]),
        helper.make_node("Mul", ["flat", "three"], ["output"]),
    ]
    weights = {"middle": np.array(128, np.int32), "three": np.array(3, np.float32)}
    model = model_of(nodes, weights, output=("N", 3 * SIZE * SIZE))
    model.graph.input[0].type.tensor_type.elem_type = onnx.TensorProto.UINT8
    image = np.full((1, 3, SIZE, SIZE), 130, np.float32)
    activation, gradient = run(gradient_model(model), image, np.ones((1, image.size), np.float32))
    assert set(activation.ravel()) == {6.0} and set(gradient.ravel()) == {3.0}
