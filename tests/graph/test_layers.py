"""The catalogue and the logits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.graph.test_lower import lowered
from tests.models import SIZE, model_of, small_classifier
from unitscope.autodiff.rules import RULES
from unitscope.errors import NotFound
from unitscope.graph.layers import Layer, catalogue, features_of, find_layer
from unitscope.graph.model import load


def layers_of_small() -> tuple[Layer, ...]:
    return layers_of(small_classifier())


def layers_of(model: onnx.ModelProto) -> tuple[Layer, ...]:
    graph, values = lowered(model, keep=RULES.__contains__)
    return catalogue(load(model), values, graph.nodes, graph.inputs[0])


def test_layers_have_names_kinds_and_units() -> None:
    found = {layer.tensor: layer for layer in layers_of_small()}
    assert [layer.name for layer in found.values()] == [
        "features.conv", "features.relu", "pool", "flatten_1", "fc", "softmax_1",
    ]  # fmt: skip
    conv = found["conv_out"]
    assert (conv.kind, conv.operator, conv.unit_count) == ("convolution", "Conv", 4)
    assert conv.shape == (4, SIZE - 2, SIZE - 2)
    assert found["logits"].kind == "linear" and found["output"].kind == "probability"


def test_names_are_those_that_exporters_leave() -> None:
    """PyTorch's newer exporter: in metadata; a weight's name says more than its fused norm's."""
    model = small_classifier()
    model.opset_import[0].version = 18  # ONNX's converter forgets metadata
    scopes = ["['', 'block', 'block.bn', 'norm']", "['', 'block', 'block.act', 'relu']", "odd", ""]
    for node, scope in zip(model.graph.node, scopes, strict=False):
        node.name = f"node_{node.op_type}"
        node.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scope)
    twice = helper.make_node("Relu", ["relu_out"], ["again"], name="node_again")
    twice.metadata_props.add(key="pkg.torch.onnx.name_scopes", value=scopes[1])
    model.graph.node.insert(2, twice)
    names = [layer.name for layer in layers_of(model)]
    assert names[:4] == ["features.conv", "block.act", "block.act_1", "node_GlobalAveragePool"]


def test_layers_are_found_by_tensor_or_friendly_name() -> None:
    layers = layers_of_small()
    assert find_layer(layers, "relu_out") is find_layer(layers, "features.relu")
    with pytest.raises(NotFound, match=r"'features.rely'; did you mean: features.relu"):
        find_layer(layers, "features.rely")


@pytest.mark.parametrize(
    ("tensor", "features"), [("output", "flat"), ("logits", "flat"), ("pooled", None)]
)
def test_features_are_what_the_last_weights_are_applied_to(
    tensor: str, features: str | None
) -> None:
    model, layers = small_classifier(), layers_of_small()
    found = features_of(load(model), layers, find_layer(layers, tensor))
    assert (found and found.tensor) == features


def test_tokens_count_units_on_their_last_axis() -> None:
    nodes = [
        helper.make_node("Reshape", ["image", "target"], ["flat"]),
        helper.make_node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        helper.make_node("ReduceMean", ["tokens"], ["output"], axes=[1], keepdims=0),
    ]
    model = model_of(nodes, {"target": np.array([0, 3, -1], np.int64)}, output=("N", 3))
    tokens = find_layer(layers_of(model), "tokens")
    assert (tokens.shape, tokens.unit_axis, tokens.unit_count) == ((SIZE * SIZE, 3), 1, 3)


@pytest.mark.parametrize("gate", ["Sigmoid", "HardSigmoid"])
def test_activations_know_what_they_are_computed_from(gate: str) -> None:
    model = small_classifier()
    model.graph.node[1].CopyFrom(helper.make_node(gate, ["conv_out"], ["gate"]))
    swish = helper.make_node("Mul", ["gate", "conv_out"], ["relu_out"])
    model.graph.node.insert(2, swish)
    layers = {layer.tensor: layer for layer in layers_of(model)}
    assert layers["relu_out"].pre_activation == layers["gate"].pre_activation == "conv_out"
    assert layers["relu_out"].kind == "activation" and layers["pooled"].pre_activation == ""


def test_layers_of_a_quantized_model_are_called_like_those_of_the_float_one() -> None:
    model = small_classifier()
    conv = model.graph.node[0]
    weight = conv.input[1]
    quantizers = [
        helper.make_node("DequantizeLinear", [f"{weight}_quantized", "s", "z"], ["w"]),
        helper.make_node("QuantizeLinear", ["conv_out", "s", "z"], ["q"]),
        helper.make_node(
            "DequantizeLinear", ["q", "s", "z"], ["relu_out"],
            name="/features/relu/Relu_output_0_DequantizeLinear",
        ),
    ]  # fmt: skip
    conv.input[1] = "w"
    for tensor in model.graph.initializer:
        if tensor.name == weight:
            content = numpy_helper.to_array(tensor)
            whole = np.clip(np.rint(content / 0.02) + 128, 0, 255).astype(np.uint8)
            tensor.CopyFrom(numpy_helper.from_array(whole, f"{weight}_quantized"))
    for name, value in (("s", np.float32(0.02)), ("z", np.uint8(128))):
        model.graph.initializer.append(numpy_helper.from_array(np.array(value), name))
    nodes = [quantizers[0], conv, *quantizers[1:], *model.graph.node[2:]]
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del model.graph.node[:]
    model.graph.node.extend(copies)
    layers = layers_of(model)
    assert [layer.name for layer in layers[:3]] == ["features.conv", "features.relu.Relu", "pool"]
    assert (layers[1].kind, layers[1].pre_activation) == ("activation", "conv_out")
