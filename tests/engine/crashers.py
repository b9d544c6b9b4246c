"""Model files that harm the process that loads them."""

from __future__ import annotations

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from tests.models import small_classifier


def memory_bomb(size_bytes: int = 3 << 30) -> onnx.ModelProto:
    """The small classifier, whose logits need a tensor of a size that only running it tells."""
    size = np.array([size_bytes // 4], np.int64)
    nodes = [
        helper.make_node("Mul", ["image", "zero"], ["nothing"]),
        helper.make_node("ReduceMax", ["nothing"], ["none"], keepdims=0),
        helper.make_node("Cast", ["none"], ["whole"], to=TensorProto.INT64),
        helper.make_node("Add", ["whole", "size"], ["shape"]),
        helper.make_node("Expand", ["none", "shape"], ["bomb"]),
        helper.make_node("ReduceMax", ["bomb"], ["top"], keepdims=0),
        helper.make_node("Add", ["scores", "top"], ["logits"]),
    ]
    model = small_classifier()
    softmax = model.graph.node.pop()
    model.graph.node[-1].output[0] = "scores"
    model.graph.node.extend([*nodes, softmax])
    zero = np.zeros((), np.float32)
    constants = [numpy_helper.from_array(zero, "zero"), numpy_helper.from_array(size, "size")]
    model.graph.initializer.extend(constants)
    return model
