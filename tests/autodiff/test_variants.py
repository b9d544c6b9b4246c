"""One network in the forms people deploy it in: the gradient keeps its direction."""

from __future__ import annotations

from importlib.resources import as_file, files
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto

from tests.models import halved
from tests.trained import MODELS
from unitscope.autodiff.gradient_model import gradient_model

SPREAD = {"squeezenet1_1": 60.0, "mnist_cnn": 1.0, "chess_cv_pieces": 0.3}
"""The models, and the standard deviation of the values they were trained on."""


def path_of(name: str) -> Path:
    if name == "squeezenet1_1":
        with as_file(files("unitscope") / "data" / f"{name}.onnx") as embedded:
            return embedded
    if not MODELS.is_dir():
        pytest.skip("the trained models of ../shared are absent")
    return MODELS / f"{name}.onnx"


def written_as(form: str, source: Path, target: Path) -> None:
    model = onnx.load(source)
    if form == "extended":
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
        options.optimized_model_filepath = str(target)
        options.log_severity_level = 4
        ort.InferenceSession(str(source), options)
    else:
        weights = list(model.graph.initializer)
        if form == "external constants":
            del model.graph.initializer[:]
            nodes = [onnx.helper.make_node("Constant", [], [w.name], value=w) for w in weights]
            model.graph.node.extend(nodes + [model.graph.node.pop(0) for _ in model.graph.node[:]])
        onnx.save(model, target, save_as_external_data=True, size_threshold=0, location="weights")


def gradient(path: Path, spread: float) -> np.ndarray:
    """At a picture with a natural spectrum: on white noise, rounding weights alone turns it."""
    session = ort.InferenceSession(gradient_model(path).SerializeToString())
    image, cotangent = (
        [dim if isinstance(dim, int) else 1 for dim in declared.shape]
        for declared in session.get_inputs()
    )
    feeds = {
        session.get_inputs()[0].name: spread * natural(image),
        "cotangent": np.random.default_rng(0).standard_normal(cotangent).astype(np.float32),
    }
    return np.asarray(session.run(None, feeds)[1], np.float64).ravel()


def natural(shape: list[int]) -> np.ndarray:
    """Amplitudes that fall as 1/f, mean 0, standard deviation 1."""
    rows, columns = np.fft.fftfreq(shape[2])[:, None], np.fft.rfftfreq(shape[3])[None]
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal(shape))
    plane = np.fft.irfft2(noise / np.maximum(np.hypot(rows, columns), 1 / shape[3]), s=shape[2:])
    return np.asarray(plane / plane.std(), np.float32)


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float(first @ second / (np.linalg.norm(first) * np.linalg.norm(second)))


@pytest.mark.parametrize("form", ["extended", "external", "external constants"])
@pytest.mark.parametrize("name", SPREAD)
def test_forms_agree(name: str, form: str, tmp_path: Path) -> None:
    target = tmp_path / "other.onnx"
    written_as(form, path_of(name), target)
    expected, found = (gradient(path, SPREAD[name]) for path in (path_of(name), target))
    assert cosine(expected, found) >= 0.99999


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
@pytest.mark.parametrize("name", SPREAD)
def test_half_precision_is_that_of_the_rounded_weights(
    name: str, half: int, tmp_path: Path
) -> None:
    """Rounding moves ReLUs and maxima, so the unrounded gradient is only near."""
    narrow, rounded = tmp_path / "narrow.onnx", tmp_path / "rounded.onnx"
    onnx.save(halved(onnx.load(path_of(name)), half), narrow)
    model = onnx.load(path_of(name))
    dtype = onnx.helper.tensor_dtype_to_np_dtype(half)
    for tensor in model.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor)
        if content.dtype == np.float32:
            there_and_back = content.astype(dtype).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(there_and_back, tensor.name))
    onnx.save(model, rounded)
    found = gradient(narrow, SPREAD[name])
    assert cosine(gradient(rounded, SPREAD[name]), found) >= 0.99999
    assert cosine(gradient(path_of(name), SPREAD[name]), found) >= 0.98
