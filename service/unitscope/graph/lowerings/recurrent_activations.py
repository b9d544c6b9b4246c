"""The activations of recurrent layers, which ONNX names in attributes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from functools import partial

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.signature import Uncovered

Activation = Callable[[Value], Value]

_OPERATORS = (
    "Relu", "Tanh", "Sigmoid", "Softsign", "Softplus", "LeakyRelu", "Elu", "HardSigmoid",
    "ThresholdedRelu",
)  # fmt: skip
_PARAMETERS: dict[str, dict[str, float | None]] = {
    "LeakyRelu": {"alpha": 0.01},
    "Elu": {"alpha": 1.0},
    "HardSigmoid": {"alpha": 0.2, "beta": 0.5},
    "ThresholdedRelu": {"alpha": None},
    "Affine": {"alpha": None, "beta": None},
    "ScaledTanh": {"alpha": None, "beta": None},
}
"""The parameters of activations and what they are by default; None: no two runtimes agree."""
_NAMES = {name.lower(): name for name in (*_OPERATORS, *_PARAMETERS)}


def activations_of(
    op: Emitter, names: Sequence[str], alphas: Sequence[float] | None,
    betas: Sequence[float] | None, clip: float | None, *, per_cell: int,
) -> Iterator[Sequence[Activation]]:  # fmt: skip
    """The activations of each direction, `per_cell` of them, after the clip.

    Parameters are taken in turn by those that need them. The third activation of an LSTM squashes
    a state, and that is never clipped.
    """
    if clip is not None and not clip > 0:
        raise Uncovered(f"clip={clip}")
    given = {"alpha": iter(alphas or ()), "beta": iter(betas or ())}
    functions: list[Activation] = []
    for index, name in enumerate(names):
        known = _NAMES.get(name.lower())
        if known is None:
            raise Uncovered(f"the activation {name!r}")
        parameters = {
            parameter: _parameter(known, next(given[parameter], default))
            for parameter, default in _PARAMETERS.get(known, {}).items()
        }
        bound = clip if index % per_cell < 2 else None
        functions.append(partial(_activation, op, known, parameters, bound))
    return (functions[i : i + per_cell] for i in range(0, len(functions), per_cell))


def _activation(
    op: Emitter, name: str, parameters: dict[str, float], clip: float | None, x: Value
) -> Value:
    if clip is not None:
        x = op.Clip(x, -float(clip), float(clip))
    if name == "Affine":
        return op.Add(op.Mul(x, parameters["alpha"]), parameters["beta"])
    if name == "ScaledTanh":
        return op.Mul(op.Tanh(op.Mul(x, parameters["beta"])), parameters["alpha"])
    return op.emit(name, [x], parameters)[0]


def _parameter(activation: str, value: float | None) -> float:
    if value is None:
        raise Uncovered(f"the activation {activation!r} without its parameters")
    return float(value)
