"""Model files that harm the process that loads them."""

from __future__ import annotations

import platform
from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import small_classifier

TRAPS = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="other processors divide without a trap"
)
"""Of tests with `division_trap`."""


def memory_bomb(size_bytes: int = 3 << 30) -> onnx.ModelProto:
    """Needs a tensor of a size that only running it tells."""
    nodes = [
        helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "size"], ["shape"]),
        helper.make_node("Expand", ["none", "shape"], ["bomb"]),
        helper.make_node("ReduceMax", ["bomb"], ["top"], keepdims=0),
    ]
    return _with_side_path(nodes, {"size": np.array([size_bytes // 4])})


def division_trap() -> onnx.ModelProto:
    """Divides the least whole number by -1, which ONNX Runtime leaves to the processor: SIGFPE."""
    nodes = [
        helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Sub", ["whole", "one"], ["minus_one"]),
        helper.make_node("Div", ["least", "minus_one"], ["quotient"]),
        helper.make_node("Cast", ["quotient"], ["top"], to=TensorProto.FLOAT),
    ]
    least = np.array(np.iinfo(np.int64).min)
    return _with_side_path(nodes, {"least": least, "one": np.array(1)})


def endless() -> onnx.ModelProto:
    """Averages millions of windows of millions of numbers each: hours, in a few megabytes."""
    nodes = [
        helper.make_node("Expand", ["none", "shape"], ["long"]),
        helper.make_node("AveragePool", ["long"], ["windows"], kernel_shape=[1 << 21]),
        helper.make_node("ReduceMax", ["windows"], ["top"], keepdims=0),
    ]
    return _with_side_path(nodes, {"shape": np.array([1, 1, 1 << 22])})


def _with_side_path(
    nodes: Sequence[onnx.NodeProto], constants: Mapping[str, np.ndarray]
) -> onnx.ModelProto:
    """The small classifier, to whose scores `nodes` add "top", made of a 0 called "none".

    The 0 depends on the picture, so that nothing of it is known before the model runs.
    """
    model = small_classifier()
    softmax = model.graph.node.pop()
    model.graph.node[-1].output[0] = "scores"
    begun = [
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),
        helper.make_node("ReduceMax", ["nothing"], ["none"], keepdims=0),
    ]
    added = helper.make_node("Add", ["scores", "top"], ["logits"])
    model.graph.node.extend([*begun, *nodes, added, softmax])
    contents = {"zero": np.zeros((), np.float32), **constants}
    model.graph.initializer.extend(
        numpy_helper.from_array(content, name) for name, content in contents.items()
    )
    return model
