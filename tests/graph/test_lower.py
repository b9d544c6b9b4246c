"""Lowering: the same function, in one form."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from tests.models import SIZE, model_of, small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Graph, Shape, Value
from unitscope.graph.lower import declared_shape, emitter_for, image_input, lower
from unitscope.graph.model import standardize


def lowered(
    model: onnx.ModelProto, *, keep: bool = True, shape: Shape | None = None
) -> tuple[Graph, dict[str, Value]]:
    model = standardize(model)
    op = emitter_for(model)
    declared = image_input(model)
    image = op.graph.add_input(declared.name, np.float32, shape or declared_shape(declared))
    return op.graph, lower(op, model, {declared.name: image}, keep=lambda _: keep)


def outputs(model: onnx.ModelProto, image: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString())
    return np.asarray(session.run(["output"], {"image": image})[0])


def assert_same_function(model: onnx.ModelProto, *, keep: bool = True) -> Graph:
    graph, values = lowered(model, keep=keep)
    image = np.random.default_rng(1).random((2, 3, SIZE, SIZE), np.float32)
    np.testing.assert_allclose(
        outputs(graph.to_model([values["output"]]), image),
        outputs(model, image),
        rtol=1e-5,
        atol=1e-6,
    )
    return graph


def test_names_and_function_stay() -> None:
    graph, values = lowered(small_classifier())
    assert values["relu_out"].shape == ("N", 4, SIZE - 2, SIZE - 2)
    assert_same_function(small_classifier())
    assert graph.opset == 18


def test_shape_arithmetic_of_exporters_disappears() -> None:
    nodes = [
        helper.make_node("Constant", [], ["two"], value_ints=[2]),
        helper.make_node("Shape", ["image"], ["shape"]),
        helper.make_node("Gather", ["shape", "two"], ["height"]),
        helper.make_node("Constant", [], ["head"], value_ints=[0, -1]),
        helper.make_node("Concat", ["head", "height"], ["target"], axis=0),
        helper.make_node("Reshape", ["image", "target"], ["rows"]),
        helper.make_node("ReduceMean", ["rows"], ["output"], axes=[1], keepdims=0),
    ]
    model = model_of(nodes, {}, output=("N", SIZE))
    graph, values = lowered(model, shape=(1, 3, SIZE, SIZE))
    assert [node.op_type for node in graph.nodes] == ["Reshape", "ReduceMean"]
    assert values["output"].shape == (1, SIZE)
    assert_same_function(model)


def test_an_operator_that_nobody_keeps_is_replaced_by_its_body() -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("HardSwish", ["flat"], ["output"], name="swish"),
    ]
    model = model_of(nodes, {}, output=("N", 3))
    graph = assert_same_function(model, keep=False)
    assert "HardSwish" not in {node.op_type for node in graph.nodes}
    assert "HardSwish" in {node.op_type for node in assert_same_function(model).nodes}


def test_a_body_may_hold_an_operator_twice() -> None:
    nodes = [
        helper.make_node("MeanVarianceNormalization", ["image"], ["normal"], name="norm"),
        helper.make_node("ReduceMax", ["normal"], ["output"], axes=[2, 3], keepdims=0),
    ]
    graph = assert_same_function(model_of(nodes, {}, output=("N", 3)), keep=False)
    assert [node.op_type for node in graph.nodes].count("ReduceMean") == 2


def test_local_functions_are_inlined() -> None:
    nodes = [
        helper.make_node("GlobalAveragePool", ["image"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("double", ["flat"], ["output"], domain="local"),
    ]
    model = model_of(
        [*nodes[:2], helper.make_node("Identity", ["flat"], ["output"])], {}, output=("N", 3)
    )
    opset = helper.make_opsetid("", 17)
    body = [helper.make_node("Add", ["x", "x"], ["y"])]
    model.functions.append(helper.make_function("local", "double", ["x"], ["y"], body, [opset]))
    del model.graph.node[-1]
    model.graph.node.append(nodes[-1])
    model.opset_import.append(helper.make_opsetid("local", 1))
    graph = assert_same_function(model)
    assert [node.op_type for node in graph.nodes] == ["GlobalAveragePool", "Flatten", "Add"]


@pytest.mark.parametrize("opset", [17, 20, 22])
def test_newer_opsets_are_restamped_only_where_the_meaning_is_the_same(opset: int) -> None:
    pool = helper.make_node("AveragePool", ["image"], ["pooled"], kernel_shape=[SIZE, SIZE])
    flat = helper.make_node("Flatten", ["pooled"], ["output"])
    assert assert_same_function(
        model_of([pool, flat], {}, output=("N", 3), opset=opset)
    ).opset == max(18, opset if opset > 18 else 18)
    relu = helper.make_node("Relu", ["image"], ["pooled"])
    model = model_of([relu, flat], {}, output=("N", 3 * SIZE * SIZE), opset=opset)
    assert assert_same_function(model).opset == 18


def test_unknown_sizes_get_names_of_their_own() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["?", 3, "?", "?"])
    batch, channels, height, width = declared_shape(value)
    assert channels == 3 and len({batch, height, width}) == 3


def test_control_flow_is_refused_by_name() -> None:
    branch = helper.make_graph(
        [helper.make_node("Identity", ["flat"], ["chosen"])],
        "branch",
        [],
        [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
    )
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node(
            "If", ["yes"], ["output"], name="choice", then_branch=branch, else_branch=branch
        ),
    ]
    model = model_of(nodes, {"yes": np.array(True)}, output=("N", 3 * SIZE * SIZE))
    with pytest.raises(ModelRejected, match="'choice' \\(If\\)"):
        lowered(model)


def test_several_inputs_are_refused_with_their_names() -> None:
    model = small_classifier()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 1]))
    with pytest.raises(ModelRejected, match=r"2 inputs .*'image', 'mask'"):
        image_input(model)
