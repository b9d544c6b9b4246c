"""What a function about an operator understands of it: the attributes it names.

Gradient rules and lowerings are functions whose keyword-only parameters are the ONNX attributes
they read, with the schema's defaults. An attribute that a node sets and the function does not
name is never ignored: it is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from onnx import defs, helper

MISFITS = (
    ArithmeticError, AttributeError, LookupError, NotImplementedError, TypeError, ValueError
)  # fmt: skip
"""What Python raises in a function about an operator whose node is nonsense: an input or an
attribute is missing or of another kind.
"""


class Uncovered(Exception):
    """Raised for a case that a function knows and does not cover; the refusal names the node."""


@dataclass(frozen=True, slots=True)
class Signature:
    """`attributes`: those read, with their defaults. `harmless`: those that change no value."""

    attributes: Mapping[str, Any]
    harmless: frozenset[str]
    most_inputs: int | None

    @classmethod
    def of(cls, function: Callable[..., Any], harmless: tuple[str, ...], leading: int) -> Signature:
        """The signature of `function`, whose first `leading` parameters are not inputs."""
        parameters = inspect.signature(function).parameters.values()
        named = [p for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD]
        endless = any(p.kind is p.VAR_POSITIONAL for p in parameters)
        attributes = {
            p.name: None if p.default is p.empty else p.default
            for p in parameters
            if p.kind is p.KEYWORD_ONLY
        }
        most = None if endless else len(named) - leading
        return cls(attributes, frozenset(harmless), most)

    def bind(
        self, given: Mapping[str, Any], *, op_type: str, domain: str, opset: int
    ) -> dict[str, Any]:
        """The value of every attribute read; raises Uncovered for one that is not."""
        defaults = _schema_defaults(op_type, domain, opset)
        for name, value in given.items():
            unknown = name not in self.attributes and name not in self.harmless
            if unknown and value != defaults.get(name):
                raise Uncovered(f"attribute {name}={value!r}")
        known = defaults | {**given}
        return {name: known.get(name, default) for name, default in self.attributes.items()}


def _schema_defaults(op_type: str, domain: str, opset: int) -> dict[str, Any]:
    if not defs.has(op_type, opset, domain):
        return {}
    attributes = defs.get_schema(op_type, opset, domain).attributes
    return {
        name: _plain(helper.get_attribute_value(attribute.default_value))
        for name, attribute in attributes.items()
        if attribute.default_value.name
    }


def _plain(value: Any) -> Any:
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value.decode() if isinstance(value, bytes) else value
