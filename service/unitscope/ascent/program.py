"""Programs: the graphs that climb, show and judge, written forwards and differentiated once.

A program is everything that requests have in common (model, layers, image size, kinds of
objective, parameterization, regularizers and optimizer); what differs between requests is a row of
its inputs.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import onnx
from numpy.typing import DTypeLike

from unitscope.ascent.blur import emit_blur
from unitscope.ascent.fourier import half_shape
from unitscope.ascent.objectives import OBJECTIVES, dot, elements, means, texture
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.subject import Subject, emit_subject, first_rows, fit, port
from unitscope.ascent.transforms import blur_reach, emit_view
from unitscope.autodiff.rules import REDIRECTED, RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Parts, Value
from unitscope.graph.layers import Layer
from unitscope.graph.lower import emitter_for
from unitscope.graph.tensors import Tensors

_SMALLEST_NORM = 1e-30
"""Gradients below count as zero; the largest image's √size divided by it is still finite."""


@dataclass(frozen=True, slots=True)
class TermSpec:
    """A summand of what is climbed: an objective of a layer, by a row of weights."""

    layer: Layer
    objective: str = "channel"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgramSpec:
    """What decides the graphs of a program; equal specs share one.

    `logits`: the tensor that holds the model's scores of its classes. `terms`: the first is the
    one whose units are ranked. `views`: so many random looks at the image in every step; 0: the
    model sees the image itself, which then has its size. `filters`: "blur" and "noise" of a view.
    `targeted`: the activation is brought to a number, not to the highest. `unlike`: the layer in
    which the picture keeps away from the texture of others. `transparent`: it is added up how much
    each pixel mattered. `stretched`: pictures are
    shown with a standard deviation of 0.1 around mid-grey. `redirect`: dead ReLUs
    let through what wakes them.
    """

    subject: Subject
    logits: str
    terms: tuple[TermSpec, ...]
    image: ImageSpec
    parameterization: str = "fourier"
    optimizer: str = "adam"
    views: int = 1
    filters: tuple[str, ...] = ()
    penalties: tuple[str, ...] = ()
    constraints: tuple[str, ...] = ()
    targeted: bool = False
    unlike: Layer | None = None
    transparent: bool = False
    stretched: bool = False
    redirect: bool = False
    rows: int = 1

    @property
    def state_shapes(self) -> dict[str, tuple[int, ...]]:
        """Inputs of the step that its outputs ``next_…`` replace, of one row: `parameters`
        `[1, *shape]` first, the optimizer's `moment_…` of the same shape, and `opacity`
        `[1, 1, H, W]` if there is one.
        """
        count = OPTIMIZERS[self.optimizer].state_count
        names = ("parameters", *(f"moment_{index + 1}" for index in range(count)))
        own = (1, *PARAMETERIZATIONS[self.parameterization].shape(self.image))
        shapes: dict[str, tuple[int, ...]] = dict.fromkeys(names, own)
        if self.transparent:
            shapes["opacity"] = (1, 1, *self.image.shape[1:])
        return shapes

    @property
    def prior_shapes(self) -> dict[str, tuple[int, ...]]:
        """The inputs of a prior, of one row: `colors` `[C, C]`, `magnitudes` `[C, *half_shape]`."""
        channels, *size = self.image.shape
        shapes: dict[str, tuple[int, ...]] = {"colors": (channels, channels)}
        if PARAMETERIZATIONS[self.parameterization].has_spectrum:
            shapes["magnitudes"] = (channels, *half_shape(*size))
        return shapes

    @property
    def shown(self) -> ProgramSpec:
        """What of it decides how one picture is shown."""
        return ProgramSpec(
            subject=self.subject,
            logits="",
            terms=(),
            image=self.image,
            parameterization=self.parameterization,
            stretched=self.stretched,
        )

    @property
    def judged(self) -> ProgramSpec:
        """What of it decides how one picture is judged."""
        return ProgramSpec(
            subject=self.subject, logits=self.logits, terms=self.terms, image=self.image
        )

    @property
    def seen_px(self) -> tuple[int, int]:
        """Height and width of what the model sees."""
        return self.subject.card.height_px, self.subject.card.width_px


def build_step(spec: ProgramSpec) -> Parts:
    """One step upwards of N rows.

    Every row has inputs of its own (see `port`), so that requests come and go between steps: the
    state, the prior (see `prior_shapes`), `weights_i` `[1, K]` of each term, `step` `[1]` from 1,
    `learning_rate` `[1]`; `target` `[1]` if targeted; `penalty_…` and `constraint_…` `[1]`, the
    strengths of the regularizers; `unlike` `[1, units²]` if there is such a layer: the textures to
    keep away from, times the share of the activation they cost. With V views: `matrices`
    `[V, 2, 3]`, and of the filters `blur` `[V, K]`, the kernels, and `noise` `[V, C, H, W]`, to be
    added.
    Outputs: the next state of every row, `activation` `[N]` before the step and `gradient_norm`
    `[N]`.
    """
    op, state = _begin(spec)
    parameters, step = state[0], _per_row(op, spec, "step")
    image = _image(op, spec, parameters)
    tensors = _look(op, spec, _seen(op, spec, image))
    activation = _activation(op, spec, tensors, views=max(spec.views, 1))
    score = _score(op, spec, activation, image)
    seed = op.const(np.ones(spec.rows), np.float32)
    if spec.unlike is not None:
        slope = differentiate(op, output=score, wrt=activation, cotangent=seed, rules=RULES)
        worth = op.Abs(op.Mul(activation, slope))
        score = op.Concat(score, _likeness(op, spec, spec.unlike, tensors), axis=0)
        seed = op.Concat(seed, op.Neg(worth), axis=0)
    rules = REDIRECTED if spec.redirect else RULES
    pull = differentiate(op, output=score, wrt=image, cotangent=seed, rules=rules)
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
            *(row for value, name in moved_on for row in _apart(op, spec, value, f"next_{name}")),
            _named(op, activation, "activation"),
            _named(op, op.Reshape(norm, [spec.rows]), "gradient_norm"),
        ]
    )


def build_render(spec: ProgramSpec) -> Parts:
    """Inputs `parameters` and the prior; outputs `picture` `[N, C, H, W]`, uint8, and `image`.

    The image, in 0..1, is the picture before it is rounded.
    """
    op, state = _begin(spec, 1)
    image = _image(op, spec, state[0])
    if spec.stretched:
        image = op.Add(op.Mul(_unit_deviation(op, image), 0.1), 0.5)
    image = op.Clip(image, 0.0, 1.0)
    picture = op.Cast(op.Round(op.Mul(image, 255.0)), to=onnx.TensorProto.UINT8)
    return op.graph.to_parts([_named(op, picture, "picture"), _named(op, image, "image")])


def build_judge(spec: ProgramSpec) -> Parts:
    """What the model makes of a finished picture, without transforms.

    Inputs `picture` `[N, C, H, W]`, uint8, and `weights_i` `[N, K]` of each term. Outputs:
    `activation` `[N]`, `scores` `[N, K]` of the first term's units (its elements, for a neuron) and
    `logits` `[N, classes]`.
    """
    op = emitter_for(spec.subject.model)
    tensors = _look(op, spec, _whole(op, spec))
    first = spec.terms[0]
    found = _tensor(op, tensors, first.layer.tensor, spec.rows)
    neurons = first.objective == "neuron"
    scores = elements(op, found) if neurons else means(op, found, first.layer)
    logits = op.Reshape(_tensor(op, tensors, spec.logits, spec.rows), [spec.rows, -1])
    return op.graph.to_parts(
        [
            _named(op, _activation(op, spec, tensors, views=1), "activation"),
            _named(op, scores, "scores"),
            _named(op, logits, "logits"),
        ]
    )


def build_reference(spec: ProgramSpec, term: TermSpec) -> Parts:
    """The weights that an image of the model's size gives to a term: `picture` → `[N, K]`."""
    op = emitter_for(spec.subject.model)
    spec = replace(spec, image=ImageSpec(spec.image.channels, *spec.seen_px))
    tensors = _look(op, spec, _whole(op, spec))
    return op.graph.to_parts([elements(op, _tensor(op, tensors, term.layer.tensor, spec.rows))])


def build_texture(spec: ProgramSpec, layer: Layer) -> Parts:
    """An image of the model's size, to keep away from it: `picture` → its `texture` in `layer`."""
    op = emitter_for(spec.subject.model)
    spec = replace(spec, image=ImageSpec(spec.image.channels, *spec.seen_px))
    tensors = _look(op, spec, _whole(op, spec))
    return op.graph.to_parts([texture(op, _tensor(op, tensors, layer.tensor, spec.rows), layer)])


def _begin(spec: ProgramSpec, count: int | None = None) -> tuple[Emitter, list[Value]]:
    """An emitter, and the first `count` of the state's inputs."""
    op = emitter_for(spec.subject.model)
    shapes = list(spec.state_shapes.items())[:count]
    return op, [_rows(op, spec, name, shape) for name, shape in shapes]


def _rows(
    op: Emitter, spec: ProgramSpec, name: str, shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Value:
    """An input of `shape` for every row, one below the other."""
    rows = [op.graph.add_input(port(name, row), dtype, shape) for row in range(spec.rows)]
    return op.Concat(*rows, axis=0) if len(rows) > 1 else rows[0]


def _apart(op: Emitter, spec: ProgramSpec, value: Value, name: str) -> list[Value]:
    """An output for every row of `value`."""
    if spec.rows == 1:
        return [_named(op, value, name)]
    sizes = op.const([1] * spec.rows, np.int64)
    rows = op.emit("Split", [value, sizes], {"axis": 0}, outputs=spec.rows)
    return [_named(op, one, name, row) for row, one in enumerate(rows)]


def _image(op: Emitter, spec: ProgramSpec, parameters: Value) -> Value:
    prior = {name: _rows(op, spec, name, (1, *shape)) for name, shape in spec.prior_shapes.items()}
    return PARAMETERIZATIONS[spec.parameterization].emit(op, parameters, prior, spec.image)


def _seen(op: Emitter, spec: ProgramSpec, image: Value) -> Value:
    """The views `[N·V, C, height, width]` that the model is shown."""
    if not spec.views:
        return image
    size = spec.seen_px
    matrices = _rows(op, spec, "matrices", (spec.views, 2, 3))
    seen = emit_view(op, _per_view(op, image, spec.views), matrices, *size)
    if "blur" in spec.filters:
        length = 2 * blur_reach(min(size)) + 1
        kernels = _rows(op, spec, "blur", (spec.views, length))
        seen = emit_blur(op, seen, kernels)
    if "noise" in spec.filters:
        shape = (spec.views, spec.image.channels, *size)
        seen = op.Add(seen, _rows(op, spec, "noise", shape))
    return seen


def _whole(op: Emitter, spec: ProgramSpec) -> Value:
    """The input `picture` as it is, fitted to the model's size."""
    picture = _rows(op, spec, "picture", (1, *spec.image.shape), np.uint8)
    image = op.Div(op.Cast(picture, to=onnx.TensorProto.FLOAT), 255.0)
    if spec.seen_px == (spec.image.height_px, spec.image.width_px):
        return image
    identity = op.const(np.tile(np.eye(2, 3), (spec.rows, 1, 1)), np.float32)
    return emit_view(op, image, identity, *spec.seen_px)


def _look(op: Emitter, spec: ProgramSpec, seen: Value) -> Tensors:
    """Show `seen` `[M, C, height, width]` in 0..1 to the model."""
    ready = emit_preprocessing(op, seen, spec.subject.card)
    return emit_subject(op, spec.subject, fit(op, spec.subject, ready))


def _tensor(op: Emitter, tensors: Tensors, name: str, rows: int) -> Value:
    """The first `rows` of a tensor of the model, in single precision."""
    value = first_rows(op, tensors[name], rows)
    return value if value.dtype == np.float32 else op.Cast(value, to=onnx.TensorProto.FLOAT)


def _activation(op: Emitter, spec: ProgramSpec, tensors: Tensors, *, views: int) -> Value:
    """The sum of the terms `[N]`, the mean over the views of each row."""
    values = []
    for index, term in enumerate(spec.terms):
        objective = OBJECTIVES[term.objective]
        weights = _rows(op, spec, f"weights_{index}", (1, objective.size(term.layer)))
        activation = _tensor(op, tensors, term.layer.tensor, spec.rows * views)
        values.append(objective.emit(op, activation, _per_view(op, weights, views), term.layer))
    total = values[0]
    for value in values[1:]:
        total = op.Add(total, value)
    return _over_views(op, total, views)


def _over_views(op: Emitter, values: Value, views: int) -> Value:
    """The mean over the views of each row: `[N·V]` → `[N]`."""
    if views == 1:
        return values
    return op.ReduceMean(op.Reshape(values, [-1, views]), [1], keepdims=0)


def _per_view(op: Emitter, value: Value, views: int) -> Value:
    """Each row of `value` `[N, …]` once per view: `[N·V, …]`."""
    if views == 1:
        return value
    rows, *shape = (int(dim) for dim in value.shape or ())
    repeated = op.Expand(op.Unsqueeze(value, [1]), [rows, views, *shape])
    return op.Reshape(repeated, [rows * views, *shape])


def _score(op: Emitter, spec: ProgramSpec, activation: Value, image: Value) -> Value:
    """What the gradient climbs: the activation, or how near it is to the target; less penalties."""
    score = activation
    if spec.targeted:
        gap = op.Sub(score, _rows(op, spec, "target", (1,)))
        score = op.Neg(op.Mul(gap, gap))
    centred = op.Sub(image, 0.5)
    for name in spec.penalties:
        strength = _rows(op, spec, f"penalty_{name}", (1,))
        score = op.Sub(score, op.Mul(strength, PENALTIES[name](op, centred)))
    return score


def _likeness(op: Emitter, spec: ProgramSpec, layer: Layer, tensors: Tensors) -> Value:
    """How much of the textures to keep away from is in what the model sees `[N]`.

    It is climbed down, times the activation as it stands: at first there is hardly any, and what
    the unit prefers comes before what is different.
    """
    views = max(spec.views, 1)
    avoided = _rows(op, spec, "unlike", (1, layer.unit_count**2))
    found = texture(op, _tensor(op, tensors, layer.tensor, spec.rows * views), layer)
    return _over_views(op, dot(op, found, _per_view(op, avoided, views)), views)


def _per_row(op: Emitter, spec: ProgramSpec, name: str) -> Value:
    """An input of one number a row, shaped to multiply the parameters."""
    rank = len(spec.state_shapes["parameters"])
    return op.Reshape(_rows(op, spec, name, (1,)), [-1, *[1] * (rank - 1)])


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


def _unit_deviation(op: Emitter, image: Value) -> Value:
    """Each row with a mean of 0 and a standard deviation of 1."""
    centred = op.Sub(image, op.ReduceMean(image, _row_axes(image), keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), _row_axes(image), keepdims=1)
    return op.Div(centred, op.Sqrt(op.Max(variance, _SMALLEST_NORM)))


def _row_axes(value: Value) -> Sequence[int]:
    return list(range(1, value.rank))


def _named(op: Emitter, value: Value, name: str, row: int = 0) -> Value:
    (output,) = op.emit("Identity", [value], outputs=[port(name, row)])
    return output
