"""Lowering: the same function, in one form."""

from __future__ import annotations

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.models import CLASSES, SIZE, halved, model_of, small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.inputs import declared_shape, image_input
from unitscope.graph.ir import Graph, Shape, Value
from unitscope.graph.lower import Keep, emitter_for, lower
from unitscope.graph.model import load
from unitscope.graph.tensors import Tensors


def lowered(
    model: onnx.ModelProto, *, keep: bool | Keep = True, shape: Shape | None = None
) -> tuple[Graph, Tensors]:
    loaded = load(model)
    op = emitter_for(loaded)
    declared = image_input(loaded)
    image = op.graph.add_input(declared.name, np.float32, shape or declared_shape(declared))
    keeps: Keep = (lambda _: bool(keep)) if isinstance(keep, bool) else keep
    return op.graph, lower(op, loaded, {declared.name: image}, keep=keeps)


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


def choice(condition: np.ndarray) -> onnx.ModelProto:
    """An If over the input: its branches scale what the graph around them has flattened."""
    branches = []
    for factor in (2.0, 3.0):
        branches.append(
            helper.make_graph(
                [helper.make_node("Mul", ["flat", "factor"], ["chosen"])],
                "branch",
                [],
                [helper.make_tensor_value_info("chosen", TensorProto.FLOAT, None)],
                [numpy_helper.from_array(np.array(factor, np.float32), "factor")],
            )
        )
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node(
            "If", ["yes"], ["output"],
            name="choice", then_branch=branches[0], else_branch=branches[1],
        ),
    ]  # fmt: skip
    return model_of(nodes, {"yes": condition}, output=("N", 3 * SIZE * SIZE))


@pytest.mark.parametrize("condition", [True, False])
def test_a_constant_condition_chooses_its_branch(condition: bool) -> None:
    graph = assert_same_function(choice(np.array(condition)))
    assert "If" not in {node.op_type for node in graph.nodes}


def test_other_control_flow_is_refused_by_name() -> None:
    model = choice(np.array(True))
    del model.graph.initializer[:]
    model.graph.node.insert(0, helper.make_node("ReduceMax", ["image"], ["top"], keepdims=0))
    model.graph.node.insert(1, helper.make_node("Cast", ["top"], ["yes"], to=TensorProto.BOOL))
    _, tensors = lowered(model)
    with pytest.raises(ModelRejected, match=r"'choice' \(If\).*only at run time"):
        tensors["output"]


def test_what_cannot_be_emitted_stops_only_what_needs_it() -> None:
    model = small_classifier()
    model.graph.node.extend(
        [
            helper.make_node("Secret", ["logits"], ["secret"], name="odd", domain="corp"),
            helper.make_node("Relu", ["secret"], ["more"]),
        ]
    )
    model.opset_import.append(helper.make_opsetid("corp", 1))
    _, tensors = lowered(model)
    assert "more" not in tensors and tensors["output"].shape == ("N", CLASSES)
    with pytest.raises(ModelRejected, match=r"'odd' \(corp::Secret\).*domain 'corp'"):
        tensors["more"]


def test_layouts_of_one_machine_are_refused_with_advice() -> None:
    model = small_classifier()
    model.graph.node[0].domain = "com.microsoft.nchwc"
    model.opset_import.append(helper.make_opsetid("com.microsoft.nchwc", 1))
    _, tensors = lowered(model)
    with pytest.raises(ModelRejected, match="ORT_ENABLE_EXTENDED or below"):
        tensors["output"]


@pytest.mark.parametrize("half", [TensorProto.FLOAT16, TensorProto.BFLOAT16])
def test_half_precision_is_computed_in_single(half: int) -> None:
    graph, tensors = lowered(halved(small_classifier(), half))
    assert tensors["output"].dtype == np.float32
    image = np.random.default_rng(1).random((2, 3, SIZE, SIZE), np.float32)
    found = outputs(graph.to_model([tensors["output"]]), image)
    np.testing.assert_allclose(found, outputs(small_classifier(), image), atol=1e-2)


def test_a_loop_is_refused() -> None:
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["going"], ["go_on"]),
            helper.make_node("Relu", ["before"], ["after"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("turn", TensorProto.INT64, []),
            helper.make_tensor_value_info("going", TensorProto.BOOL, []),
            helper.make_tensor_value_info("before", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("after", TensorProto.FLOAT, None),
        ],
    )
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("Loop", ["count", "", "flat"], ["output"], body=body),
    ]
    model = model_of(nodes, {"count": np.array(2)}, output=("N", 3 * SIZE * SIZE))
    _, tensors = lowered(model)
    with pytest.raises(ModelRejected, match="loops are not supported"):
        tensors["output"]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("group", [1, 3])
def test_a_normalization_goes_into_the_convolution_before_it(bias: bool, group: int) -> None:
    rng = np.random.default_rng(0)
    statistics = {name: rng.uniform(0.5, 2, 6).astype(np.float32) for name in "sbmv"}
    weights = statistics | {
        "kernel": rng.standard_normal((6, 3 // group, 3, 3)).astype(np.float32),
        "bias": rng.standard_normal(6).astype(np.float32),
    }
    operands = ["image", "kernel", "bias"] if bias else ["image", "kernel"]
    nodes = [
        helper.make_node("Conv", operands, ["conv_out"], group=group, strides=[2, 1]),
        helper.make_node("BatchNormalization", ["conv_out", *"sbmv"], ["normal"], epsilon=0.1),
        helper.make_node("Flatten", ["normal"], ["output"]),
    ]
    model = model_of(nodes, weights, output=("N", None))  # type: ignore[arg-type]
    graph = assert_same_function(model)
    needed_types = [node.op_type for node in graph.to_model([last(graph)]).graph.node]
    assert needed_types == ["Conv", "Flatten"]


def test_a_normalization_of_anything_else_stays() -> None:
    statistics = {name: np.ones(3, np.float32) for name in "sbmv"}
    nodes = [
        helper.make_node("BatchNormalization", ["image", *"sbmv"], ["normal"]),
        helper.make_node("Flatten", ["normal"], ["output"]),
    ]
    graph = assert_same_function(model_of(nodes, statistics, output=("N", 3 * SIZE * SIZE)))
    assert [node.op_type for node in graph.nodes] == ["BatchNormalization", "Flatten"]


def last(graph: Graph) -> Value:
    value = graph.nodes[-1].outputs[0]
    assert value is not None
    return value
