"""ONNX's own node cases: one operator each, with inputs and what it makes of them."""

from __future__ import annotations

import functools
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import TensorProto, defs, helper, numpy_helper
from onnx.backend.test.case.node import collect_testcases
from onnx.reference import ReferenceEvaluator

from unitscope.graph.dialect import opset_of

Array = np.ndarray[Any, Any]

APART = {
    "Bernoulli": "it draws something else each time",
    "DynamicQuantizeLinear": "its gradient is straight through, its differences are steps",
    "QuantizeLinear": "its gradient is straight through, its differences are steps",
}
"""Operators of which differences say nothing."""

SIZES = {("OneHot", 1)}
"""Inputs that are of any number type, but say how large the output is."""

_OWN = "own_"


@dataclass(frozen=True, eq=False)
class Case:
    """One node with inputs from ONNX's test suite, and which of its inputs is differentiated."""

    name: str
    model: onnx.ModelProto
    inputs: tuple[Array, ...]
    expected: tuple[Array, ...]
    index: int

    @property
    def node(self) -> onnx.NodeProto:
        return self.model.graph.node[0]

    @property
    def operator(self) -> str:
        return self.node.op_type

    @property
    def input(self) -> str:
        """The name the schema gives to the differentiated input."""
        schema = schema_of(self)
        return str(schema.inputs[min(self.slot(self.index), len(schema.inputs) - 1)].name)

    @property
    def id(self) -> str:
        return f"{self.name}-{self.model.graph.input[self.index].name}"

    @property
    def is_own(self) -> bool:
        """True if it is not one of ONNX's."""
        return self.name.startswith(_OWN)

    def slot(self, index: int) -> int:
        """Where the operator takes the model's input `index`; absent operands leave gaps."""
        return list(self.node.input).index(self.model.graph.input[index].name)

    @property
    def point(self) -> Array:
        """Where the gradient is taken."""
        return np.asarray(self.inputs[self.index], np.float64)


@functools.cache
def cases() -> list[Case]:
    """A case for every float input of every single-node case of the standard domain."""
    return [*_cases(), *_own_cases()]


def schema_of(case: Case) -> Any:
    """The schema of the case's operator in the case's opset."""
    return defs.get_schema(case.operator, opset_of(case.model), "")


def follows(case: Case, index: int) -> bool:
    """Whether the operator takes this input in any float type, or in one (scales are float32)."""
    schema = schema_of(case)
    declared = case.model.graph.input[index]
    taken = declared.name in case.node.input and declared.type.HasField("tensor_type")
    if not taken or (case.operator, case.slot(index)) in SIZES:
        return False
    return "(" not in schema.inputs[min(case.slot(index), len(schema.inputs) - 1)].type_str


def is_float(array: Array) -> bool:
    """A type in which gradients live: float16, float32, float64 or bfloat16."""
    return array.dtype.name in ("float16", "bfloat16", "float32", "float64")


def _cases() -> Iterator[Case]:
    for case in _testcases():
        nodes = case.model.graph.node
        inputs, expected = (_arrays(items) for items in case.data_sets[0])
        if len(nodes) != 1 or nodes[0].domain or inputs is None or expected is None:
            continue
        if nodes[0].op_type in APART or not any(map(is_float, expected)):
            continue
        for index, item in enumerate(inputs):
            found = Case(case.name, case.model, inputs, expected, index)
            if is_float(item) and item.size and follows(found, index):
                yield found


@functools.cache
def _testcases() -> list[Any]:
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")  # numpy warns while ONNX computes its own examples
        return list(collect_testcases(None))


def _arrays(items: Any) -> tuple[Array, ...] | None:
    """The tensors of a data set, None if one is a sequence or absent."""
    if not all(isinstance(item, np.ndarray | np.generic | TensorProto) for item in items):
        return None
    return tuple(
        numpy_helper.to_array(item) if isinstance(item, TensorProto) else np.asarray(item)
        for item in items
    )


def _own_cases() -> Iterator[Case]:
    """Operators of which ONNX has no case with floats."""
    x = np.random.default_rng(0).standard_normal((2, 3, 4, 5)).astype(np.float32)
    wanted: list[tuple[str, dict[str, Any], tuple[Array, ...]]] = [
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
        output = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None] * x.ndim)
        graph = helper.make_graph([node], "case", infos, [output])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
        session = ort.InferenceSession(model.SerializeToString())
        results = session.run(None, dict(zip(names, inputs, strict=True)))
        name = f"{_OWN}{operator.lower()}_{'_'.join(map(str, attributes.values()))}"
        yield Case(name, model, inputs, tuple(map(np.asarray, results)), 0)


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
