"""How a gradient becomes a step upwards.

The gradient arrives with a root mean square of 1 per row: a step means the same on every model.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Update = Callable[[Emitter, Value, Sequence[Value], Value], tuple[Value, tuple[Value, ...]]]
"""(op, gradient, state, step number from 1 `[N, 1, …]`) → direction, next state."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An update rule with `state_count` tensors of state, each shaped as the parameters."""

    update: Update
    state_count: int
    learning_rate: float


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")


def _gradient_ascent(
    op: Emitter, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, tuple[Value, ...]]:
    """direction = g"""
    return gradient, ()


def _adam(
    op: Emitter, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, tuple[Value, ...]]:
    """direction = m̂ / (√v̂ + ε) (Kingma and Ba 2015)"""
    m, v = state
    m = op.Add(op.Mul(m, _BETA_1), op.Mul(gradient, 1 - _BETA_1))
    v = op.Add(op.Mul(v, _BETA_2), op.Mul(op.Mul(gradient, gradient), 1 - _BETA_2))
    m_hat = op.Div(m, op.Sub(1.0, op.Pow(_BETA_1, step)))
    v_hat = op.Div(v, op.Sub(1.0, op.Pow(_BETA_2, step)))
    return op.Div(m_hat, op.Add(op.Sqrt(v_hat), _EPSILON)), (m, v)


OPTIMIZERS.add("adam", Optimizer(_adam, state_count=2, learning_rate=0.05))
OPTIMIZERS.add("gradient_ascent", Optimizer(_gradient_ascent, state_count=0, learning_rate=0.05))
