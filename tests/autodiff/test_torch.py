"""Whole models against PyTorch autograd; PyTorch is large, so this needs an environment of its own.

python -m venv ENV
ENV/bin/python -m pip install -e .[cpu] torch torchvision onnx2torch onnxscript pytest
ENV/bin/python -m pytest -m torch -s
"""

from __future__ import annotations

from collections.abc import Callable
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
OPEN_SIZES = {0: 1, 2: 48, 3: 192}
"""What stands for a size that a model leaves open, by axis."""


@pytest.mark.parametrize("exporter", ["dynamo", "torchscript"])
@pytest.mark.parametrize("name", ["resnet50", "vgg16", "mobilenet_v2"])
def test_exported_models(name: str, exporter: str, tmp_path: Path) -> None:
    torchvision: Any = pytest.importorskip("torchvision", reason="torchvision is not installed")
    torch.manual_seed(0)
    module = torchvision.models.get_model(name, weights=None)
    image = np.random.default_rng(0).standard_normal((1, 3, 224, 224)).astype(np.float32)
    with torch.no_grad():
        module.train()(torch.from_numpy(image).repeat(2, 1, 1, 1))  # statistics for the norms
    module.eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(module, (torch.from_numpy(image),), path, dynamo=exporter == "dynamo")
    assert_same_gradient(f"{name}, {exporter}", gradient_model(path), image, module)


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
    picture = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    assert_same_gradient(path.stem, model, picture, converter.convert(plain).eval())


def assert_same_gradient(
    label: str, model: onnx.ModelProto, image: Array, module: Callable[[Any], Any]
) -> None:
    """Largest difference over largest gradient, at most TOLERANCE."""
    x = torch.from_numpy(image.copy()).requires_grad_()
    logits = module(x)
    cotangent = np.random.default_rng(1).standard_normal(tuple(logits.shape)).astype(np.float32)
    (expected,) = torch.autograd.grad(logits, x, torch.from_numpy(cotangent))
    session = ort.InferenceSession(model.SerializeToString())
    feeds = {model.graph.input[0].name: image, "cotangent": cotangent}
    activation, gradient = session.run(None, feeds)
    forward = relative_error(activation, logits.detach().numpy())
    backward = relative_error(gradient, expected.numpy())
    print(f"{label}: logits {forward:.1e}, gradient {backward:.1e}")
    assert forward <= TOLERANCE
    assert backward <= TOLERANCE


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
