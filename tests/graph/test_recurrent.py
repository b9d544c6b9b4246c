"""Recurrent layers: ONNX's own cases, ONNX Runtime's kernels, and central differences of both."""

from __future__ import annotations

import warnings
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from onnx import helper
from onnx.backend.test.case.node import collect_testcases

from tests.graph.lowerings import Array, Case, assert_lowered, assert_refused, lowered
from unitscope.errors import ModelRejected
from unitscope.graph.lowerings import recurrent

RNG = np.random.default_rng(5)
LENGTH, BATCH, INPUTS, HIDDEN = 4, 2, 3, 3
GATES = {"RNN": 1, "GRU": 3, "LSTM": 4}


def f(*shape: int) -> Array:
    return 0.7 * RNG.standard_normal(shape).astype(np.float32)


def case(
    operator: str, note: str, *, bias: bool = True, states: bool = False, peepholes: bool = False,
    lengths: Array | None = None, output: int = 0, length: int = LENGTH, **attributes: Any,
) -> Case:  # fmt: skip
    both = 1 + (attributes.get("direction") == "bidirectional")
    rows = GATES[operator] * HIDDEN
    inputs = [
        f(length, BATCH, INPUTS),
        f(both, rows, INPUTS),
        f(both, rows, HIDDEN),
        f(both, 2 * rows) if bias else None,
        lengths,
        f(both, BATCH, HIDDEN) if states else None,
    ]
    if operator == "LSTM":
        inputs.append(f(both, BATCH, HIDDEN) if states else None)
        inputs.append(f(both, 3 * HIDDEN) if peepholes else None)
    attributes = {"hidden_size": HIDDEN, **attributes}
    return Case(f"{operator}-{note}", operator, inputs, attributes, output=output, open_axis=1)


FULL = np.full(BATCH, LENGTH, np.int32)
SATURATED = {"test_rnn_seq_length", "test_simple_rnn_bidirectional"}
"""Cases whose tanh is 1 throughout."""
SIMPLE = ("Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "Elu", "HardSigmoid")
PARAMETERS: list[dict[str, Any]] = [
    {"activations": ["LeakyRelu"], "activation_alpha": [0.3]},
    {"activations": ["Elu"], "activation_alpha": [0.6]},
    {"activations": ["HardSigmoid"], "activation_alpha": [0.3], "activation_beta": [0.4]},
    {"activations": ["ThresholdedRelu"], "activation_alpha": [0.2]},
    {"activations": ["Affine"], "activation_alpha": [0.5], "activation_beta": [0.1]},
    {"activations": ["ScaledTanh"], "activation_alpha": [0.5], "activation_beta": [0.8]},
]
CASES = [
    *(
        case(operator, f"{direction}-{output}", direction=direction, output=output)
        for operator in GATES
        for direction in ("forward", "reverse", "bidirectional")
        for output in range(3 if operator == "LSTM" else 2)
    ),
    *(case(operator, "bare", bias=False) for operator in GATES),
    *(case(operator, "states", states=True, direction="bidirectional") for operator in GATES),
    *(case(operator, "lengths", lengths=FULL, direction="reverse") for operator in GATES),
    *(case(operator, "clip", clip=0.4, length=9) for operator in GATES),
    *(case(operator, "one", length=1) for operator in GATES),
    *(case("RNN", name, activations=[name]) for name in SIMPLE),
    *(case("RNN", f"{given['activations'][0]}-given", **given) for given in PARAMETERS),
    case("GRU", "linear", linear_before_reset=1),
    case("GRU", "linear-both", linear_before_reset=1, direction="bidirectional", bias=False),
    case("LSTM", "peepholes", peepholes=True, states=True, clip=0.8, direction="bidirectional"),
    case(
        "LSTM", "named", activations=["HardSigmoid", "LeakyRelu", "Elu"],
        activation_alpha=[0.3, 0.2, 0.5], activation_beta=[0.4],
    ),
    case(
        "GRU", "named", activations=["Sigmoid", "Softsign", "HardSigmoid", "LeakyRelu"],
        activation_alpha=[0.3], direction="bidirectional",
    ),
]  # fmt: skip


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_a_layer(case: Case) -> None:
    assert_lowered(case)


def test_every_layer_has_a_case() -> None:
    assert {*recurrent.lowerings} == {f"::{case.operator}" for case in CASES}


def batch_first(turned: Case) -> Case:
    """The case in the other layout, which ONNX Runtime has no kernel for."""
    inputs = [
        x.swapaxes(0, 1) if x is not None and slot in (0, 5, 6) else x
        for slot, x in enumerate(turned.inputs)
    ]
    axes = (1, 0, 2) if turned.output else (2, 0, 1, 3)
    original = turned.original()
    return replace(
        turned,
        inputs=inputs,
        attributes={**turned.attributes, "layout": 1},
        own=lambda x: original(x.swapaxes(0, 1)).transpose(axes),
        open_axis=0,
    )


@pytest.mark.parametrize(
    "turned",
    [
        case(operator, f"{direction}-{output}", direction=direction, output=output, states=True)
        for operator in GATES
        for direction in ("forward", "bidirectional")
        for output in range(3 if operator == "LSTM" else 2)
    ],
    ids=lambda case: case.name,
)
def test_the_batch_first(turned: Case) -> None:
    assert_lowered(batch_first(turned))


def given_by_onnx() -> list[tuple[Case, Array]]:
    """ONNX's node cases, each with what ONNX expects of its first output."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy warns while ONNX computes its own examples
        tests: list[Any] = list(collect_testcases(None))
    found = []
    for test in tests:
        node = test.model.graph.node[0]
        if len(test.model.graph.node) == 1 and node.op_type in GATES:
            inputs, expected = test.data_sets[0]
            output = next(index for index, name in enumerate(node.output) if name)
            attributes = {a.name: helper.get_attribute_value(a) for a in node.attribute}
            given = Case(test.name, node.op_type, inputs, attributes, output=output, open_axis=1)
            found.append((given, np.asarray(expected[0])))
    return found


@pytest.mark.parametrize("given", given_by_onnx(), ids=lambda given: given[0].name)
def test_what_onnx_expects(given: tuple[Case, Array]) -> None:
    case, expected = given
    value, _ = lowered(case, expected, case.x.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-6)
    if not case.attributes.get("layout") and case.name not in SATURATED:
        assert_lowered(case)


@pytest.mark.parametrize(
    ("refused", "words"),
    [
        (
            case("GRU", "short", lengths=FULL - np.array([0, 1], np.int32)),
            "sequences shorter than their padding",
        ),
        (case("RNN", "clip", clip=0.0), "clip=0.0"),
        (replace(case("GRU", "two", direction="bidirectional"), attributes={}), "weights of shape"),
        (case("LSTM", "coupled", input_forget=1), "input_forget=1"),
        (case("RNN", "own", activations=["Swish"]), "the activation 'Swish'"),
        (case("RNN", "affine", activations=["Affine"]), "'Affine' without its parameters"),
    ],
    ids=lambda case: case.name if isinstance(case, Case) else "",
)
def test_what_is_not_covered_is_refused(refused: Case, words: str) -> None:
    assert_refused(refused, words)


def test_an_open_length_is_refused_with_advice() -> None:
    opened = case("LSTM", "open")
    with pytest.raises(ModelRejected, match="export the model with a fixed one"):
        lowered(opened, opened.x, ("open", *opened.x.shape[1:]))
