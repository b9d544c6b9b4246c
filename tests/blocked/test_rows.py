"""Chains between products of matrices, some rows at a time: the same numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.blocked.test_blocked import BLOCK, both, operators

pytestmark = pytest.mark.skipif(BLOCK == 0, reason="this processor has no blocked kernels")

GELU = [helper.make_node("Gelu", ["hidden"], ["active"])]
ACTIVATIONS = {
    "gelu": GELU,
    "tanh gelu": [helper.make_node("Gelu", ["hidden"], ["active"], approximate="tanh")],
    "relu": [helper.make_node("Relu", ["hidden"], ["active"])],
    "silu": [
        helper.make_node("Sigmoid", ["hidden"], ["gate"]),
        helper.make_node("Mul", ["hidden", "gate"], ["active"]),
    ],
}


def mixer(
    activation: list[onnx.NodeProto], *, side: int = 20, hidden: int = 1024
) -> onnx.ModelProto:
    """Tokens of a picture, channels last, through two layers around `activation`, twice.

    What is behind the first two layers goes through a convolution before it comes back.
    """
    rng = np.random.default_rng(0)
    shapes = {
        "stem_w": (32, 3, 3, 3), "depthwise_w": (32, 1, 3, 3), "scale": (32,), "bias": (32,),
        "up_w": (32, hidden), "up_b": (hidden,), "down_w": (hidden, 32), "gain": (1, 1, 1, 32),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "stem_w"], ["stem"], pads=[1, 1, 1, 1]),
        helper.make_node("Transpose", ["stem"], ["tokens0"], perm=[0, 2, 3, 1]),
    ]
    shared = {*shapes, "half"}
    for index in range(2):
        block = [
            helper.make_node("LayerNormalization", ["tokens", "scale", "bias"], ["normed"]),
            helper.make_node("MatMul", ["normed", "up_w"], ["up"]),
            helper.make_node("Add", ["up", "up_b"], ["hidden"]),
            *activation,
            helper.make_node("MatMul", ["active", "down_w"], ["down"]),
            helper.make_node("Mul", ["down", "gain"], ["scaled"]),
            helper.make_node("Transpose", ["scaled"], ["map"], perm=[0, 3, 1, 2]),
            helper.make_node(
                "Conv", ["map", "depthwise_w"], ["mixed"], group=32, pads=[1, 1, 1, 1]
            ),
            helper.make_node("Transpose", ["mixed"], ["last"], perm=[0, 2, 3, 1]),
            helper.make_node("Add", ["last", "scaled"], ["both"]),
            helper.make_node("Add", ["both", "tokens"], ["after"]),
        ]
        names = {"tokens": f"tokens{index}", "after": f"tokens{index + 1}"}
        for node in block:
            copy = onnx.NodeProto()
            copy.CopyFrom(node)
            for field in (copy.input, copy.output):
                field[:] = [x if x in shared else names.get(x, f"{x}{index}") for x in field]
            nodes.append(copy)
    nodes.append(helper.make_node("ReduceMean", ["tokens2", "sides"], ["logits"], keepdims=0))
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.3, shape).astype(np.float32), name)
        for name, shape in shapes.items()
    ]
    weights.append(numpy_helper.from_array(np.array([1, 2]), "sides"))
    graph = helper.make_graph(
        nodes,
        "mixer",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [1, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)


@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_there_and_back(activation: str, tmp_path: Path) -> None:
    nodes, error = both(mixer(ACTIVATIONS[activation]), tmp_path)
    assert error < 1e-5
    assert sum(node.op_type == "Scan" for node in nodes) >= 3
    assert not {"Gemm", "Exp", "Erf", "Tanh", "Gelu", "Sigmoid"} & operators(nodes)


@pytest.mark.parametrize(
    ("side", "hidden"), [(12, 2048), (20, 64), (19, 1024)], ids=["few rows", "narrow", "no parts"]
)
def test_where_it_does_not_pay(side: int, hidden: int, tmp_path: Path) -> None:
    """361 rows are 19 times 19: no part of them is worth a product."""
    nodes, error = both(mixer(GELU, side=side, hidden=hidden), tmp_path)
    assert error < 1e-5
    assert "Scan" not in operators(nodes)


def test_both_ways_have_one_normal_distribution(tmp_path: Path) -> None:
    nodes, error = both(mixer(GELU, hidden=64), tmp_path)
    assert error < 1e-5
    assert sum(node.op_type == "Erf" for node in nodes) == 2
    assert "Gelu" not in operators(nodes)


def test_another_distribution_is_not_taken(tmp_path: Path) -> None:
    another = [
        helper.make_node("Mul", ["hidden", "half"], ["narrower"]),
        helper.make_node("Erf", ["narrower"], ["spread"]),
        helper.make_node("HardSigmoid", ["spread"], ["other"], alpha=0.5, beta=0.5),
        helper.make_node("Gelu", ["hidden"], ["gelu"]),
        helper.make_node("Mul", ["gelu", "other"], ["active"]),
    ]
    model = mixer(another, hidden=64)
    model.graph.initializer.append(numpy_helper.from_array(np.array(0.5, np.float32), "half"))
    _, error = both(model, tmp_path)
    assert error < 1e-5
