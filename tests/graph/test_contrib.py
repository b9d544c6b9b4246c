"""ONNX Runtime's fusions: each node against its own kernel, and whole files it saved."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from tests.graph.lowerings import Array, Case, Function, assert_lowered, assert_refused, lowered
from tests.models import CLASSES, SIZE, model_of, small_classifier
from unitscope.autodiff.gradient_model import gradient_model
from unitscope.errors import ModelRejected
from unitscope.graph.lowering import MICROSOFT
from unitscope.graph.lowerings import attention, contrib, nhwc

RNG = np.random.default_rng(3)
HEADS, WIDTH, TOKENS = 2, 8, 5


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def case(operator: str, *inputs: Array | None, note: Any = "", **more: Any) -> Case:
    keys = ("slot", "output", "own", "open_axis", "domain", "opset")
    given = {key: more.pop(key) for key in keys if key in more}
    name = f"{operator}-{note}" if note else operator
    return Case(name, operator, inputs, more, **({"domain": MICROSOFT} | given))


def softmax(x: Array, axes: tuple[int, ...]) -> Array:
    e = np.exp(x - x.max(axes, keepdims=True))
    return np.asarray(e / e.sum(axes, keepdims=True))


def attended(q: Array, k: Array, v: Array) -> Array:
    """Attention over `[N, T, heads, width]`"""
    scores = np.einsum("nqhd,nkhd->nhqk", q, k) / math.sqrt(q.shape[-1])
    mixed = np.einsum("nhqk,nkhd->nqhd", softmax(scores, (-1,)), v)
    return np.asarray(mixed.reshape(*mixed.shape[:2], -1))


def channels_last(w: Array, b: Array, attributes: dict[str, Any]) -> Function:
    """Conv over channels last, by ONNX Runtime's over channels first"""

    def run(x: Array) -> Array:
        turned = np.ascontiguousarray(np.moveaxis(x, -1, 1))
        conv = Case("conv", "Conv", [turned, w, b], attributes)
        return np.moveaxis(conv.original()(turned), 1, -1)

    return run


CONV = {"pads": [0, 1, 1, 0], "strides": [2, 1], "group": 1}
X, KERNEL, BIAS, SUM = f(2, 2, 5, 4), f(3, 2, 3, 2), f(3), f(2, 3, 2, 4)
ACTIVATIONS: list[tuple[str, list[float]]] = [
    ("Relu", []), ("Tanh", []), ("Sigmoid", []), ("LeakyRelu", [0.1]), ("Clip", [-0.5, 1.5]),
    ("HardSigmoid", [0.3, 0.4]), ("HardSwish", [1 / 6, 0.5]),
]  # fmt: skip
GEMM_ACTIVATIONS: list[tuple[str, dict[str, float]]] = [
    ("Relu", {}), ("Tanh", {}), ("Sigmoid", {}), ("Softplus", {}), ("Softsign", {}),
    ("LeakyRelu", {"activation_alpha": 0.2}), ("Elu", {"activation_alpha": 0.7}),
    ("ThresholdedRelu", {"activation_alpha": 0.3}),
    ("HardSigmoid", {"activation_alpha": 0.3, "activation_beta": 0.4}),
    ("Selu", {"activation_alpha": 1.5, "activation_gamma": 1.1}),
]  # fmt: skip
QKV, QKV_BIAS = f(WIDTH, 3 * WIDTH), f(3 * WIDTH)
IMAGE, OHWI, OIHW = f(1, 5, 4, 2), f(3, 3, 2, 2), f(3, 2, 3, 2)
WINDOW: dict[str, Any] = {"pads": [0, 1, 1, 0], "strides": [2, 1]}

CASES = [
    case("FusedConv", X, KERNEL),
    case("FusedConv", f(1, 2, 9), f(4, 1, 3), note="1d", group=2, dilations=[2]),
    case("FusedConv", X, KERNEL, BIAS, SUM, note="sum", activation="Relu", **CONV),
    case("FusedConv", X, KERNEL, None, SUM, note="sum-alone", **CONV),
    case("FusedConv", X, KERNEL, BIAS, note="same", auto_pad="SAME_LOWER", activation="Tanh"),
    *(
        case(
            "FusedConv", X, KERNEL, BIAS, note=name, activation=name,
            **({"activation_params": parameters} if parameters else {}), **CONV,
        )
        for name, parameters in ACTIVATIONS
    ),
    *(
        case("FusedGemm", f(3, 4), f(4, 5), f(5), note=name, activation=name, **parameters)
        for name, parameters in GEMM_ACTIVATIONS
    ),
    case(
        "FusedGemm", f(4, 3), f(5, 4), note="turned", transA=1, transB=1, alpha=0.5,
        activation="Tanh", open_axis=1,
    ),
    case("FusedGemm", f(3, 4), f(4, 5), f(3, 1), note="beta", beta=0.5, activation="Relu"),
    case("FusedMatMul", f(2, 3, 4), f(2, 4, 5), alpha=0.3),
    case("FusedMatMul", f(2, 3, 4), f(2, 3, 5), note="a", transA=1),
    case("FusedMatMul", f(2, 3, 4), f(5, 4), note="b", transB=1),
    case("FusedMatMul", f(2, 3, 4), f(2, 5, 4), note="second", transB=1, alpha=2.0, slot=1),
    case(
        "FusedMatMul", f(4, 2, 3, 5), f(2, 3, 5, 6), note="batch-a", transBatchA=1, open_axis=None
    ),
    case(
        "FusedMatMul", f(4, 2, 3, 5), f(2, 3, 4, 6), note="both-a", transBatchA=1, transA=1,
        open_axis=None,
    ),
    case(
        "FusedMatMul", f(2, 3, 4, 5), f(6, 2, 3, 5), note="both-b", transBatchB=1, transB=1,
        open_axis=None,
    ),
    case("FusedMatMul", f(3, 4), f(4), note="vector", transB=1),
    case("TransposeMatMul", f(2, 3, 4), f(2, 3, 5), transA=1, alpha=0.5),
    case("Gelu", f(3, 4)),
    case("BiasGelu", f(3, 4), f(4)),
    case("FastGelu", f(3, 4)),
    case("FastGelu", f(3, 4), f(4), note="bias"),
    case("QuickGelu", f(3, 4)),
    case("QuickGelu", f(3, 4), note="silu", alpha=1.0),
    case("LayerNormalization", f(2, 3, 4), f(4), f(4), domain="", opset=13, axis=-1),
    case("SimplifiedLayerNormalization", f(2, 3, 4), f(4), domain="", epsilon=0.1),
    case("SimplifiedLayerNormalization", f(2, 3, 4), f(3, 4), note="axis", domain="", axis=1),
    case("SkipSimplifiedLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), note="plain"),
    case("SkipLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), f(4), f(4), epsilon=0.01),
    case("SkipLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), note="plain"),
    case("SkipLayerNormalization", f(2, 3, 4), f(1, 3, 4), f(4), f(4), note="broadcast"),
    case("SkipLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), f(4), note="sum", output=3),
    case("SkipSimplifiedLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), f(4), note="bias"),
    case("SkipSimplifiedLayerNormalization", f(2, 3, 4), f(2, 3, 4), f(4), note="sum", output=3),
    case("Attention", f(2, TOKENS, WIDTH), QKV, QKV_BIAS, num_heads=HEADS),
    case("Attention", f(2, TOKENS, WIDTH), QKV, note="no-bias", num_heads=HEADS),
    case(
        "Attention", f(2, TOKENS, WIDTH), f(WIDTH, 22), f(22), None, None, f(1, HEADS, 5, 5),
        note="sizes", num_heads=HEADS, qkv_hidden_sizes=[8, 8, 6], scale=0.2,
    ),
    *(
        case(
            "MultiHeadAttention", f(2, TOKENS, WIDTH), f(2, 7, WIDTH), f(2, 7, 6), f(22), None,
            f(1, 1, TOKENS, 7) if slot == 0 else None,
            note=f"apart-{slot}", num_heads=HEADS, slot=slot,
        )
        for slot in (0, 1, 2)
    ),
    case(
        "MultiHeadAttention", f(2, TOKENS, WIDTH), f(2, HEADS, 7, 4), f(2, HEADS, 7, 4),
        note="heads", num_heads=HEADS, scale=0.3,
    ),
    case(
        "MultiHeadAttention", f(2, TOKENS, HEADS, 3, 4), None, None, QKV_BIAS,
        note="packed", num_heads=HEADS,
        own=lambda x: attended(
            *np.moveaxis(x + QKV_BIAS.reshape(3, HEADS, 4).swapaxes(0, 1), 3, 0)
        ),
    ),
    case(
        "MultiHeadAttention", f(2, TOKENS, WIDTH), PACKED := f(2, 7, HEADS, 2, 4),
        note="packed-keys", num_heads=HEADS,
        own=lambda x: attended(x.reshape(2, TOKENS, HEADS, 4), *np.moveaxis(PACKED, 3, 0)),
    ),
    case("BiasAdd", f(2, 3, 4), b := f(4), s := f(2, 3, 4), own=lambda x: x + b + s),
    case("BiasDropout", f(2, 3, 4), b, s, own=lambda x: x + b + s),
    case(
        "BiasSoftmax", f(2, 3, 4), s, axis=2, is_inner_broadcast=0,
        own=lambda x: softmax(x + s, (2,)),
    ),
    case(
        "BiasSoftmax", f(2, 3, 4), s, note="axes", axis=1, is_inner_broadcast=0,
        own=lambda x: softmax(x + s, (1, 2)),
    ),
    case(
        "NhwcConv", IMAGE, OHWI, BIAS, **WINDOW,
        own=channels_last(np.ascontiguousarray(np.moveaxis(OHWI, -1, 1)), BIAS, WINDOW),
    ),
    case(
        "NhwcFusedConv", IMAGE, OIHW, BIAS, Z := f(1, 2, 4, 3), activation="Tanh", **WINDOW,
        own=lambda x: np.tanh(channels_last(OIHW, BIAS, WINDOW)(x) + Z),
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_fusion(case: Case) -> None:
    assert_lowered(case)


def test_a_maximum_over_channels_last() -> None:
    """ONNX Runtime's kernel takes whole numbers, in which there are no differences."""
    x = RNG.permutation(120).reshape(1, 6, 5, 4).astype(np.uint8)
    attributes: dict[str, Any] = {"kernel_shape": [3, 2], "pads": [0, 1, 1, 0], "strides": [2, 1]}
    expected = case("NhwcMaxPool", x, **attributes).original()(x).astype(np.float32)
    pooled = np.unique(expected)
    real = case("NhwcMaxPool", x.astype(np.float32), own=lambda _: expected, **attributes)
    _, slope = lowered(real, expected, real.x.shape)
    value, _ = lowered(real, expected, ("open", *real.x.shape[1:]))
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_array_equal(np.unique(real.x[slope != 0]), pooled)


def test_every_fusion_has_a_case() -> None:
    entries = {*contrib.lowerings, *attention.lowerings, *nhwc.lowerings}
    tried = {f"{MICROSOFT}::{case.operator}" for case in CASES}
    assert entries - tried == {f"{MICROSOFT}::NhwcMaxPool"}


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (case("FusedConv", X, KERNEL, activation="Mish"), "activation='Mish'"),
        (case("FusedConv", X, KERNEL, activation="LeakyRelu"), "'LeakyRelu' with parameters"),
        (case("Attention", X, QKV, None, np.ones(2, np.int32), num_heads=2), "for mask"),
        (case("Attention", X, QKV, num_heads=2, unidirectional=1), "unidirectional=1"),
        (case("MultiHeadAttention", X, num_heads=2), "a packed input of rank 4"),
        (case("Attention", f(2, 3, 8), QKV, num_heads=3), "3 heads over a width of 8"),
        (case("Attention", f(2, 3, 8), QKV), "a node that does not fit its operator"),
        (case("BiasGelu", f(2, 3)), "a node that does not fit its operator"),
        (case("NhwcConv", IMAGE, f(3, 2, 3, 3)), "a kernel that takes 3 channels of 2"),
        (case("NhwcFusedConv", IMAGE, OHWI), "a kernel that takes 3 channels of 2"),
        (
            case("BiasDropout", X, BIAS, None, np.array(0.5, np.float32), np.array(True)),
            "training mode",
        ),
    ],
)
def test_what_is_not_covered_is_refused(refused: Case, words: str) -> None:
    assert_refused(refused, words)


def convolutional() -> onnx.ModelProto:
    """A residual block, a gated one, and activations that are fused."""
    weights = {
        "w1": 0.3 * f(8, 3, 3, 3), "b1": f(8), "w2": 0.2 * f(8, 8, 3, 3), "w3": 0.3 * f(8, 1, 3, 3),
        "six": np.array(6, np.float32), "zero": np.array(0, np.float32), "fc": f(8, CLASSES),
    }  # fmt: skip
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], strides=[2, 2], pads=[0, 0, 1, 1]),
        helper.make_node("Sigmoid", ["c1"], ["gate"]),
        helper.make_node("Mul", ["c1", "gate"], ["silu"]),
        helper.make_node("Conv", ["silu", "w2"], ["c2"], pads=[1, 1, 1, 1]),
        helper.make_node("Add", ["c2", "silu"], ["sum"]),
        helper.make_node("Relu", ["sum"], ["relu"]),
        helper.make_node("Conv", ["relu", "w3"], ["c3"], group=8),
        helper.make_node("Clip", ["c3", "zero", "six"], ["relu6"]),
        helper.make_node("GlobalAveragePool", ["relu6"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["flat"]),
        helper.make_node("MatMul", ["flat", "fc"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["output"]),
    ]
    return model_of(nodes, weights)


def transformer() -> onnx.ModelProto:
    """Patches, one block with one head, and a Gelu in its five nodes."""
    weights = {
        "w": 0.3 * f(WIDTH, 3, 4, 4), "tokens": np.array([0, WIDTH, 9]), "place": f(1, 9, WIDTH),
        "ones": np.ones(WIDTH, np.float32), "b": f(WIDTH), "q": f(WIDTH, WIDTH),
        "k": f(WIDTH, WIDTH), "v": f(WIDTH, WIDTH), "out": 0.3 * f(WIDTH, WIDTH),
        "up": f(WIDTH, 16), "up_b": f(16), "down": f(16, WIDTH), "fc": f(WIDTH, CLASSES),
        "root": np.array(math.sqrt(WIDTH), np.float32), "one": np.array(1, np.float32),
        "half": np.array(0.5, np.float32), "two": np.array(math.sqrt(2), np.float32),
    }  # fmt: skip
    steps = [
        "Conv image w > patches", "Reshape patches tokens > columns", "Transpose columns > rows",
        "Add rows place > x", "LayerNormalization x ones b > n",
        "MatMul n q > qs", "MatMul n k > ks", "MatMul n v > vs", "Transpose ks > kt",
        "MatMul qs kt > raw", "Div raw root > scaled", "Softmax scaled > mix",
        "MatMul mix vs > mixed", "MatMul mixed out > attended", "Add attended x > y",
        "LayerNormalization y ones b > m",
        "MatMul m up > u", "Add u up_b > h", "Div h two > e", "Erf e > erf", "Add erf one > plus",
        "Mul h plus > product", "Mul product half > gelu", "MatMul gelu down > d", "Add d y > z",
        "LayerNormalization z ones b > last", "ReduceMean last > mean", "MatMul mean fc > output",
    ]  # fmt: skip
    extra: dict[str, dict[str, Any]] = {
        "patches": {"strides": [4, 4]}, "rows": {"perm": [0, 2, 1]}, "kt": {"perm": [0, 2, 1]},
        "mean": {"axes": [1], "keepdims": 0},
    }  # fmt: skip
    nodes = []
    for step in steps:
        (operator, *inputs), (output,) = (half.split() for half in step.split(">"))
        nodes.append(helper.make_node(operator, inputs, [output], **extra.get(output, {})))
    return model_of(nodes, weights)


def saved(model: onnx.ModelProto, level: ort.GraphOptimizationLevel, path: Path) -> onnx.ModelProto:
    """The file that ONNX Runtime writes of the model as it optimized it."""
    options = ort.SessionOptions()
    options.graph_optimization_level = level
    options.optimized_model_filepath = str(path)
    options.log_severity_level = 3
    ort.InferenceSession(model.SerializeToString(), options)
    return onnx.load(path)


@pytest.mark.parametrize(
    ("model", "fused"),
    [
        (convolutional(), {"FusedConv", "QuickGelu"}),
        (transformer(), {"FusedMatMul", "BiasGelu", "SkipLayerNormalization"}),
    ],
    ids=["convolutional", "transformer"],
)
def test_a_file_saved_at_the_extended_level(
    model: onnx.ModelProto, fused: set[str], tmp_path: Path
) -> None:
    level = ort.GraphOptimizationLevel.ORT_ENABLE_EXTENDED
    file = saved(model, level, tmp_path / "saved.onnx")
    assert fused <= {node.op_type for node in file.graph.node if node.domain == MICROSOFT}
    image = RNG.standard_normal((2, 3, SIZE, SIZE)).astype(np.float32)
    cotangent = RNG.standard_normal((2, CLASSES)).astype(np.float32)
    gradients = []
    for source in (model, file):
        session = ort.InferenceSession(gradient_model(source).SerializeToString())
        feeds = {"image": image, "cotangent": cotangent}
        gradients.append(session.run(["image_gradient"], feeds)[0])
    cosine = np.vdot(*gradients) / np.prod([np.linalg.norm(g) for g in gradients])
    assert cosine > 0.99999


def test_a_file_saved_for_one_machine_is_refused(tmp_path: Path) -> None:
    file = saved(small_classifier(), ort.GraphOptimizationLevel.ORT_ENABLE_ALL, tmp_path / "all")
    if not any("nchwc" in node.domain for node in file.graph.node):
        pytest.skip("ONNX Runtime has no blocked layout on this machine")
    with pytest.raises(ModelRejected, match="ORT_ENABLE_EXTENDED or below"):
        gradient_model(file)
