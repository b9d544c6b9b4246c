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

NAMES = ["squeezenet1_1", "mnist_cnn", "chess_cv_pieces"]
FORMS = ["float16", "bfloat16", "extended", "external", "external constants"]


def path_of(name: str) -> Path:
    if name == "squeezenet1_1":
        with as_file(files("unitscope") / "data" / f"{name}.onnx") as embedded:
            return embedded
    if not MODELS.is_dir():
        pytest.skip("the trained models of ../shared are absent")
    return MODELS / f"{name}.onnx"


def written_as(form: str, source: Path, target: Path) -> None:
    model = onnx.load(source)
    if form == "float16":
        onnx.save(halved(model, TensorProto.FLOAT16), target)
    elif form == "bfloat16":
        onnx.save(halved(model, TensorProto.BFLOAT16), target)
    elif form == "extended":
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


def gradient(path: Path) -> np.ndarray:
    model = gradient_model(path)
    session = ort.InferenceSession(model.SerializeToString())
    feeds = {}
    rng = np.random.default_rng(0)
    for declared in session.get_inputs():
        shape = [dim if isinstance(dim, int) else 1 for dim in declared.shape]
        feeds[declared.name] = rng.standard_normal(shape).astype(np.float32)
    return np.asarray(session.run(None, feeds)[1], np.float64).ravel()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_forms_agree(name: str, form: str, tmp_path: Path) -> None:
    target = tmp_path / "other.onnx"
    written_as(form, path_of(name), target)
    expected, found = gradient(path_of(name)), gradient(target)
    cosine = expected @ found / (np.linalg.norm(expected) * np.linalg.norm(found))
    assert cosine >= (0.99 if form == "bfloat16" else 0.999)
