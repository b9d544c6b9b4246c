"""Programs: the graphs that climb, show and judge, written forwards and differentiated once.

A program is everything that requests have in common (model, layer, image size, kinds of
objective, parameterization and optimizer); what differs between requests is a row of its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import onnx

from unitscope.ascent.objectives import OBJECTIVES
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.ascent.subject import Subject, emit_subject, first_rows, fit, port
from unitscope.ascent.transforms import emit_view
from unitscope.autodiff.rules import REDIRECTED, RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Parts, Value
from unitscope.graph.layers import Layer
from unitscope.graph.lower import emitter_for

_SMALLEST_NORM = 1e-30
"""Gradients below count as zero; the largest image's √size divided by it is still finite."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """What decides the graphs of a program; equal specs share one.

    `logits`: the tensor that holds the model's scores of its classes. `views`: the model sees
    the image through a matrix per row (transforms, or an image that is not of the model's size),
    not directly. `redirect`: dead ReLUs let through what wakes them.
    """

    subject: Subject
    logits: str
    layer: Layer
    image: ImageSpec
    objective: str = "channel"
    parameterization: str = "fourier"
    optimizer: str = "adam"
    views: bool = True
    redirect: bool = False
    rows: int = 1

    @property
    def state_names(self) -> tuple[str, ...]:
        """Inputs of the step that its outputs ``next_…`` replace; the first are the parameters."""
        count = OPTIMIZERS[self.optimizer].state_count
        return ("parameters", *(f"moment_{index + 1}" for index in range(count)))

    @property
    def parameter_shape(self) -> tuple[int, ...]:
        """`[N, *shape]` of the parameters and of each state tensor."""
        return (self.rows, *PARAMETERIZATIONS[self.parameterization].shape(self.image))


def build_step(spec: ProgramSpec) -> Parts:
    """One step upwards.

    Inputs: the state, `weights` `[N, K]` over the scores, `step` `[N]` from 1, `learning_rate`
    `[N]`, and `matrices` `[N, 2, 3]` if the program has views. Outputs: the next state,
    `activation` `[N]` before the step and `gradient_norm` `[N]`.
    """
    op, state = _begin(spec)
    parameters = state[0]
    image = PARAMETERIZATIONS[spec.parameterization].emit(op, parameters, spec.image)
    scores, _ = _look(op, spec, image)
    weights = op.graph.add_input(port("weights"), np.float32, scores.shape or ())
    activation = op.ReduceSum(op.Mul(scores, weights), [1], keepdims=0)
    rules = REDIRECTED if spec.redirect else RULES
    seed = op.const(np.ones(spec.rows), np.float32)
    gradient = differentiate(op, output=activation, wrt=parameters, cotangent=seed, rules=rules)
    norm = _row_norm(op, gradient)
    direction, moments = OPTIMIZERS[spec.optimizer].update(
        op, _unit_rms(op, gradient, norm), state[1:], _per_row(op, spec, "step")
    )
    rate = _per_row(op, spec, "learning_rate")
    updated = (op.Add(parameters, op.Mul(rate, direction)), *moments)
    return op.graph.to_parts(
        [
            *(
                _named(op, value, f"next_{name}")
                for value, name in zip(updated, spec.state_names, strict=True)
            ),
            _named(op, activation, "activation"),
            _named(op, op.Reshape(norm, [spec.rows]), "gradient_norm"),
        ]
    )


def build_render(spec: ProgramSpec) -> Parts:
    """Input `parameters`; output `picture` `[N, C, H, W]`, uint8."""
    op, state = _begin(spec)
    image = PARAMETERIZATIONS[spec.parameterization].emit(op, state[0], spec.image)
    picture = op.Cast(op.Round(op.Mul(image, 255.0)), to=onnx.TensorProto.UINT8)
    return op.graph.to_parts([_named(op, picture, "picture")], inputs=state[:1])


def build_judge(spec: ProgramSpec) -> Parts:
    """What the model makes of a finished picture, without transforms.

    Input `picture` `[N, C, H, W]`, uint8. Outputs: `scores` `[N, K]` of the layer's units and
    `logits` `[N, classes]`.
    """
    op = emitter_for(spec.subject.model)
    image = spec.image
    shape = (spec.rows, image.channels, image.height_px, image.width_px)
    picture = op.graph.add_input(port("picture"), np.uint8, shape)
    scores, logits = _look(
        op, spec, op.Div(op.Cast(picture, to=onnx.TensorProto.FLOAT), 255.0), whole=True
    )
    return op.graph.to_parts(
        [_named(op, scores, "scores"), _named(op, op.Reshape(logits, [spec.rows, -1]), "logits")]
    )


def _begin(spec: ProgramSpec) -> tuple[Emitter, list[Value]]:
    op = emitter_for(spec.subject.model)
    shape = spec.parameter_shape
    return op, [op.graph.add_input(port(name), np.float32, shape) for name in spec.state_names]


def _look(
    op: Emitter, spec: ProgramSpec, image: Value, *, whole: bool = False
) -> tuple[Value, Value]:
    """Show the image to the model: the scores of the layer's units, and the logits.

    `whole`: the image as it is, fitted to the model's input; else as the request's views have it.
    """
    card = spec.subject.card
    size = (card.height_px, card.width_px)
    seen = image
    if whole and size != (spec.image.height_px, spec.image.width_px):
        identity = op.const(np.tile(np.eye(2, 3), (spec.rows, 1, 1)), np.float32)
        seen = emit_view(op, image, identity, *size)
    elif spec.views and not whole:
        matrices = op.graph.add_input(port("matrices"), np.float32, (spec.rows, 2, 3))
        seen = emit_view(op, image, matrices, *size)
    ready = fit(op, spec.subject, emit_preprocessing(op, seen, card))
    tensors = emit_subject(op, spec.subject, ready)
    activation, logits = (
        first_rows(op, tensors[name], spec.rows) for name in (spec.layer.tensor, spec.logits)
    )
    scores = OBJECTIVES[spec.objective](op, activation, spec.layer)
    return _single(op, scores), _single(op, logits)


def _single(op: Emitter, value: Value) -> Value:
    return value if value.dtype == np.float32 else op.Cast(value, to=onnx.TensorProto.FLOAT)


def _per_row(op: Emitter, spec: ProgramSpec, name: str) -> Value:
    """An input `[N]`, shaped to multiply the parameters."""
    rank = len(spec.parameter_shape)
    return op.Reshape(
        op.graph.add_input(port(name), np.float32, (spec.rows,)), [spec.rows, *[1] * (rank - 1)]
    )


def _row_norm(op: Emitter, gradient: Value) -> Value:
    return op.Sqrt(op.ReduceSum(op.Mul(gradient, gradient), _row_axes(gradient), keepdims=1))


def _unit_rms(op: Emitter, gradient: Value, norm: Value) -> Value:
    """The gradient scaled to a root mean square of 1 per row; zero stays zero."""
    size = float(np.prod([int(dim) for dim in (gradient.shape or ())[1:]]))
    return op.Mul(gradient, op.Div(float(np.sqrt(size)), op.Max(norm, _SMALLEST_NORM)))


def _row_axes(value: Value) -> Sequence[int]:
    return list(range(1, value.rank))


def _named(op: Emitter, value: Value, name: str) -> Value:
    (output,) = op.emit("Identity", [value], outputs=[port(name)])
    return output
