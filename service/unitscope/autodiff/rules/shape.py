"""Operators that move elements without changing them."""

from __future__ import annotations

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()

rules.zero("Shape", "Size", "ConstantOfShape", "NonZero", "ArgMax", "ArgMin", "Hardmax")


@rules.vjp("Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", harmless=("allowzero", "axis"))
def reshape(op: Emitter, dy: Value, y: Value, x: Value, *_: Value | None) -> Cotangents:
    """dx = dy in the shape of x"""
    return (op.reshape_like(dy, x),)
