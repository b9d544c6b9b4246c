"""The gradient graph that ONNX Runtime's training build makes, run by that build.

Its last release is 1.19.2, for Python up to 3.11.
"""

from __future__ import annotations

import importlib
from typing import Any

import onnx
from onnx import TensorProto, helper

from benchmarks.peers.case import Case, Tasks
from benchmarks.peers.folding import folded, session_of

DISTRIBUTION = "onnxruntime-training-cpu"


def prepare(case: Case) -> Tasks:
    """It wants a scalar: the sum of the logits, each times its cotangent."""
    model = folded(case.path, len(case.pictures))
    _add_statistics(model)
    logits, image = model.graph.output[0].name, model.graph.input[0].name
    _add_loss(model, logits, case.cotangent.shape)
    state: Any = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    builder = state.GradientGraphBuilder(model.SerializeToString(), {"loss"}, {image}, "loss")
    builder.build()
    session = session_of(builder.get_model(), case.threads)
    inputs = {image: case.pictures, "cotangent": case.cotangent}
    return {"ORT training": lambda: session.run([f"{image}_grad"], inputs)[0]}


def _add_statistics(model: onnx.ModelProto) -> None:
    """Its gradient of LayerNormalization needs the outputs that a file may leave out."""
    for node in model.graph.node:
        if node.op_type == "LayerNormalization":
            missing = ("mean", "deviation")[len(node.output) - 1 :]
            node.output.extend(f"{node.output[0]}_{name}" for name in missing)


def _add_loss(model: onnx.ModelProto, logits: str, shape: tuple[int, ...]) -> None:
    graph = model.graph
    graph.input.append(helper.make_tensor_value_info("cotangent", TensorProto.FLOAT, shape))
    graph.node.append(helper.make_node("Mul", [logits, "cotangent"], ["weighted"]))
    graph.node.append(helper.make_node("ReduceSum", ["weighted"], ["loss"], keepdims=0))
    graph.output.append(helper.make_tensor_value_info("loss", TensorProto.FLOAT, []))
