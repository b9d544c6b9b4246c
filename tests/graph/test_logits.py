"""Where the logits are, however a classifier ends."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.graph.test_lower import lowered
from tests.models import small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.logits import find_logits
from unitscope.graph.model import load


def ending(*nodes: onnx.NodeProto, outputs: tuple[str, ...] = ("output",)) -> onnx.ModelProto:
    """The small classifier with `nodes` after its logits."""
    model = small_classifier()
    del model.graph.node[-1], model.graph.output[:]
    model.graph.node.extend(nodes)
    for name in outputs:
        kind = TensorProto.INT64 if name == "label" else TensorProto.FLOAT
        model.graph.output.append(helper.make_tensor_value_info(name, kind, ["N", None]))
    return model


def found(model: onnx.ModelProto) -> str:
    graph, tensors = lowered(model)
    return find_logits(load(model), tensors, graph.nodes).name


@pytest.mark.parametrize("last", ["Softmax", "LogSoftmax", "Sigmoid", "Hardmax"])
def test_logits_are_what_is_squashed_at_the_end(last: str) -> None:
    nodes = [
        helper.make_node(last, ["logits"], ["squashed"]),
        helper.make_node("Identity", ["squashed"], ["output"]),
    ]
    assert found(ending(*nodes)) == "logits"


@pytest.mark.parametrize("shifted", [True, False])
def test_a_softmax_in_pieces_is_seen_through(shifted: bool) -> None:
    shift = [
        helper.make_node("ReduceMax", ["logits"], ["top"], axes=[1], keepdims=1),
        helper.make_node("Sub", ["logits", "top"], ["z"]),
    ]
    nodes = [
        helper.make_node("Exp", ["z" if shifted else "logits"], ["e"]),
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("ReduceSum", ["e", "axis"], ["sum"], keepdims=1),
        helper.make_node("Div", ["e", "sum"], ["output"]),
    ]
    assert found(ending(*(shift if shifted else []), *nodes)) == "logits"


def test_a_quotient_that_is_no_softmax_stays() -> None:
    nodes = [
        helper.make_node("Constant", [], ["axis"], value_ints=[1]),
        helper.make_node("ReduceSum", ["logits", "axis"], ["sum"], keepdims=1),
        helper.make_node("Div", ["logits", "sum"], ["output"]),
    ]
    assert found(ending(*nodes)) == "output"


@pytest.mark.parametrize("outputs", [("label",), ("label", "output"), ("output", "label")])
def test_behind_a_chosen_label_are_the_scores_it_is_chosen_from(outputs: tuple[str, ...]) -> None:
    nodes = [
        helper.make_node("Softmax", ["logits"], ["output"], axis=1),
        helper.make_node("ArgMax", ["output"], ["label"], axis=1),
    ]
    assert found(ending(*nodes, outputs=outputs)) == "logits"


def test_of_several_outputs_the_one_with_most_classes_counts() -> None:
    nodes = [
        helper.make_node("Softmax", ["pooled"], ["few"], axis=1),
        helper.make_node("Identity", ["logits"], ["output"]),
    ]
    assert found(ending(*nodes, outputs=("few", "output"))) == "output"


def test_logits_of_an_old_model_are_a_tensor_of_its_own() -> None:
    model = small_classifier()
    model.opset_import[0].version = 11
    assert found(model) == "logits"


def test_without_squashing_the_output_is_the_logits() -> None:
    assert found(ending(helper.make_node("Identity", ["logits"], ["output"]))) == "output"


def test_a_model_without_scores_is_refused() -> None:
    constant = helper.make_node("Constant", [], ["output"], value_floats=np.ones(3).tolist())
    with pytest.raises(ModelRejected, match="no output of scores"):
        found(ending(constant))
