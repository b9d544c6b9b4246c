"""The graphs of a finished picture: how it is shown, and what the model makes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import onnx

from unitscope.ascent.forward import (
    activation_of,
    begin,
    image_of,
    look,
    named,
    rows_of,
    tensor_of,
    weights_of,
)
from unitscope.ascent.objectives import elements, means, texture
from unitscope.ascent.parameterizations import ImageSpec
from unitscope.ascent.spec import ProgramSpec, TermSpec
from unitscope.ascent.transforms import emit_view
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Parts, Value
from unitscope.graph.layers import Layer
from unitscope.graph.lower import emitter_for

_SMALLEST_VARIANCE = 1e-30


def build_render(spec: ProgramSpec) -> Parts:
    """Inputs `parameters` and the prior; outputs `picture` `[N, C, H, W]`, uint8, and `image`.

    The image, in 0..1, is the picture before it is rounded.
    """
    op, state = begin(spec, 1)
    image = image_of(op, spec, state[0])
    if spec.stretched:
        image = op.Add(op.Mul(_unit_deviation(op, image), 0.1), 0.5)
    image = op.Clip(image, 0.0, 1.0)
    picture = op.Cast(op.Round(op.Mul(image, 255.0)), to=onnx.TensorProto.UINT8)
    return op.graph.to_parts([named(op, picture, "picture"), named(op, image, "image")])


def build_judge(spec: ProgramSpec) -> Parts:
    """What the model makes of a finished picture, without transforms.

    Inputs `picture` `[N, C, H, W]`, uint8, and `weights_i` `[N, K]` of each term. Outputs:
    `activation` `[N]`, `scores` `[N, K]` of the first term's units (its elements, for a neuron) and
    `logits` `[N, classes]`.
    """
    op = emitter_for(spec.subject.model)
    tensors = look(op, spec, _whole(op, spec))
    first = spec.terms[0]
    found = tensor_of(op, tensors, first.layer.tensor, spec.rows)
    neurons = first.objective == "neuron"
    scores = elements(op, found) if neurons else means(op, found, first.layer)
    activation = activation_of(op, spec, tensors, weights_of(op, spec), views=1)
    logits = op.Reshape(tensor_of(op, tensors, spec.logits, spec.rows), [spec.rows, -1])
    return op.graph.to_parts(
        [
            named(op, activation, "activation"),
            named(op, scores, "scores"),
            named(op, logits, "logits"),
        ]
    )


def build_reference(spec: ProgramSpec, term: TermSpec) -> Parts:
    """The weights that an image of the model's size gives to a term: `picture` → `[N, K]`."""
    op = emitter_for(spec.subject.model)
    spec = replace(spec, image=ImageSpec(spec.image.channels, *spec.seen_px))
    tensors = look(op, spec, _whole(op, spec))
    return op.graph.to_parts([elements(op, tensor_of(op, tensors, term.layer.tensor, spec.rows))])


def build_texture(spec: ProgramSpec, layer: Layer) -> Parts:
    """An image of the model's size, to keep away from it: `picture` → its `texture` in `layer`."""
    op = emitter_for(spec.subject.model)
    spec = replace(spec, image=ImageSpec(spec.image.channels, *spec.seen_px))
    tensors = look(op, spec, _whole(op, spec))
    return op.graph.to_parts([texture(op, tensor_of(op, tensors, layer.tensor, spec.rows), layer)])


def _whole(op: Emitter, spec: ProgramSpec) -> Value:
    """The input `picture` as it is, fitted to the model's size."""
    picture = rows_of(op, spec, "picture", (1, *spec.image.shape), np.uint8)
    image = op.Div(op.Cast(picture, to=onnx.TensorProto.FLOAT), 255.0)
    if spec.seen_px == (spec.image.height_px, spec.image.width_px):
        return image
    identity = op.const(np.tile(np.eye(2, 3), (spec.rows, 1, 1)), np.float32)
    return emit_view(op, image, identity, *spec.seen_px, turned=False)


def _unit_deviation(op: Emitter, image: Value) -> Value:
    """Each row with a mean of 0 and a standard deviation of 1."""
    centred = op.Sub(image, op.ReduceMean(image, _row_axes(image), keepdims=1))
    variance = op.ReduceMean(op.Mul(centred, centred), _row_axes(image), keepdims=1)
    return op.Div(centred, op.Sqrt(op.Max(variance, _SMALLEST_VARIANCE)))


def _row_axes(value: Value) -> Sequence[int]:
    return list(range(1, value.rank))
