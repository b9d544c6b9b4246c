"""The gradient of a node case as a graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from tests.autodiff.cases import Array, Case, follows, is_float
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Node, Shape, Value
from unitscope.graph.lower import lower
from unitscope.graph.model import load


@dataclass(frozen=True)
class Forward:
    """A case's node emitted as a function of the differentiated input `x`.

    `score`: the sum, over the outputs with a gradient, of a fixed random cotangent times each.
    """

    op: Emitter
    x: Value
    outputs: list[Value]
    expected: list[Array]
    score: Value

    @property
    def primal(self) -> onnx.ModelProto:
        """x → the outputs."""
        return self._model(self.outputs)

    @property
    def scored(self) -> onnx.ModelProto:
        """x → the score."""
        return self._model([self.score])

    def gradient(self) -> onnx.ModelProto:
        """x → ∂score/∂x; raises ModelRejected where that is refused."""
        one = self.op.const(1.0, self.x.dtype)
        dx = differentiate(self.op, output=self.score, wrt=self.x, cotangent=one, rules=RULES)
        return self._model([dx])

    def _model(self, values: Sequence[Value]) -> onnx.ModelProto:
        named = [
            self.op.emit("Identity", [value], outputs=[self.op.graph.fresh_name("result")])[0]
            for value in values
        ]
        return self.op.graph.to_model(named)


def forward(case: Case, dtype: type[np.floating[Any]], shape: Shape | None = None) -> Forward:
    """The case in floats of `dtype`; `shape` (default: the point's own) may hold symbols.

    Raises ModelRejected where the operator cannot be brought to operators with a rule.
    """
    model = load(case.model)
    op = Emitter(Graph(model.opset))
    x = op.graph.add_input("x", dtype, case.point.shape if shape is None else shape)
    given = {}
    for index, declared in enumerate(model.graph.input):
        content = case.inputs[index]
        wide = content.astype(dtype) if is_float(content) and follows(case, index) else content
        given[declared.name] = x if index == case.index else op.const(wide)
    tensors = lower(op, model, given, keep=RULES.__contains__)
    names = [output.name for output in case.model.graph.output]
    pairs = [
        (tensors[name], content)
        for name, content in zip(names, case.expected, strict=True)
        if name in tensors or name == names[0]
    ]
    score = _score(op, _scored(case, pairs), dtype)
    return Forward(op, x, [y for y, _ in pairs], [content for _, content in pairs], score)


def _scored(case: Case, pairs: list[tuple[Value, Array]]) -> list[tuple[Value, Array]]:
    """The outputs with a gradient: all of a body, but a rule may speak of the first alone."""
    alone = case.operator in {*RULES} and not RULES.find(Node(case.operator, (), (), {})).several
    return [pair for pair in (pairs[:1] if alone else pairs) if pair[0].is_float]


def _score(op: Emitter, outputs: Sequence[tuple[Value, Array]], dtype: Any) -> Value:
    rng = np.random.default_rng(0)
    terms = []
    for y, content in outputs:
        cotangent = op.const(
            rng.uniform(0.5, 1.5, content.shape) * rng.choice([-1, 1], content.shape), dtype
        )
        wide = y if y.dtype == dtype else op.Cast(y, to=cotangent.elem_type)
        if not np.isfinite(content).all():  # masked scores, divisions by zero: they do not move
            wide = op.Where(np.isfinite(content), wide, op.const(0, dtype))
        terms.append(op.ReduceSum(op.Mul(wide, cotangent), keepdims=0))
    return op.Sum(*terms)
