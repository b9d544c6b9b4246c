"""ONNX's own node cases, and the gradient of each as a graph."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import defs, helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.dialect import opset_of
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Shape, Value
from unitscope.graph.lower import lower
from unitscope.graph.model import load

Array = np.ndarray[Any, Any]

LOWERED = {"GroupNormalization", "MeanVarianceNormalization", "RMSNormalization"}
"""Operators without a rule of their own: the gradient is that of their bodies."""


@dataclass(frozen=True)
class Case:
    """One node with inputs from ONNX's test suite, and which of its inputs is differentiated."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    index: int

    @property
    def operator(self) -> str:
        return self.model.graph.node[0].op_type

    @property
    def id(self) -> str:
        return f"{self.name}-{self.model.graph.input[self.index].name}"

    def slot(self, index: int) -> int:
        """Where the operator takes the model's input `index`; absent operands leave gaps."""
        return list(self.model.graph.node[0].input).index(self.model.graph.input[index].name)

    @property
    def point(self) -> Array:
        """Where the gradient is taken."""
        return np.asarray(self.inputs[self.index], np.float64)


@dataclass(frozen=True)
class Gradient:
    """The case's node and its gradient: graphs of the differentiated input `x`."""

    primal: onnx.ModelProto
    score: onnx.ModelProto
    gradient: onnx.ModelProto


def cases() -> list[Case]:
    """A case for every float input of every single-node case of an operator with a rule or body."""
    return [*_cases(), *_own_cases()]


@functools.cache
def _testcases() -> list[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy warns while ONNX computes its own examples
        return list(collect_testcases(None))


def _cases() -> Iterator[Case]:
    operators = {*RULES, *LOWERED}
    for case in _testcases():
        nodes = case.model.graph.node
        if len(nodes) != 1 or nodes[0].domain or nodes[0].op_type not in operators:
            continue
        inputs, expected = case.data_sets[0]
        if not all(isinstance(item, np.ndarray | np.generic) for item in (*inputs, *expected)):
            continue
        operator = nodes[0].op_type
        inputs, expected = tuple(map(np.asarray, inputs)), tuple(map(np.asarray, expected))
        wide = [
            is_float(item) and (item.dtype.itemsize >= 4 or operator != "Cast") for item in expected
        ]
        if not any(wide):  # differences of a float8 say nothing
            continue
        for index, item in enumerate(inputs):
            found = Case(case.name, case.model, inputs, expected, index)
            if is_float(item) and item.size and follows(found, index):
                yield found


def _own_cases() -> Iterator[Case]:
    """Operators of which ONNX has no case with floats of 32 bits or more."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    wanted: list[tuple[str, dict[str, Any], tuple[Array, ...]]] = [
        ("Cast", {"to": onnx.TensorProto.DOUBLE}, (x,)),
        ("CastLike", {}, (x, np.ones(1, np.float32))),
        ("GlobalLpPool", {"p": 1}, (x,)),
        ("GlobalLpPool", {"p": 2}, (x,)),
        ("Trilu", {"upper": 0}, (x, np.array(1, np.int64))),
    ]
    for operator, attributes, inputs in wanted:
        names = [f"x{index}" for index in range(len(inputs))]
        node = helper.make_node(operator, names, ["y"], **attributes)
        infos = [
            helper.make_tensor_value_info(
                name, helper.np_dtype_to_tensor_dtype(item.dtype), item.shape
            )
            for name, item in zip(names, inputs, strict=True)
        ]
        output = helper.make_tensor_value_info(
            "y", onnx.TensorProto.DOUBLE if operator == "Cast" else onnx.TensorProto.FLOAT, None
        )
        graph = helper.make_graph([node], "case", infos, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        session = ort.InferenceSession(model.SerializeToString())
        results = session.run(None, dict(zip(names, inputs, strict=True)))
        name = f"own_{operator.lower()}_{'_'.join(map(str, attributes.values()))}"
        yield Case(name, model, inputs, tuple(map(np.asarray, results)), 0)


def follows(case: Case, index: int) -> bool:
    """Whether the schema lets this input be of any float type, or fixes it (scales are float32)."""
    schema = defs.get_schema(case.operator, opset_of(case.model), "")
    return "(" not in schema.inputs[min(case.slot(index), len(schema.inputs) - 1)].type_str


def is_float(array: Array) -> bool:
    """A type in which gradients live: float16, float32, float64 or bfloat16."""
    return bool(array.dtype.kind == "f") or array.dtype.name == "bfloat16"


def build(case: Case, dtype: type[np.floating[Any]], shape: Shape | None = None) -> Gradient:
    """The case in floats of `dtype`; `shape` (default: the point's own) may hold symbols.

    The score is Σ over the outputs with a gradient of a fixed random cotangent times the output.
    Raises ModelRejected where the rule refuses.
    """
    model = load(case.model)
    op = Emitter(Graph(model.opset))
    x = op.graph.add_input("x", dtype, case.point.shape if shape is None else shape)
    given = {}
    for index, declared in enumerate(model.graph.input):
        content = case.inputs[index]
        wide = content.astype(dtype) if is_float(content) and follows(case, index) else content
        given[declared.name] = x if index == case.index else op.const(wide)
    values = lower(op, model, given, keep=RULES.__contains__)
    outputs = [values[output.name] for output in case.model.graph.output]
    several = RULES.find(op.graph.nodes[-1]).several if op.graph.nodes else False
    scored = [y for y in (outputs if several else outputs[:1]) if y.is_float]
    score = _score(op, scored, case.expected, dtype)
    one = op.const(1.0, dtype)
    gradient = differentiate(op, output=score, wrt=x, cotangent=one, rules=RULES)
    primal, *others = (
        op.graph.to_model(
            [op.emit("Identity", [y], outputs=[op.graph.fresh_name("result")])[0] for y in ys]
        )
        for ys in (outputs, [score], [gradient])
    )
    return Gradient(primal, *others)


def _score(op: Emitter, outputs: Sequence[Value], expected: Sequence[Array], dtype: Any) -> Value:
    rng = np.random.default_rng(0)
    terms = []
    for y, content in zip(outputs, expected, strict=False):
        cotangent = op.const(
            rng.uniform(0.5, 1.5, content.shape) * rng.choice([-1, 1], content.shape), dtype
        )
        wide = y if y.dtype == dtype else op.Cast(y, to=cotangent.elem_type)
        terms.append(op.ReduceSum(op.Mul(wide, cotangent), keepdims=0))
    return op.Sum(*terms)


Function = Callable[[Array], list[Array]]


def reference(model: onnx.ModelProto) -> Function:
    """The model as a function of `x`, by ONNX's reference evaluator."""
    evaluator = ReferenceEvaluator(model)

    def run(x: Array) -> list[Array]:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")  # infinities and NaN are compared, not announced
            return [np.asarray(result) for result in evaluator.run(None, {"x": x})]

    return run


def runtime(model: onnx.ModelProto) -> Function:
    """The model as a function of `x`, by ONNX Runtime; raises where it has no kernel."""
    session = ort.InferenceSession(model.SerializeToString())

    def run(x: Array) -> list[Array]:
        return [np.asarray(result) for result in session.run(None, {"x": x})]

    return run
