"""Files made easy for those who differentiate ONNX: constants folded, the batch fixed."""

from __future__ import annotations

import tempfile
from pathlib import Path

import onnx
import onnxruntime as ort

CPU = "CPUExecutionProvider"
_FATAL_ONLY = 4


def folded(path: str, rows: int) -> onnx.ModelProto:
    """The model at `path` for `rows` pictures, as ONNX Runtime simplifies it, its shapes known."""
    options = quiet_options()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    (picture, *_) = onnx.load(path, load_external_data=False).graph.input
    if batch := picture.type.tensor_type.shape.dim[0].dim_param:
        options.add_free_dimension_override_by_name(batch, rows)
    with tempfile.TemporaryDirectory() as directory:
        made = Path(directory) / "folded.onnx"
        options.optimized_model_filepath = str(made)
        ort.InferenceSession(path, options, providers=[CPU])
        return onnx.shape_inference.infer_shapes(onnx.load(made))


def session_of(model: bytes, threads: int) -> ort.InferenceSession:
    """A session at ONNX Runtime's default level."""
    options = quiet_options()
    options.intra_op_num_threads = threads
    return ort.InferenceSession(model, options, providers=[CPU])


def quiet_options() -> ort.SessionOptions:
    """Nothing but what went wrong is said."""
    options = ort.SessionOptions()
    options.log_severity_level = _FATAL_ONLY
    return options
