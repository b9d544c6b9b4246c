"""More of a graph in the blocked layout: the same numbers, from blocked kernels."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from unitscope.autodiff.gradient_model import gradient_model
from unitscope.autodiff.rules import REDIRECTED
from unitscope.blocked import RULES, block_more
from unitscope.engine.sharing import channels_of_a_block

BLOCK = channels_of_a_block()
pytestmark = pytest.mark.skipif(BLOCK == 0, reason="this processor has no blocked kernels")

WIDE = 32
"""Channels: whole blocks on every processor."""


def network(*nodes: onnx.NodeProto, channels: int = WIDE, side: int = 15) -> onnx.ModelProto:
    """A stem of a convolution, `nodes` from "stem" to "last", and a convolution behind them.

    Kernels `wN` take N × N places, `tN` and `dN` are those of transposed and depthwise ones.
    """
    rng = np.random.default_rng(0)
    kernels = {
        "stem_w": (channels, 3, 3, 3), "end_w": (32, channels, 1, 1),
        **{f"w{size}": (channels, channels, size, size) for size in (1, 2, 3, 7)},
        **{f"d{size}": (channels, 1, size, size) for size in (2, 3)},
        "per_channel": (1, channels, 1, 1),
    }  # fmt: skip
    weights = [
        numpy_helper.from_array(rng.normal(0, 0.2, shape).astype(np.float32), name)
        for name, shape in kernels.items()
    ]
    weights.append(numpy_helper.from_array(np.full(2, channels // 2), "sizes"))
    graph = helper.make_graph(
        [
            helper.make_node("Conv", ["image", "stem_w"], ["stem"], pads=[1, 1, 1, 1]),
            *nodes,
            helper.make_node("Conv", ["last", "end_w"], ["end"]),
            helper.make_node("GlobalAveragePool", ["end"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["logits"]),
        ],
        "network",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [2, 3, side, side])],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [2, 32])],
        weights,
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def both(model: onnx.ModelProto, tmp_path: Path) -> tuple[list[onnx.NodeProto], float]:
    """The nodes of the blocked gradient, and by how much of its size it misses the plain one."""
    gradient = gradient_model(model)
    path = tmp_path / "optimised.onnx"
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    plain = ort.InferenceSession(gradient.SerializeToString(), options)
    blocked, weights = block_more(onnx.load(path), {}, BLOCK, path.name, cores=1)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    values = {name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in weights.items()}
    for name, value in values.items():
        options.add_initializer(name, value)
    onnx.save(blocked, path)
    session = ort.InferenceSession(path, options)
    rng = np.random.default_rng(1)
    fed = {
        value.name: rng.normal(size=value.shape).astype(np.float32) for value in plain.get_inputs()
    }
    expected, found = plain.run(None, fed)[1], session.run(None, fed)[1]
    assert np.abs(expected).max() > 0
    return list(blocked.graph.node), float(np.abs(found - expected).max() / np.abs(expected).max())


def operators(nodes: list[onnx.NodeProto]) -> set[str]:
    return {node.op_type for node in nodes}


RELU = helper.make_node("Relu", ["stem"], ["active"])


@pytest.mark.parametrize("of_relus", [True, False])
@pytest.mark.parametrize("side", [14, 15, 16])
@pytest.mark.parametrize(
    "attributes",
    [
        {"kernel_shape": [2, 2], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "ceil_mode": 1},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [0, 0, 1, 1]},
        {"kernel_shape": [3, 3], "strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"kernel_shape": [3, 3], "strides": [1, 1], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [2, 2], "strides": [1, 1], "pads": [1, 1, 1, 1]},
        {"kernel_shape": [5, 5], "strides": [3, 3], "pads": [2, 2, 2, 2]},
        {"kernel_shape": [1, 3], "strides": [1, 2]},
        {"kernel_shape": [1, 1], "strides": [2, 2]},
    ],
    ids=str,
)
def test_maxima_over_windows(
    attributes: dict[str, Any], side: int, of_relus: bool, tmp_path: Path
) -> None:
    pool = helper.make_node("MaxPool", ["active" if of_relus else "stem"], ["last"], **attributes)
    nodes, error = both(network(*[RELU] * of_relus, pool, side=side), tmp_path)
    assert error < 1e-5
    assert "ScatterElements" not in operators(nodes)


@pytest.mark.parametrize("axes", [[1], [1, 2], [1, 2, 3], [-3]])
@pytest.mark.parametrize("operator", ["ReduceMean", "ReduceSum"])
def test_sums_over_the_first_axes_of_a_row(operator: str, axes: list[int], tmp_path: Path) -> None:
    model = network(
        helper.make_node(operator, ["stem", "axes"], ["reduced"]),
        helper.make_node("Mul", ["stem", "reduced"], ["last"]),
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(axes), "axes"))
    nodes, error = both(model, tmp_path)
    assert error < 1e-5
    assert (operator in operators(nodes)) == (operator == "ReduceSum" and len(axes) == 3)


@pytest.mark.parametrize("pads", [0, 1])
def test_maxima_of_relus_that_let_through_what_wakes_them(
    pads: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where a ReLU is closed, its gradient is not always zero then."""
    monkeypatch.setattr("unitscope.autodiff.gradient_model.RULES", REDIRECTED)
    pool = helper.make_node(
        "MaxPool", ["active"], ["last"], kernel_shape=[2, 2], strides=[2, 2], pads=[pads] * 4
    )
    nodes, error = both(network(RELU, pool), tmp_path)
    assert error < 1e-5
    assert "ScatterElements" not in operators(nodes)


def test_maxima_that_are_laid_out_flat(tmp_path: Path) -> None:
    """Their gradient comes as rows of numbers, and so do dense layers' in the oldest networks."""
    model = network(
        RELU,
        helper.make_node("MaxPool", ["active"], ["pooled"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "dense"], ["logits"]),
    )
    del model.graph.node[-3:]
    dense = np.random.default_rng(2).normal(size=(WIDE * 49, 32)).astype(np.float32)
    model.graph.initializer.append(numpy_helper.from_array(dense, "dense"))
    nodes, error = both(model, tmp_path)
    assert error < 1e-5
    assert "ScatterElements" not in operators(nodes)


def test_the_first_of_equal_maxima_has_all(tmp_path: Path) -> None:
    """A picture of one colour: inside it all windows are ties, as the plain layout breaks them."""
    model = network(
        helper.make_node("Mul", ["stem", "scale"], ["nothing"]),
        helper.make_node("Add", ["nothing", "per_channel"], ["same"]),
        helper.make_node("MaxPool", ["same"], ["pooled_max"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Add", ["same", "stem"], ["other"]),
        helper.make_node("MaxPool", ["other"], ["second"], kernel_shape=[3, 3], strides=[2, 2]),
        helper.make_node("Add", ["pooled_max", "second"], ["last"]),
    )
    model.graph.initializer.append(numpy_helper.from_array(np.array(1e-30, np.float32), "scale"))
    _, error = both(model, tmp_path)
    assert error < 1e-5


@pytest.mark.parametrize("side", [14, 15, 16])
@pytest.mark.parametrize(
    ("kernel", "attributes"),
    [
        ("w3", {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("w3", {"strides": [2, 2]}),
        ("w3", {"strides": [2, 2], "auto_pad": "SAME_UPPER"}),
        ("w3", {"strides": [3, 2], "pads": [1, 0, 1, 2]}),
        ("w2", {"strides": [2, 2]}),
        ("w1", {"strides": [2, 2]}),
        ("w7", {"strides": [2, 2], "pads": [3, 3, 3, 3]}),
        ("d3", {"strides": [2, 2], "pads": [1, 1, 1, 1], "group": WIDE}),
        ("d2", {"strides": [2, 2], "group": WIDE}),
    ],
    ids=str,
)
def test_convolutions_that_step(
    kernel: str, attributes: dict[str, Any], side: int, tmp_path: Path
) -> None:
    step = helper.make_node("Conv", ["active", kernel], ["last"], **attributes)
    nodes, error = both(network(RELU, step, side=side), tmp_path)
    assert error < 1e-5
    assert "ConvTranspose" not in operators(nodes)


def test_a_step_from_the_picture_is_one_convolution(tmp_path: Path) -> None:
    model = network(helper.make_node("Relu", ["stem"], ["last"]), side=16)
    model.graph.node[0].attribute.append(helper.make_attribute("strides", [2, 2]))
    nodes, error = both(model, tmp_path)
    assert error < 1e-5
    assert "DepthToSpace" in operators(nodes)
    assert "ConvTranspose" not in operators(nodes)


@pytest.mark.parametrize("channels", [WIDE, 24, 6])
@pytest.mark.parametrize(
    "nodes",
    [
        [helper.make_node("Relu", ["stem"], ["a"]), helper.make_node("Conv", ["a", "w1"], ["b"]),
         helper.make_node("Add", ["b", "a"], ["c"]), helper.make_node("Relu", ["c"], ["last"])],
        [helper.make_node("Sigmoid", ["stem"], ["a"]),
         helper.make_node("Mul", ["a", "stem"], ["last"])],
        [helper.make_node("Mul", ["stem", "per_channel"], ["a"]),
         helper.make_node("Relu", ["a"], ["last"])],
        [helper.make_node("Tanh", ["stem"], ["a"]), helper.make_node("Sub", ["a", "stem"], ["b"]),
         helper.make_node("Neg", ["b"], ["last"])],
        [helper.make_node("GlobalAveragePool", ["stem"], ["a"]),
         helper.make_node("Sigmoid", ["a"], ["b"]),
         helper.make_node("Mul", ["stem", "b"], ["last"])],
        [helper.make_node("Relu", ["stem"], ["a"]),
         helper.make_node("Split", ["a", "sizes"], ["b", "c"], axis=1),
         helper.make_node("Concat", ["c", "b"], ["d"], axis=1),
         helper.make_node("MaxPool", ["d"], ["last"], kernel_shape=[3, 3], strides=[2, 2])],
        [helper.make_node("Transpose", ["stem"], ["a"], perm=[0, 2, 3, 1]),
         helper.make_node("Sigmoid", ["a"], ["b"]), helper.make_node("Mul", ["a", "b"], ["c"]),
         helper.make_node("Add", ["c", "a"], ["d"]),
         helper.make_node("Transpose", ["d"], ["e"], perm=[0, 3, 1, 2]),
         helper.make_node("Add", ["e", "stem"], ["last"])],
    ],
    ids=["residual", "gate", "scaled", "difference", "squeeze and excitation", "split and joined",
         "channels last in between"],
)  # fmt: skip
def test_sums_and_products(nodes: list[onnx.NodeProto], channels: int, tmp_path: Path) -> None:
    _, error = both(network(*nodes, channels=channels), tmp_path)
    assert error < 1e-5


def test_a_residual_gradient_never_leaves_the_blocked_layout(tmp_path: Path) -> None:
    nodes, error = both(
        network(
            RELU,
            helper.make_node("Conv", ["active", "w3"], ["inner"], pads=[1, 1, 1, 1]),
            helper.make_node("Add", ["inner", "active"], ["sum_"]),
            helper.make_node("Relu", ["sum_"], ["last"]),
        ),
        tmp_path,
    )
    assert error < 1e-5
    assert not [x for x in nodes if x.op_type == "Add"]
    left = {x.output[0] for x in nodes if x.op_type == "ReorderOutput"}
    assert left == {"image_gradient", "pooled"}


@pytest.mark.parametrize("ceiling", [6.0, 1.0, 0.3])
def test_the_mask_of_a_clip_is_0_at_both_ends(ceiling: float, tmp_path: Path) -> None:
    """A third of the places are at an end, and some lie as close to it as a number can."""
    model = network(
        helper.make_node("Conv", ["stem", "w1"], ["wide"]),
        helper.make_node("Clip", ["wide", "low", "high"], ["last"]),
    )
    model.graph.initializer.extend(
        numpy_helper.from_array(np.array(bound, np.float32), name)
        for name, bound in (("low", 0.0), ("high", ceiling))
    )
    nodes, error = both(model, tmp_path)
    assert error < 1e-5
    masks = [x for x in nodes if x.op_type == "HardSigmoid"]
    assert len(masks) == 1
    slope, shift = (helper.get_node_attr_value(masks[0], name) for name in ("alpha", "beta"))
    at_end = np.float32(ceiling)
    below = np.nextafter(at_end, np.float32(0))
    found = np.float32(slope) * np.array([at_end, below, 0], np.float32) + np.float32(shift)
    assert found[0] == 1 and (found[1:] <= 0).all()


def test_every_rule_is_met() -> None:
    """What the table names are operators of the standard."""
    for operator in RULES:
        onnx.defs.get_schema(operator, 20, "")
