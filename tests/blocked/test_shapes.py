"""Shapes of an optimised graph, operators of ONNX Runtime's own included."""

from __future__ import annotations

import math
from typing import Any

import pytest
from onnx import TensorProto, helper

from unitscope.blocked.shapes import MICROSOFT, NCHWC, Shape, Shapes

FED = {"matrix": (2, 5, 3), "picture": (1, 20, 9, 9), "pixels": (1, 9, 8, 20)}
WEIGHTS = {
    "turned": (2, 7, 3), "square": (7, 3), "bias": (7,), "kernel": (48, 32, 3, 3),
    "six": (6, 20, 3, 3),
}  # fmt: skip


@pytest.mark.parametrize(
    ("operators", "shape"),
    [
        ([("FusedMatMul", MICROSOFT, ["matrix", "turned"], {"transB": 1})], (2, 5, 7)),
        ([("FusedMatMul", MICROSOFT, ["matrix", "matrix"], {"transA": 1})], (2, 3, 3)),
        ([("Gelu", MICROSOFT, ["matrix"], {})], (2, 5, 3)),
        ([("FusedConv", MICROSOFT, ["picture", "six"], {"activation": "Relu"})], (1, 6, 7, 7)),
        ([("ReorderInput", NCHWC, ["picture"], {})], (1, 32, 9, 9)),
        (
            [
                ("ReorderInput", NCHWC, ["picture"], {}),
                ("Conv", NCHWC, ["out0", "kernel"], {"strides": [2, 2], "activation": "Relu"}),
                ("ReorderOutput", NCHWC, ["out1"], {"channels": 40}),
                ("Relu", "", ["out2"], {}),
            ],
            (1, 40, 4, 4),
        ),
        (
            [
                ("ReorderInput", NCHWC, ["pixels"], {"channels_last": 1}),
                ("ReorderOutput", NCHWC, ["out0"], {"channels_last": 1, "channels": 20}),
            ],
            (1, 9, 8, 20),
        ),
        ([("Unheard", "of.somebody", ["matrix"], {}), ("Relu", "", ["out0"], {})], None),
    ],
    ids=str,
)  # fmt: skip
def test_shapes_are_found(
    operators: list[tuple[str, str, list[str], dict[str, Any]]], shape: Shape | None
) -> None:
    nodes = [
        helper.make_node(operator, inputs, [f"out{index}"], domain=domain, **attributes)
        for index, (operator, domain, inputs, attributes) in enumerate(operators)
    ]
    graph = helper.make_graph(
        nodes,
        "graph",
        [
            helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)
            for name, dims in FED.items()
        ],
        [],
        [
            helper.make_tensor(name, TensorProto.FLOAT, dims, bytes(4 * math.prod(dims)), raw=True)
            for name, dims in WEIGHTS.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    shapes = Shapes(model, 16, {node.output[0]: node for node in nodes})
    assert shapes.of(nodes[-1].output[0]) == shape
