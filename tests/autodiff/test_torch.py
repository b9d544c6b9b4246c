"""Whole models against PyTorch autograd.

PyTorch is large, so this needs an environment of its own: `make test-torch`.

In a picture with millions of activations some lie within rounding of a kink (a ReLU at zero, a
tie of a MaxPool), and there two correct programs take different sides: PyTorch in float32 and in
float64 do. So several pictures are tried, and one of them must agree to rounding.
"""

from __future__ import annotations

import copy
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from tests.trained import MODELS
from unitscope.autodiff.gradient_model import gradient_model

torch: Any = pytest.importorskip("torch", reason="PyTorch is not installed")

pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore"),  # the exporter and onnx2torch warn of their own code
]

Array = np.ndarray[Any, np.dtype[np.float32]]
TOLERANCE = 1e-3
PICTURES = 16
OPEN_SIZES = {0: 1, 2: 48, 3: 192}
"""What stands for a size that a model leaves open, by axis."""


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", ["resnet50", "vgg16", "mobilenet_v2"])
def test_exported_models(name: str, exporter: str, tmp_path: Path) -> None:
    torchvision: Any = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None)
    pictures = pictures_of([1, 3, 224, 224])
    example = torch.from_numpy(next(pictures))
    with torch.no_grad():
        module.train()(example.repeat(2, 1, 1, 1))  # statistics for the norms
    module.eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(module, (example,), path, dynamo=exporter == "dynamo")
    assert_same_gradient(f"{name}, {exporter}", gradient_model(path), pictures, module)


@pytest.mark.shared
@pytest.mark.skipif(not MODELS.is_dir(), reason="the trained models of ../shared are absent")
@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
def test_trained_models(path: Path, tmp_path: Path) -> None:
    converter: Any = pytest.importorskip("onnx2torch", reason="onnx2torch is not installed")
    model = gradient_model(path)
    image, logits = model.graph.input[0], model.graph.output[0]
    shape = [
        dim.dim_value or OPEN_SIZES[axis]
        for axis, dim in enumerate(image.type.tensor_type.shape.dim)
    ]
    plain = folded(path, logits.name, shape, tmp_path / "folded.onnx")
    module = converter.convert(plain).eval()
    assert_same_gradient(path.stem, model, pictures_of(shape), module)


def assert_same_gradient(
    label: str, model: onnx.ModelProto, pictures: Iterator[Array], module: Any
) -> None:
    """Largest difference over largest gradient, at most TOLERANCE."""
    session = ort.InferenceSession(model.SerializeToString())
    precise = copy.deepcopy(module).double()
    errors = []
    for picture in itertools.islice(pictures, PICTURES):
        logits, expected, cotangent = autograd(module, picture, np.float32)
        _, exact, _ = autograd(precise, picture, np.float64)
        feeds = {model.graph.input[0].name: picture, "cotangent": cotangent}
        activation, gradient = session.run(None, feeds)
        assert relative_error(activation, logits) <= TOLERANCE
        errors.append(min(relative_error(gradient, wanted) for wanted in (expected, exact)))
        print(
            f"{label}: {errors[-1]:.1e} (PyTorch's float32 and float64: "
            f"{relative_error(expected, exact):.1e})"
        )
        if errors[-1] <= TOLERANCE:
            return
    pytest.fail(f"no picture agrees: {errors}")


def autograd(module: Any, picture: Array, dtype: type) -> tuple[Any, Any, Array]:
    """The logits, cotangentᵀ · ∂logits/∂picture, and the cotangent."""
    x = torch.from_numpy(picture.astype(dtype)).requires_grad_()
    logits = module(x)
    cotangent = np.random.default_rng(1).standard_normal(tuple(logits.shape)).astype(np.float32)
    (gradient,) = torch.autograd.grad(logits, x, torch.from_numpy(cotangent.astype(dtype)))
    return logits.detach().numpy(), gradient.numpy(), cotangent


def pictures_of(shape: list[int]) -> Iterator[Array]:
    rng = np.random.default_rng(0)
    while True:
        yield rng.standard_normal(shape).astype(np.float32)


def relative_error(found: Any, expected: Any) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found - expected).max() / np.abs(expected).max())


def folded(path: Path, output: str, shape: list[int], target: Path) -> onnx.ModelProto:
    """The model up to `output` at a fixed size, without shape arithmetic: onnx2torch knows none."""
    model = onnx.load(path)
    for dim, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        dim.dim_value = size
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info(output, onnx.TensorProto.FLOAT, None))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    options.optimized_model_filepath = str(target)
    ort.InferenceSession(model.SerializeToString(), options)
    return onnx.load(target)
