"""Which axis counts units, wherever the channels have moved."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper

from tests.graph.test_lower import lowered
from tests.models import SIZE, model_of
from unitscope.graph.unit_axis import unit_axes

WEIGHTS = {
    "kernel": np.zeros((4, 3, 1, 1), np.float32),
    "matrix": np.zeros((4, 6), np.float32),
    "left": np.zeros((7, SIZE), np.float32),
    "columns": np.array([0, 4, -1]),
    "tokens": np.array([0, -1, 4]),
    "first": np.array(0),
    "axis1": np.array([1]),
    "more": np.array([2, 1, 1, 1, 1]),
    "scale": np.ones(4, np.float32),
}
CONV = helper.make_node("Conv", ["image", "kernel"], ["maps"])
LAST = helper.make_node("Transpose", ["maps"], ["last"], perm=[0, 2, 3, 1])
COLUMNS = helper.make_node("Reshape", ["maps", "columns"], ["columned"])
BROADCAST = helper.make_node("Expand", ["top", "more"], ["y"])
TOKENS = helper.make_node("Transpose", ["columned"], ["rows"], perm=[0, 2, 1])


@pytest.mark.parametrize(
    ("nodes", "axis"),
    [
        ([CONV], 1),
        ([CONV, helper.make_node("Relu", ["maps"], ["y"])], 1),
        ([CONV, helper.make_node("GlobalAveragePool", ["maps"], ["y"])], 1),
        ([CONV, helper.make_node("Flatten", ["maps"], ["y"])], 1),
        ([CONV, LAST], 3),
        ([CONV, LAST, helper.make_node("LayerNormalization", ["last", "scale"], ["y"])], 3),
        ([CONV, LAST, helper.make_node("MatMul", ["last", "matrix"], ["y"])], 3),
        ([CONV, LAST, helper.make_node("Reshape", ["last", "tokens"], ["y"])], 2),
        ([CONV, LAST, helper.make_node("ReduceMean", ["last"], ["y"], axes=[1, 2], keepdims=0)], 1),
        ([CONV, LAST, helper.make_node("Transpose", ["last"], ["y"], perm=[0, 3, 1, 2])], 1),
        ([CONV, COLUMNS], 1),
        ([CONV, COLUMNS, TOKENS], 2),
        ([CONV, COLUMNS, TOKENS, helper.make_node("Gather", ["rows", "first"], ["y"], axis=1)], 1),
        ([CONV, helper.make_node("MatMul", ["left", "maps"], ["y"])], 2),
        ([CONV, helper.make_node("ReduceMean", ["maps"], ["y"], axes=[2, 3], keepdims=0)], 1),
        ([CONV, helper.make_node("Expand", ["maps", "more"], ["y"])], 2),
        ([helper.make_node("ReduceMax", ["image"], ["top"], keepdims=0), BROADCAST], 4),
    ],
)
def test_units_are_followed(nodes: list[onnx.NodeProto], axis: int) -> None:
    last = nodes[-1].output[0]
    renamed = [*nodes, helper.make_node("Identity", [last], ["output"])]
    graph, tensors = lowered(model_of(renamed, WEIGHTS))
    assert unit_axes(graph.nodes, graph.inputs[0], 1)[tensors["output"]] == axis
