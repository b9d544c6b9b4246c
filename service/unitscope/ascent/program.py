"""The graph that climbs: one step of gradient ascent, written forwards and differentiated once."""

from __future__ import annotations

import numpy as np

from unitscope.ascent.blur import emit_blur
from unitscope.ascent.forward import (
    activation_of,
    apart,
    begin,
    image_of,
    look,
    named,
    over_views,
    per_view,
    rows_of,
    tensor_of,
    weights_of,
)
from unitscope.ascent.objectives import dot, log_correlation, log_response, texture
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.transforms import blur_reach, emit_view
from unitscope.autodiff.rules import REDIRECTED, RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Parts, Value
from unitscope.graph.layers import Layer
from unitscope.graph.target import PROCESSOR, Target
from unitscope.graph.tensors import Tensors

_SMALLEST_NORM = 1e-30
"""Gradients below count as zero; the largest image's √size divided by it is still finite."""


def build_step(spec: ProgramSpec, target: Target = PROCESSOR) -> Parts:
    """One step upwards of N rows.

    Every row has inputs of its own (see `port`), so that requests come and go between steps: the
    state, the prior (see `prior_shapes`), `weights_i` `[1, K]` of each term, `step` `[1]` from 1,
    `learning_rate` `[1]`; `target` `[1]` if targeted; `penalty_…` and `constraint_…` `[1]`, the
    strengths of the regularizers; `selectivity` `[1]` if selective; `purity` `[1]` if there are
    features; `unlike` `[1, units²]` if there is such a layer: the textures to keep away from, times
    the share of the activation they cost. With V views: `matrices` `[V, 2, 3]`, and of the filters
    `blur` `[V, K]`, the kernels, and `noise` `[V, C, H, W]`, to be added. In half precision `scale`
    `[1]`: so much larger is the gradient on its way back.
    Outputs: the next state of every row, `activation` `[N]` before the step and `gradient_norm`
    `[N]`.
    """
    op, state = begin(spec, target=target)
    parameters, step = state[0], _per_row(op, spec, "step")
    image = image_of(op, spec, parameters)
    tensors = look(op, spec, _seen(op, spec, image))
    weights = weights_of(op, spec)
    activation = activation_of(op, spec, tensors, weights, views=max(spec.views, 1))
    score = _score(op, spec, activation, image)
    ones = op.const(np.ones(spec.rows), np.float32)
    seed = scale = rows_of(op, spec, "scale", (1,)) if target.half else ones
    besides = _besides(op, spec, tensors, weights[0])
    if besides:
        slope = differentiate(op, output=score, wrt=activation, cotangent=seed, rules=RULES)
        worth = op.Abs(op.Mul(activation, slope))
        score = op.Concat(score, *(value for value, _ in besides), axis=0)
        seed = op.Concat(seed, *(op.Mul(worth, share) for _, share in besides), axis=0)
    rules = REDIRECTED if spec.redirect else RULES
    pull = differentiate(op, output=score, wrt=image, cotangent=seed, rules=rules)
    if target.half:
        pull = op.Div(pull, op.Reshape(scale, [-1, 1, 1, 1]))
    gradient = differentiate(op, output=image, wrt=parameters, cotangent=pull, rules=RULES)
    norm = _row_norm(op, gradient)
    optimizer = OPTIMIZERS[spec.optimizer]
    count = optimizer.state_count + 1
    slope = gradient if optimizer.is_plain else _unit_rms(op, gradient, norm)
    direction, moments = optimizer.update(op, parameters, slope, state[1:count], step)
    moved = op.Add(parameters, op.Mul(_per_row(op, spec, "learning_rate"), direction))
    for name in spec.constraints:
        moved = CONSTRAINTS[name](op, moved, gradient, _per_row(op, spec, f"constraint_{name}"))
    opacity = [op.Add(before, _strength(op, pull)) for before in state[count:]]
    moved_on = zip((moved, *moments, *opacity), spec.state_shapes, strict=True)
    return op.graph.to_parts(
        [
            *(row for value, name in moved_on for row in apart(op, spec, value, f"next_{name}")),
            named(op, activation, "activation"),
            named(op, op.Reshape(norm, [spec.rows]), "gradient_norm"),
        ]
    )


def _seen(op: Emitter, spec: ProgramSpec, image: Value) -> Value:
    """The views `[N·V, C, height, width]` that the model is shown."""
    if not spec.views:
        return image
    size = spec.seen_px
    matrices = rows_of(op, spec, "matrices", (spec.views, 2, 3))
    seen = emit_view(op, per_view(op, image, spec.views), matrices, *size, turned=spec.turned)
    if "blur" in spec.filters:
        length = 2 * blur_reach(min(size)) + 1
        kernels = rows_of(op, spec, "blur", (spec.views, length))
        seen = emit_blur(op, seen, kernels)
    if "noise" in spec.filters:
        shape = (spec.views, spec.image.channels, *size)
        seen = op.Add(seen, rows_of(op, spec, "noise", shape))
    return seen


def _score(op: Emitter, spec: ProgramSpec, activation: Value, image: Value) -> Value:
    """What the gradient climbs: the activation, or how near it is to the target; less penalties."""
    score = activation
    if spec.targeted:
        gap = op.Sub(score, rows_of(op, spec, "target", (1,)))
        score = op.Neg(op.Mul(gap, gap))
    centred = op.Sub(image, 0.5)
    for name in spec.penalties:
        strength = rows_of(op, spec, f"penalty_{name}", (1,))
        score = op.Sub(score, op.Mul(strength, PENALTIES[name](op, centred)))
    return score


def _besides(
    op: Emitter, spec: ProgramSpec, tensors: Tensors, weights: Value
) -> list[tuple[Value, Value]]:
    """What is climbed besides the score `[N]`, and how steeply `[N]`, in worths of the activation.

    Its worth is what it adds to the score as it stands: at first there is hardly any, and what the
    unit prefers comes before anything else.
    """
    besides = []
    if spec.unlike is not None:
        less = op.const(-np.ones(spec.rows), np.float32)
        besides.append((_likeness(op, spec, spec.unlike, tensors), less))
    if spec.selective:
        more = rows_of(op, spec, "selectivity", (1,))
        besides.append((_distinction(op, spec, tensors, weights), more))
    if spec.features is not None:
        less = op.Neg(rows_of(op, spec, "purity", (1,)))
        besides.append((_response(op, spec, spec.features, tensors), less))
    return besides


def _likeness(op: Emitter, spec: ProgramSpec, layer: Layer, tensors: Tensors) -> Value:
    """How much of the textures to keep away from is in what the model sees `[N]`."""
    views = max(spec.views, 1)
    avoided = rows_of(op, spec, "unlike", (1, layer.unit_count**2))
    found = texture(op, tensor_of(op, tensors, layer.tensor, spec.rows * views), layer)
    return over_views(op, dot(op, found, per_view(op, avoided, views)), views)


def _distinction(op: Emitter, spec: ProgramSpec, tensors: Tensors, weights: Value) -> Value:
    """How far the first term's unit stands out in its layer `[N]`: log ρ of its correlation ρ.

    With a selectivity of s the gradient has the direction of that of activation · ρˢ.
    """
    views, layer = max(spec.views, 1), spec.terms[0].layer
    found = tensor_of(op, tensors, layer.tensor, spec.rows * views)
    return over_views(op, log_correlation(op, found, per_view(op, weights, views), layer), views)


def _response(op: Emitter, spec: ProgramSpec, layer: Layer, tensors: Tensors) -> Value:
    """How strongly the features respond, whatever they say `[N]`: the log of their norm.

    With a purity of p the gradient has the direction of that of activation / normᵖ.
    """
    views = max(spec.views, 1)
    found = tensor_of(op, tensors, layer.tensor, spec.rows * views)
    return over_views(op, log_response(op, found, layer), views)


def _per_row(op: Emitter, spec: ProgramSpec, name: str) -> Value:
    """An input of one number a row, shaped to multiply the parameters."""
    rank = len(spec.state_shapes["parameters"])
    return op.Reshape(rows_of(op, spec, name, (1,)), [-1, *[1] * (rank - 1)])


def _strength(op: Emitter, pull: Value) -> Value:
    """How much each pixel matters: mean |gradient| over its channels `[N, 1, H, W]`."""
    return op.ReduceMean(op.Abs(pull), [1], keepdims=1)


def _row_norm(op: Emitter, gradient: Value) -> Value:
    flat = op.Flatten(gradient, axis=1)
    return op.Reshape(op.Sqrt(dot(op, flat, flat)), [-1, *[1] * (gradient.rank - 1)])


def _unit_rms(op: Emitter, gradient: Value, norm: Value) -> Value:
    """The gradient scaled to a root mean square of 1 per row; zero stays zero."""
    size = float(np.prod([int(dim) for dim in (gradient.shape or ())[1:]]))
    return op.Mul(gradient, op.Div(float(np.sqrt(size)), op.Max(norm, _SMALLEST_NORM)))
