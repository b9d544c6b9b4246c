"""How a gradient becomes a step upwards, and how long the steps are.

Unless an optimizer is `plain`, the gradient arrives with a root mean square of 1 per row: a step
means the same on every model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

State = tuple[Value, ...]
Update = Callable[[Emitter, Value, Value, Sequence[Value], Value], tuple[Value, State]]
"""(op, parameters, gradient, state, step number from 1 `[N, 1, …]`) → direction, next state."""

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8
_WEIGHT_DECAY = 0.01


@dataclass(frozen=True, slots=True)
class Optimizer:
    """An update rule with `state_count` tensors of state, each shaped as the parameters."""

    update: Update
    state_count: int
    learning_rate: float
    is_plain: bool = False


OPTIMIZERS: Registry[Optimizer] = Registry("optimizer")


def _gradient_ascent(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """direction = g"""
    return gradient, ()


def _momentum(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """direction = m, m ← β₁·m + g (Polyak 1964)"""
    m = op.Add(op.Mul(state[0], _BETA_1), gradient)
    return m, (m,)


def _rmsprop(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """direction = g / (√v + ε), v ← β₂·v + (1 − β₂)·g² without bias (Hinton 2012)"""
    v = _blend(op, state[0], op.Mul(gradient, gradient), _BETA_2)
    return op.Div(gradient, _root(op, v, step)), (v,)


def _adam(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """direction = m̂ / (√v̂ + ε) (Kingma and Ba 2015)"""
    m = _blend(op, state[0], gradient, _BETA_1)
    v = _blend(op, state[1], op.Mul(gradient, gradient), _BETA_2)
    m_hat = op.Div(m, _bias(op, _BETA_1, step))
    return op.Div(m_hat, _root(op, v, step)), (m, v)


def _adamw(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """Adam's direction − λ·x (Loshchilov and Hutter 2019)"""
    direction, state = _adam(op, parameters, gradient, state, step)
    return op.Sub(direction, op.Mul(parameters, _WEIGHT_DECAY)), state


def _nadam(
    op: Emitter, parameters: Value, gradient: Value, state: Sequence[Value], step: Value
) -> tuple[Value, State]:
    """direction = (β₁·m̂ + (1 − β₁)·g / (1 − β₁ᵗ)) / (√v̂ + ε) (Dozat 2016)"""
    m = _blend(op, state[0], gradient, _BETA_1)
    v = _blend(op, state[1], op.Mul(gradient, gradient), _BETA_2)
    ahead = op.Add(
        op.Div(op.Mul(m, _BETA_1), _bias(op, _BETA_1, op.Add(step, 1.0))),
        op.Div(op.Mul(gradient, 1 - _BETA_1), _bias(op, _BETA_1, step)),
    )
    return op.Div(ahead, _root(op, v, step)), (m, v)


def _blend(op: Emitter, old: Value, new: Value, beta: float) -> Value:
    return op.Add(op.Mul(old, beta), op.Mul(new, 1 - beta))


def _bias(op: Emitter, beta: float, step: Value) -> Value:
    return op.Sub(1.0, op.Pow(beta, step))


def _root(op: Emitter, v: Value, step: Value) -> Value:
    return op.Add(op.Sqrt(op.Div(v, _bias(op, _BETA_2, step))), _EPSILON)


OPTIMIZERS.add("adam", Optimizer(_adam, 2, 0.05))
OPTIMIZERS.add("adamw", Optimizer(_adamw, 2, 0.05))
OPTIMIZERS.add("nadam", Optimizer(_nadam, 2, 0.05))
OPTIMIZERS.add("rmsprop", Optimizer(_rmsprop, 1, 0.05))
OPTIMIZERS.add("momentum", Optimizer(_momentum, 1, 0.01))
OPTIMIZERS.add("gradient_ascent", Optimizer(_gradient_ascent, 0, 0.05))
OPTIMIZERS.add("plain_ascent", Optimizer(_gradient_ascent, 0, 0.01, is_plain=True))


Schedule = Callable[[float], float]
"""The share of the learning rate at a share 0..1 of the way."""

SCHEDULES: Registry[Schedule] = Registry("schedule")
SCHEDULES.add("constant", lambda _: 1.0)
SCHEDULES.add("linear", lambda way: 1.0 - way)
SCHEDULES.add("cosine", lambda way: (1.0 + math.cos(math.pi * way)) / 2)
