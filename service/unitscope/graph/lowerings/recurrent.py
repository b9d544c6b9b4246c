"""Recurrent layers, unrolled: LSTM, GRU and RNN over sequences of a fixed length.

A step goes from one moment of the projected input and the states before it to the states after
it, the first of which is the output. One loop runs all three.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import Lowerings, Results
from unitscope.graph.lowerings.recurrent_activations import Activation, activations_of
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

States = tuple[Value, ...]
Step = Callable[[Value, States], States]

_BACKWARDS = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}
"""For each direction of a layer, whether it runs backwards."""


@dataclass(frozen=True, slots=True)
class Direction:
    """One direction: `w` `[I, G·H]`, `r` `[H, G·H]`, `wb` and `rb` `[G·H]`, `p` `[3·H]`.

    `activations`: f, g and h as far as the cell has them.
    """

    w: Value
    r: Value
    wb: Value | None
    rb: Value | None
    p: Value | None
    activations: Sequence[Activation]
    backwards: bool


@lowerings.form("RNN", harmless=("hidden_size",))
def rnn(
    op: Emitter, x: Value, w: Value, r: Value, b: Value | None = None,
    sequence_lens: Value | None = None, initial_h: Value | None = None,
    *, activation_alpha: Sequence[float] | None, activation_beta: Sequence[float] | None,
    activations: Sequence[str] | None, clip: float | None, direction: str, layout: int,
) -> Results:  # fmt: skip
    """h = f(x W + h₋₁ R + b)"""
    count = len(_BACKWARDS[direction])
    names = activations or ["Tanh"] * count
    functions = activations_of(op, names, activation_alpha, activation_beta, clip, per_cell=1)
    directions = _directions(op, w, r, b, None, functions, direction)
    return _unrolled(op, x, sequence_lens, directions, [initial_h], _rnn_cell, layout)


@lowerings.form("GRU", harmless=("hidden_size",))
def gru(
    op: Emitter, x: Value, w: Value, r: Value, b: Value | None = None,
    sequence_lens: Value | None = None, initial_h: Value | None = None,
    *, activation_alpha: Sequence[float] | None, activation_beta: Sequence[float] | None,
    activations: Sequence[str] | None, clip: float | None, direction: str, layout: int,
    linear_before_reset: int,
) -> Results:  # fmt: skip
    """z, r = f(x W + h₋₁ R + b); h = (1 − z) · h̃ + z · h₋₁

    h̃ = g(x W + (r · h₋₁) R + b), or g(x W + r · (h₋₁ R + b)) with `linear_before_reset`
    """
    count = len(_BACKWARDS[direction])
    names = activations or ["Sigmoid", "Tanh"] * count
    functions = activations_of(op, names, activation_alpha, activation_beta, clip, per_cell=2)
    directions = _directions(op, w, r, b, None, functions, direction)
    cell = _gru_cell_linear_first if linear_before_reset else _gru_cell
    return _unrolled(op, x, sequence_lens, directions, [initial_h], cell, layout)


@lowerings.form("LSTM", harmless=("hidden_size",))
def lstm(
    op: Emitter, x: Value, w: Value, r: Value, b: Value | None = None,
    sequence_lens: Value | None = None, initial_h: Value | None = None,
    initial_c: Value | None = None, p: Value | None = None,
    *, activation_alpha: Sequence[float] | None, activation_beta: Sequence[float] | None,
    activations: Sequence[str] | None, clip: float | None, direction: str, layout: int,
) -> Results:  # fmt: skip
    """i, o, f = f(x W + h₋₁ R + b + p · c); c = f · c₋₁ + i · g(x W + h₋₁ R + b); h = o · h(c)"""
    count = len(_BACKWARDS[direction])
    names = activations or ["Sigmoid", "Tanh", "Tanh"] * count
    functions = activations_of(op, names, activation_alpha, activation_beta, clip, per_cell=3)
    directions = _directions(op, w, r, b, p, functions, direction)
    return _unrolled(op, x, sequence_lens, directions, [initial_h, initial_c], _lstm_cell, layout)


def _rnn_cell(op: Emitter, by: Direction) -> Step:
    (f,) = by.activations

    def step(x: Value, states: States) -> States:
        return (f(op.Add(x, _linear(op, states[0], by.r, by.rb))),)

    return step


def _gru_cell(op: Emitter, by: Direction) -> Step:
    f, g = by.activations
    gates_r, new_r = _parts(op, by.r, (2, 1))
    gates_b, new_b = (None, None) if by.rb is None else _parts(op, by.rb, (2, 1))

    def step(x: Value, states: States) -> States:
        (h,) = states
        gates_x, new_x = _parts(op, x, (2, 1))
        z, reset = _parts(op, f(op.Add(gates_x, _linear(op, h, gates_r, gates_b))), (1, 1))
        new = g(op.Add(new_x, _linear(op, op.Mul(reset, h), new_r, new_b)))
        return (op.Add(new, op.Mul(z, op.Sub(h, new))),)

    return step


def _gru_cell_linear_first(op: Emitter, by: Direction) -> Step:
    f, g = by.activations

    def step(x: Value, states: States) -> States:
        (h,) = states
        gates_x, new_x = _parts(op, x, (2, 1))
        gates_h, new_h = _parts(op, _linear(op, h, by.r, by.rb), (2, 1))
        z, reset = _parts(op, f(op.Add(gates_x, gates_h)), (1, 1))
        new = g(op.Add(new_x, op.Mul(reset, new_h)))
        return (op.Add(new, op.Mul(z, op.Sub(h, new))),)

    return step


def _lstm_cell(op: Emitter, by: Direction) -> Step:
    f, g, squash = by.activations
    i_p, o_p, forget_p = (None,) * 3 if by.p is None else _parts(op, by.p, (1, 1, 1))

    def peeping(gate: Value, peephole: Value | None, c: Value) -> Value:
        return f(gate if peephole is None else op.Add(gate, op.Mul(peephole, c)))

    def step(x: Value, states: States) -> States:
        h, c = states
        i, o, forget, new = _parts(op, op.Add(x, _linear(op, h, by.r, by.rb)), (1, 1, 1, 1))
        kept = op.Mul(peeping(forget, forget_p, c), c)
        c = op.Add(kept, op.Mul(peeping(i, i_p, c), g(new)))
        return op.Mul(peeping(o, o_p, c), squash(c)), c

    return step


def _directions(
    op: Emitter, w: Value, r: Value, b: Value | None, p: Value | None,
    activations: Iterator[Sequence[Activation]], direction: str,
) -> list[Direction]:  # fmt: skip
    """The directions of weights that are stacked along the first axis."""
    found = []
    if w.static_shape is None or w.static_shape[0] != len(_BACKWARDS[direction]):
        raise Uncovered(f"weights of shape {w.shape} for direction={direction!r}")
    for index, backwards in enumerate(_BACKWARDS[direction]):
        at = np.int64(index)
        wb, rb = _parts(op, op.Gather(b, at, axis=0), (1, 1)) if b is not None else (None, None)
        found.append(
            Direction(
                w=op.Transpose(op.Gather(w, at, axis=0)),
                r=op.Transpose(op.Gather(r, at, axis=0)),
                wb=wb,
                rb=rb,
                p=None if p is None else op.Gather(p, at, axis=0),
                activations=next(activations),
                backwards=backwards,
            )
        )
    return found


def _unrolled(
    op: Emitter, x: Value, sequence_lens: Value | None, directions: Sequence[Direction],
    initial: Sequence[Value | None], cell: Callable[[Emitter, Direction], Step], layout: int,
) -> Results:  # fmt: skip
    """Y `[T, directions, N, H]` and the last states `[directions, N, H]`; the batch first if so"""
    if layout:
        x = op.Transpose(x, perm=[1, 0, 2])
        initial = [None if s is None else op.Transpose(s, perm=[1, 0, 2]) for s in initial]
    length = _length(x, sequence_lens)
    outputs, lasts = [], []
    for index, by in enumerate(directions):
        states = tuple(_initial(op, state, index, by) for state in initial)
        step = cell(op, by)
        moments = _split(op, _linear(op, x, by.w, by.wb), [1] * length, axis=0)
        hidden = []
        for moment in moments[::-1] if by.backwards else moments:
            states = step(moment, states)
            hidden.append(states[0])
        ordered = hidden[::-1] if by.backwards else hidden
        outputs.append(op.Unsqueeze(op.Concat(*ordered, axis=0), [1]))
        lasts.append(states)
    y = op.Concat(*outputs, axis=1)
    ends = [op.Concat(*parts, axis=0) for parts in zip(*lasts, strict=True)]
    if not layout:
        return y, *ends
    return op.Transpose(y, perm=[2, 0, 1, 3]), *(op.Transpose(e, perm=[1, 0, 2]) for e in ends)


def _length(x: Value, sequence_lens: Value | None) -> int:
    length = (x.shape or ())[0]
    if not isinstance(length, int):
        raise Uncovered(
            "a sequence whose length is known only at run time; export the model with a fixed one"
        )
    lengths = None if sequence_lens is None else sequence_lens.const
    if sequence_lens is not None and (lengths is None or (lengths != length).any()):
        raise Uncovered("sequences shorter than their padding")
    return length


def _initial(op: Emitter, state: Value | None, index: int, by: Direction) -> Value:
    """The state `[1, N, H]` before the first moment; zeros are broadcast over the batch."""
    if state is None:
        return op.const(np.zeros((1, 1, int((by.r.shape or ())[0])), by.r.dtype))
    return op.Gather(state, [index], axis=0)


def _linear(op: Emitter, x: Value, w: Value, b: Value | None) -> Value:
    product = op.MatMul(x, w)
    return product if b is None else op.Add(product, b)


def _parts(op: Emitter, value: Value, shares: Sequence[int]) -> tuple[Value, ...]:
    """The last axis of `value` cut in these proportions."""
    size = int((value.shape or ())[-1]) // sum(shares)
    return _split(op, value, [share * size for share in shares], axis=-1)


def _split(op: Emitter, value: Value, sizes: Sequence[int], axis: int) -> tuple[Value, ...]:
    return op.emit("Split", [value, sizes], {"axis": axis}, outputs=len(sizes))
