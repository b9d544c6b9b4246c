"""One node of an operator that is lowered, and ONNX Runtime's word on it.

The lowered node must compute what ONNX Runtime computes, and its gradient must agree with central
differences of what ONNX Runtime computes; so must both with an open axis.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Shape
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.lowering import MACHINE_LEARNING
from unitscope.graph.model import load

Array = np.ndarray[Any, Any]
Function = Callable[[Array], Array]

STEPS = (1e-2, 1e-3, 1e-4)
"""The smaller ones are for elements near a kink."""


@dataclass(frozen=True)
class Case:
    """A node of `operator`. `x`: its input `slot`, by which is differentiated; None is absent.

    `output`: the output that is looked at. `own`: the same function where ONNX Runtime has no
    kernel for the CPU. `open_axis`: an axis of `x` whose size may be left open.
    """

    name: str
    operator: str
    inputs: Sequence[Array | None]
    attributes: dict[str, Any] = field(default_factory=dict)
    domain: str = ""
    slot: int = 0
    output: int = 0
    own: Function | None = None
    open_axis: int | None = 0
    opset: int = 18

    @property
    def x(self) -> Array:
        return np.asarray(self.inputs[self.slot])

    def original(self) -> Function:
        """What the node computes, by ONNX Runtime if it can."""
        return self.own or runtime(self.model(onnx.ValueInfoProto(name=self.result)))

    @property
    def result(self) -> str:
        return f"out_{self.output}"

    def declared(self, y: Array) -> onnx.ModelProto:
        """The model with its output declared as it must be: of the type and rank of `y`."""
        element = helper.np_dtype_to_tensor_dtype(y.dtype)
        sizes = [f"size_{axis}" for axis in range(y.ndim)]
        return self.model(helper.make_tensor_value_info(self.result, element, sizes))

    def model(self, result: onnx.ValueInfoProto) -> onnx.ModelProto:
        """The node alone; every input but `x` is a weight."""
        names = ["x" if i == self.slot else f"in_{i}" for i in range(len(self.inputs))]
        outputs = [f"out_{i}" for i in range(self.output + 1)]
        node = helper.make_node(
            self.operator,
            ["" if x is None else name for name, x in zip(names, self.inputs, strict=True)],
            outputs,
            name="node",
            domain=self.domain,
            **self.attributes,
        )
        element = helper.np_dtype_to_tensor_dtype(self.x.dtype)
        graph = helper.make_graph(
            [node],
            "case",
            [helper.make_tensor_value_info("x", element, self.x.shape)],
            [result],
            [
                numpy_helper.from_array(content, name)
                for name, content in zip(names, self.inputs, strict=True)
                if content is not None and name != "x"
            ],
        )
        opsets = [helper.make_opsetid("", self.opset)]
        if self.domain:
            version = 3 if self.domain == MACHINE_LEARNING else 1
            opsets.append(helper.make_opsetid(self.domain, version))
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def assert_lowered(case: Case) -> None:
    """The value is ONNX Runtime's, and the gradient is that of its value."""
    original = case.original()
    expected = original(case.x)
    value, slope = lowered(case, expected, case.x.shape)
    np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
    wanted = [differences(original, case.x, step) for step in STEPS]
    nearest = np.argmin(np.abs(np.stack(wanted) - slope), axis=0)
    assert_near(slope, np.choose(nearest, wanted), 5e-3)
    if case.open_axis is not None:
        shape: list[int | str] = [*case.x.shape]
        shape[case.open_axis] = "open"
        value, opened = lowered(case, expected, tuple(shape))
        np.testing.assert_allclose(value, expected, rtol=1e-4, atol=1e-5)
        assert_near(opened, slope, 1e-5)


def assert_refused(case: Case, words: str) -> None:
    """The node is refused by name, in these words."""
    operator = f"{case.domain}::{case.operator}" if case.domain else case.operator
    with pytest.raises(ModelRejected, match=rf"'node' \({operator}\).*{words}"):
        lowered(case, case.x, case.x.shape)


def assert_near(found: Array, wanted: Array, tolerance: float) -> None:
    """Equal within `tolerance` of the largest element."""
    assert found.shape == wanted.shape and np.isfinite(found).all()
    assert np.abs(wanted).max() > 0, "the gradient vanishes: the case says nothing"
    np.testing.assert_allclose(found, wanted, rtol=0, atol=tolerance * float(np.abs(wanted).max()))


def lowered(case: Case, expected: Array, shape: Shape) -> tuple[Array, Array]:
    """What the lowered node computes, and its gradient for the cotangent `weights_of(expected)`."""
    model = load(case.declared(expected))
    op = emitter_for(model)
    x = op.graph.add_input("x", case.x.dtype, shape)
    y = lower(op, model, {"x": x}, keep=RULES.__contains__)[case.result]
    assert {node.domain for node in op.graph.nodes} <= {""}
    cotangent = op.graph.add_input("cotangent", y.dtype, y.shape or ())
    gradient = differentiate(op, output=y, wrt=x, cotangent=cotangent, rules=RULES)
    (named,) = op.emit("Identity", [gradient], outputs=["gradient"])
    proto = op.graph.to_model([y, named])
    onnx.checker.check_model(proto, full_check=True)
    session = ort.InferenceSession(proto.SerializeToString())
    feeds = {"x": case.x, "cotangent": weights_of(expected).astype(y.dtype)}
    value, slope = session.run(None, feeds)
    return np.asarray(value), np.asarray(slope)


def differences(function: Function, x: Array, step: float) -> Array:
    """Central differences of Σ weights · function, element by element."""
    weights = weights_of(function(x))
    slope = np.zeros(x.shape)
    for index in np.ndindex(x.shape):
        scores = []
        for signed in (step, -step):
            moved = x.copy()
            moved[index] += signed
            scores.append(float(np.sum(function(moved).astype(np.float64) * weights)))
        slope[index] = (scores[0] - scores[1]) / (2 * step)
    return slope


def weights_of(y: Array) -> Array:
    """A cotangent for `y`, the same each time."""
    rng = np.random.default_rng(7)
    return np.asarray(rng.uniform(0.5, 1.5, y.shape) * rng.choice([-1, 1], y.shape))


def runtime(model: onnx.ModelProto) -> Function:
    """A model as a function of its first input to its first output, by ONNX Runtime."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(model.SerializeToString(), options)

    def run(x: Array) -> Array:
        (result,) = session.run(None, {session.get_inputs()[0].name: x})
        return np.asarray(result)

    return run
