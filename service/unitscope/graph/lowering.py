"""The table of lowerings: operators said in others that have a gradient.

A lowering is a function ``(op, *inputs, *, attributes)`` that emits what a node computes: the
inputs come in schema order (an absent optional input is None), and its keyword-only parameters
are the attributes it understands, with their defaults. It returns one value, or a tuple with one
per output (None for an output it does not compute). A case it does not cover it leaves by raising
`Uncovered`. The operators it emits must have a gradient rule: a lowering is not lowered again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.signature import MISFITS, Signature, Uncovered
from unitscope.registry import Registry

MICROSOFT = "com.microsoft"
"""The domain of ONNX Runtime's own operators."""
MACHINE_LEARNING = "ai.onnx.ml"
"""The domain of classical machine learning."""

Results = Value | tuple[Value | None, ...]
LoweringFunction = Callable[..., Results]


@dataclass(frozen=True, slots=True)
class Lowering:
    """How to say one operator in others."""

    operator: str
    domain: str
    function: LoweringFunction
    signature: Signature

    def apply(
        self, op: Emitter, inputs: Sequence[Value | None], attributes: Mapping[str, Any]
    ) -> tuple[Value | None, ...]:
        """Emit the operator on `inputs`; raises Uncovered for a case it does not cover."""
        most = self.signature.most_inputs
        if most is not None and len(inputs) > most:
            raise Uncovered(f"{len(inputs)} inputs, at most {most} are known")
        bound = self.signature.bind(
            attributes, op_type=self.operator, domain=self.domain, opset=op.graph.opset
        )
        try:
            results = self.function(op, *inputs, **bound)
        except MISFITS as misfit:  # ONNX's checker does not know operators of other domains
            raise Uncovered(f"a node that does not fit its operator: {misfit}") from misfit
        return results if isinstance(results, tuple) else (results,)


class Lowerings:
    """All lowerings by domain and operator."""

    def __init__(self, *families: Lowerings) -> None:
        """An empty table, or the union of `families`; an operator in two of them is an error."""
        self._table: Registry[Lowering] = Registry("lowering")
        for family in families:
            for key, lowering in family._table.items():
                self._table.add(key, lowering)

    def form(
        self, *operators: str, domain: str = "", harmless: tuple[str, ...] = ()
    ) -> Callable[[LoweringFunction], LoweringFunction]:
        """Enter the decorated function as the lowering of `operators`."""

        def enter(function: LoweringFunction) -> LoweringFunction:
            signature = Signature.of(function, harmless, leading=1)
            for operator in operators:
                lowering = Lowering(operator, domain, function, signature)
                self._table.add(f"{domain}::{operator}", lowering)
            return function

        return enter

    def find(self, domain: str, operator: str) -> Lowering | None:
        """The lowering of `operator`, if there is one."""
        key = f"{domain}::{operator}"
        return self._table.get(key) if key in self._table else None

    def __iter__(self) -> Iterator[str]:
        """``domain::operator`` of every entry."""
        return iter(self._table)
