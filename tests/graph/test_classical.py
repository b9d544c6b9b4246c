"""Classical models: each node against ONNX Runtime's kernel, and skl2onnx's pipelines."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.graph.lowerings import (
    Array,
    Case,
    assert_lowered,
    assert_near,
    assert_refused,
    differences,
    lowered,
    weights_of,
)
from unitscope.autodiff.gradient_model import gradient_model
from unitscope.errors import ModelRejected
from unitscope.graph.lowering import MACHINE_LEARNING
from unitscope.graph.lowerings import classical, support_vectors

RNG = np.random.default_rng(11)
SAMPLES, FEATURES, CLASSES = 3, 4, 3


def f(*shape: int) -> Array:
    return RNG.standard_normal(shape).astype(np.float32)


def floats(*shape: int) -> list[float]:
    return [float(item) for item in f(*shape).ravel()]


def case(
    operator: str, note: str, *inputs: Array, output: int = 0, open_axis: int | None = 0,
    **attributes: Any,
) -> Case:  # fmt: skip
    return Case(
        f"{operator}-{note}", operator, inputs or (f(SAMPLES, FEATURES),), attributes,
        domain=MACHINE_LEARNING, output=output, open_axis=open_axis,
    )  # fmt: skip


def classifier(
    note: str, *inputs: Array, rows: int = CLASSES, labels: int = 0, **more: Any
) -> Case:
    return case(
        "LinearClassifier", note, *inputs, output=1, coefficients=floats(rows, FEATURES),
        intercepts=floats(rows), classlabels_ints=list(range(labels or rows)), **more,
    )  # fmt: skip


def machine(note: str, vectors: list[int], **more: Any) -> Case:
    classes, count = len(vectors), sum(vectors)
    return case(
        "SVMClassifier", note, output=1, coefficients=floats(classes - 1, count),
        support_vectors=floats(count, FEATURES), vectors_per_class=vectors,
        rho=floats(classes * (classes - 1) // 2), classlabels_ints=list(range(classes)), **more,
    )  # fmt: skip


KERNELS: dict[str, list[float]] = {
    "LINEAR": [0.0, 0.0, 0.0],
    "RBF": [0.3, 0.0, 0.0],
    "POLY": [0.5, 0.2, 3.0],
    "SIGMOID": [0.3, 0.1, 0.0],
}
CASES = [
    *(classifier(t.lower(), post_transform=t) for t in ("NONE", "LOGISTIC", "SOFTMAX")),
    classifier("double", RNG.standard_normal((SAMPLES, FEATURES)), multi_class=1),
    classifier("pair", rows=1, labels=2),
    classifier("pair-logistic", rows=1, labels=2, post_transform="LOGISTIC"),
    case("LinearRegressor", "one", coefficients=floats(FEATURES), intercepts=floats(1)),
    case(
        "LinearRegressor", "three", coefficients=floats(3, FEATURES), targets=3,
        post_transform="SOFTMAX",
    ),
    case("Scaler", "features", offset=floats(FEATURES), scale=floats(FEATURES)),
    case("Scaler", "one", offset=[0.5], scale=[2.0]),
    case("Scaler", "double", RNG.standard_normal((2, 4)), offset=[0.5], scale=[2.0]),
    *(case("Normalizer", norm, norm=norm) for norm in ("MAX", "L1", "L2")),
    case("Imputer", "nan", imputed_value_floats=[1.0], replaced_value_float=float("nan")),
    case("FeatureVectorizer", "two", f(3, 4), f(3, 2), inputdimensions=[4, 2], open_axis=None),
    case("ArrayFeatureExtractor", "columns", f(3, 4), np.array([[2, 0, 2]])),
    case("ArrayFeatureExtractor", "vector", f(4), np.array([2, 0]), open_axis=None),
    *(
        machine(f"{kernel}-{len(vectors)}", vectors, kernel_type=kernel, kernel_params=parameters)
        for kernel, parameters in KERNELS.items()
        for vectors in ([2, 3], [2, 1, 3], [1, 2, 2, 1])
    ),
    case(
        "SVMClassifier", "linear", output=1, coefficients=floats(3, FEATURES), rho=[0.3],
        classlabels_strings=["a", "b", "c"], post_transform="SOFTMAX",
        kernel_params=KERNELS["LINEAR"],
    ),
    *(
        case(
            "SVMRegressor", kernel, kernel_type=kernel, kernel_params=parameters, n_supports=3,
            coefficients=floats(3), support_vectors=floats(3, FEATURES), rho=[0.2],
        )
        for kernel, parameters in KERNELS.items()
    ),
    case(
        "SVMRegressor", "plain", coefficients=floats(FEATURES), rho=[0.2],
        kernel_params=KERNELS["LINEAR"],
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_node(case: Case) -> None:
    assert_lowered(case)


@pytest.mark.parametrize("missing", [2.0, float("nan")])
def test_what_is_imputed_has_no_gradient(missing: float) -> None:
    x = np.array([[1, missing, 3, 4], [missing, missing, 5, 6]], np.float32)
    holes = case(
        "Imputer", "holes", x, imputed_value_floats=[9.0, 8.0, 7.0, 6.0],
        replaced_value_float=missing,
    )  # fmt: skip
    expected = holes.original()(x)
    value, slope = lowered(holes, expected, x.shape)
    np.testing.assert_array_equal(value, expected)
    np.testing.assert_allclose(slope, np.where(x == expected, weights_of(expected), 0), rtol=1e-6)


def test_a_threshold_stops_the_gradient() -> None:
    binary = case("Binarizer", "half", threshold=0.5)
    with pytest.raises(ModelRejected, match=r"\(Greater\): it stops the gradient"):
        lowered(binary, binary.x, binary.x.shape)


REFUSED = [
    (case("LabelEncoder", "", keys_floats=[1.0], values_floats=[2.0]), "labels and categories"),
    (case("CategoryMapper", "", cats_int64s=[1], cats_strings=["a"]), "labels and categories"),
    (case("OneHotEncoder", "", cats_int64s=[1, 2]), "labels and categories"),
    (case("DictVectorizer", "", int64_vocabulary=[1, 2]), "labels and categories"),
    (case("TreeEnsembleClassifier", "", nodes_values=[0.5], output=1), "trees"),
    (case("TreeEnsembleRegressor", "", nodes_values=[0.5], target_ids=[1]), "trees"),
    (classifier("probit", post_transform="PROBIT"), "post_transform='PROBIT'"),
    (classifier("zero", post_transform="SOFTMAX_ZERO"), "post_transform='SOFTMAX_ZERO'"),
    (classifier("image", f(2, 2, 4)), "an input of rank 3"),
    (classifier("pair-softmax", rows=1, labels=2, post_transform="SOFTMAX"), "a single score"),
    (classifier("alone", rows=1), "a single score for 1 labels"),
    (case("LinearRegressor", "odd", coefficients=floats(3), targets=2), "3 coefficients for 2"),
    (case("Scaler", "bare"), "an attribute that is missing"),
    (case("FeatureVectorizer", "cut", inputdimensions=[2]), "inputs of .4. features"),
    (machine("coupled", [1, 1], prob_a=[0.5], prob_b=[0.1]), "probability=False"),
    (machine("squashed", [1, 1], post_transform="LOGISTIC"), "over pairs of classes"),
    (case("SVMRegressor", "one", coefficients=floats(4), rho=[0.0], one_class=1), "one_class=1"),
]


@pytest.mark.parametrize(("refused", "words"), REFUSED, ids=lambda x: getattr(x, "name", ""))
def test_what_is_not_covered_is_refused(refused: Case, words: str) -> None:
    assert_refused(refused, words)


def test_every_operator_has_a_case() -> None:
    tried = {case.operator for case in (*CASES, *(case for case, _ in REFUSED))}
    entries = {name.split("::")[1] for name in (*classical.lowerings, *support_vectors.lowerings)}
    assert entries - tried == {"Binarizer", "TreeEnsemble", "ZipMap"}


def labelled(
    nodes: list[onnx.NodeProto], scores: str, weights: dict[str, Array]
) -> onnx.ModelProto:
    """A pipeline of `nodes` from `X` to `scores`, with the label beside, as skl2onnx writes it."""
    choose = [
        helper.make_node("ArgMax", [scores], ["best"], axis=1),
        helper.make_node(
            "ArrayFeatureExtractor", ["classes", "best"], ["chosen"], domain=MACHINE_LEARNING
        ),
        helper.make_node("Reshape", ["chosen", "flat"], ["output_label"]),
        helper.make_node(
            "ZipMap", [scores], ["output_probability"], domain=MACHINE_LEARNING,
            classlabels_strings=["ant", "bee", "cat"],
        ),
    ]  # fmt: skip
    scored = helper.make_map_type_proto(
        TensorProto.STRING, helper.make_tensor_type_proto(TensorProto.FLOAT, [])
    )
    graph = helper.make_graph(
        [*nodes, *choose],
        "pipeline",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, FEATURES])],
        [
            helper.make_tensor_value_info("output_label", TensorProto.STRING, [None]),
            helper.make_value_info("output_probability", helper.make_sequence_type_proto(scored)),
        ],
        [
            numpy_helper.from_array(np.array(["ant", "bee", "cat"], object), "classes"),
            numpy_helper.from_array(np.array([-1]), "flat"),
            *(numpy_helper.from_array(content, name) for name, content in weights.items()),
        ],
    )
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid(MACHINE_LEARNING, 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def perceptron() -> onnx.ModelProto:
    """StandardScaler and MLPClassifier"""
    nodes = [
        helper.make_node(
            "Scaler", ["X"], ["scaled"], domain=MACHINE_LEARNING,
            offset=floats(FEATURES), scale=floats(FEATURES),
        ),
        helper.make_node("MatMul", ["scaled", "w1"], ["m1"]),
        helper.make_node("Add", ["m1", "b1"], ["a1"]),
        helper.make_node("Relu", ["a1"], ["hidden"]),
        helper.make_node("MatMul", ["hidden", "w2"], ["m2"]),
        helper.make_node("Add", ["m2", "b2"], ["a2"]),
        helper.make_node("Softmax", ["a2"], ["probabilities"], axis=1),
    ]  # fmt: skip
    weights = {"w1": f(FEATURES, 8), "b1": f(1, 8), "w2": f(8, CLASSES), "b2": f(1, CLASSES)}
    return labelled(nodes, "probabilities", weights)


def regression() -> onnx.ModelProto:
    """Normalizer and LogisticRegression"""
    nodes = [
        helper.make_node("Normalizer", ["X"], ["unit"], domain=MACHINE_LEARNING, norm="L2"),
        helper.make_node(
            "LinearClassifier", ["unit"], ["label", "raw"], domain=MACHINE_LEARNING,
            coefficients=floats(CLASSES, FEATURES), intercepts=floats(CLASSES),
            classlabels_strings=["ant", "bee", "cat"], post_transform="LOGISTIC",
        ),
        helper.make_node("Normalizer", ["raw"], ["scores"], domain=MACHINE_LEARNING, norm="L1"),
    ]  # fmt: skip
    return labelled(nodes, "scores", {})


@pytest.mark.parametrize(
    ("pipeline", "layer"), [(perceptron(), "probabilities"), (regression(), "scores")]
)
def test_a_pipeline(pipeline: onnx.ModelProto, layer: str) -> None:
    session = ort.InferenceSession(pipeline.SerializeToString())

    def scores(x: Array) -> Array:
        rows = session.run(["output_probability"], {"X": x})[0]
        return np.array([[row[name] for name in ("ant", "bee", "cat")] for row in rows])

    x = f(SAMPLES, FEATURES)
    gradient = ort.InferenceSession(gradient_model(pipeline, layer).SerializeToString())
    expected = scores(x)
    feeds = {"X": x, "cotangent": weights_of(expected).astype(np.float32)}
    found, slope = gradient.run(None, feeds)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
    assert_near(slope, differences(scores, x, 1e-3), 5e-3)
    logits = gradient_model(pipeline).graph.output[0]
    assert logits.type.tensor_type.shape.dim[1].dim_value == CLASSES
