"""The table of vector-Jacobian products (VJPs), one rule per operator.

A rule is a function ``(op, dy, y, *inputs, *, attributes)`` that emits the cotangent of each
input: ``dy`` is the cotangent of the output, ``y`` the output itself, the inputs come in
schema order (an absent optional input is None), and its keyword-only parameters are the ONNX
attributes it understands, with the schema's defaults. It returns one value per input it has a
formula for; an input left out or None has none, and the walk refuses to go through it.
An attribute that a node sets and the rule does not name is refused too: a rule never ignores
what it does not know. A case it knows and does not cover it leaves by raising `Uncovered`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Node, Value
from unitscope.graph.signature import MISFITS, Signature, Uncovered
from unitscope.registry import Registry

__all__ = ["Cotangents", "Rule", "RuleFunction", "Rules", "Uncovered", "refuse"]

Cotangents = tuple[Value | None, ...]
RuleFunction = Callable[..., Cotangents]


@dataclass(frozen=True, slots=True)
class Rule:
    """How to differentiate one operator.

    `several`: the rule takes tuples of outputs and cotangents (None where none arrives)
    instead of one of each.
    """

    operator: str
    function: RuleFunction
    signature: Signature
    several: bool

    def apply(self, op: Emitter, node: Node, cotangents: Cotangents) -> Cotangents:
        """The cotangents of the node's inputs; raises ModelRejected for a case not covered."""
        dy, y = (cotangents, node.outputs) if self.several else (cotangents[0], node.outputs[0])
        if not self.several and any(other is not None for other in cotangents[1:]):
            raise refuse(node, "only its first output has a gradient")
        for value in (*node.inputs, *node.outputs):
            if value is not None and value.shape is None:
                raise refuse(node, f"the rank of {value.name!r} is unknown")
        try:
            attributes = self.signature.bind(
                node.attributes, op_type=node.op_type, domain=node.domain, opset=op.graph.opset
            )
            return self.function(op, dy, y, *node.inputs, **attributes)
        except Uncovered as case:
            raise refuse(node, f"no gradient for {case}") from case
        except MISFITS as misfit:  # ONNX's checker and inference let much nonsense through
            raise refuse(node, f"it does not fit its operator: {misfit}") from misfit


class Rules:
    """All rules by operator, and the operators whose derivative is zero by definition."""

    def __init__(self, *families: Rules) -> None:
        """An empty table, or the union of `families`; an operator in two of them is an error."""
        self._rules: Registry[Rule] = Registry("gradient rule")
        self._zero: set[str] = set()
        for family in families:
            self._zero |= family._zero
            for operator, rule in family._rules.items():
                self._rules.add(operator, rule)

    def overridden(self, by: Rules) -> Rules:
        """These rules with those of `by` in place of their namesakes."""
        merged = Rules(self)
        merged._rules = Registry(self._rules.kind)
        for operator in {**self._rules, **by._rules}:
            merged._rules.add(operator, (by if operator in by._rules else self)._rules[operator])
        return merged

    def vjp(
        self, *operators: str, several: bool = False, harmless: tuple[str, ...] = ()
    ) -> Callable[[RuleFunction], RuleFunction]:
        """Enter the decorated function as the rule of `operators`."""

        def enter(function: RuleFunction) -> RuleFunction:
            signature = Signature.of(function, harmless, leading=3)
            for operator in operators:
                self._rules.add(operator, Rule(operator, function, signature, several))
            return function

        return enter

    def zero(self, *operators: str) -> None:
        """Say that the derivative of `operators` is zero wherever it exists."""
        self._zero.update(operators)

    def is_zero(self, operator: str) -> bool:
        return operator in self._zero

    def __contains__(self, operator: object) -> bool:
        return operator in self._rules or operator in self._zero

    def __iter__(self) -> Iterator[str]:
        return iter(self._rules)

    def find(self, node: Node) -> Rule:
        """The node's rule; raises ModelRejected naming node and operator if there is none."""
        if node.domain or node.op_type not in self._rules:
            raise refuse(node, "this operator has no gradient")
        return self._rules[node.op_type]


def refuse(node: Node, why: str) -> ModelRejected:
    """The error for a node that stops the gradient."""
    first = next((value.name for value in node.outputs if value), "?")
    operator = f"{node.domain}::{node.op_type}" if node.domain else node.op_type
    return ModelRejected(f"node {node}: {why}", node=node.name or first, operator=operator)
