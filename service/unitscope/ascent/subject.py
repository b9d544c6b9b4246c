"""The subject of an ascent: a model with everything it takes to show it a picture."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto

from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.autodiff.rules import RULES
from unitscope.errors import ModelRejected
from unitscope.graph.card import Card
from unitscope.graph.emit import Emitter
from unitscope.graph.inputs import computed_type, declared_shape, declared_type, image_input
from unitscope.graph.ir import Parts, Value
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.model import Model
from unitscope.graph.rebatch import Shapes
from unitscope.graph.tensors import Tensors


def port(name: str, row: int = 0) -> str:
    """The name of a program's input or output; no tensor of a model is called so."""
    return f"unitscope/{name}/{row}" if row else f"unitscope/{name}"


@dataclass(frozen=True, slots=True, eq=False)
class Subject:
    """A model with its card.

    `input_shape`: of one picture as the model takes it, without the batch: `[C, H, W]`,
    `[H, W, C]`, or as many numbers in another shape. `input_type`: float32 or float64. `batch`:
    the number of rows it was exported for, 1 if that is open. `shapes`: of its tensors at batch 1.
    """

    sha256: str
    model: Model
    card: Card
    image: str
    input_shape: tuple[int, ...]
    input_type: np.dtype[Any]
    batch: int
    shapes: Shapes = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash(self.sha256)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Subject) and (self.sha256, self.card) == (other.sha256, other.card)


def subject_of(sha256: str, model: Model, card: Card) -> Subject:
    """Fit `model` and `card` together; raises ModelRejected naming what does not fit."""
    declared = image_input(model, card.image)
    batch, *shape = declared_shape(declared) or (1,)
    picture = _picture_shape(card)
    fitted: tuple[int, ...]
    if len(shape) == 3:
        fits = all(isinstance(d, str) or d == size for d, size in zip(shape, picture, strict=True))
        fitted = picture
    else:
        fitted = tuple(dim for dim in shape if isinstance(dim, int))
        fits = len(fitted) == len(shape) and np.prod(fitted) == np.prod(picture)
    if not fits:
        raise ModelRejected(
            f"the card says an image is {list(picture)} ({card.layout}), "
            f"the model takes {list(shape)}"
        )
    for other in model.graph.input:
        if other.name not in (declared.name, *card.constants):
            raise ModelRejected(
                f"the model has an input {other.name!r} besides its image: say what it holds, "
                "under [constants] in the card"
            )
    rows = batch if isinstance(batch, int) else 1
    return Subject(sha256, model, card, declared.name, fitted, computed_type(declared), rows)


def shapes_at_one(tensors: Tensors) -> Shapes:
    """The shapes of those tensors whose sizes are all known."""
    shapes = {name: tensors[name].static_shape for name in tensors}
    return {name: shape for name, shape in shapes.items() if shape is not None}


def build_forward(subject: Subject, rows: int, names: Sequence[str]) -> Parts:
    """The model as it is. Input `picture` `[rows, C, H, W]` in 0..1; outputs the tensors `names`.

    Tensors have the batch that the model was exported for, at least `rows`.
    """
    op = emitter_for(subject.model)
    card = subject.card
    shape = (rows, len(card.channels), card.height_px, card.width_px)
    picture = op.graph.add_input(port("picture"), np.float32, shape)
    tensors = emit_subject(op, subject, fit(op, subject, emit_preprocessing(op, picture, card)))
    return op.graph.to_parts([tensors[name] for name in names])


def fit(op: Emitter, subject: Subject, picture: Value) -> Value:
    """A prepared picture `[N, C, H, W]` or `[N, H, W, C]` in the shape and type the model takes, or
    in half precision where the graph's target asks for that.
    """
    if len(subject.input_shape) != 3:
        picture = op.Reshape(picture, [-1, *subject.input_shape])
    if op.graph.target.half:
        return op.Cast(picture, to=TensorProto.FLOAT16)
    return op.Cast(picture, to=TensorProto.DOUBLE) if subject.input_type == np.float64 else picture


def emit_subject(op: Emitter, subject: Subject, image: Value) -> Tensors:
    """Emit the model onto `image` `[N, *input_shape]`, its other inputs held constant.

    Its tensors have N rows, or those of a larger batch that it was exported for: the first N count.
    """
    rows = (image.static_shape or (1,))[0]
    if rows < subject.batch:
        image = op.Tile(image, [subject.batch // rows, *[1] * (image.rank - 1)])
        rows = subject.batch
    held = {name: op.const(content) for name, content in held_inputs(subject, rows).items()}
    return lower(
        op,
        subject.model,
        held | {subject.image: image},
        keep=RULES.__contains__,
        shapes=subject.shapes,
    )


def held_inputs(subject: Subject, rows: int) -> dict[str, np.ndarray]:
    """What the inputs besides the image hold, by name; raises ModelRejected for nonsense."""
    return {
        declared.name: _held(declared, subject.card.constants[declared.name], rows)
        for declared in subject.model.graph.input
        if declared.name != subject.image
    }


def first_rows(op: Emitter, value: Value, rows: int) -> Value:
    """The first `rows` of a tensor that may have more."""
    if (value.shape or ())[0] == rows:
        return value
    return op.Slice(value, [0], [rows], [0])


def _held(declared: onnx.ValueInfoProto, given: Any, rows: int) -> np.ndarray:
    """What an input other than the image holds, in its declared shape, open sizes as given."""
    try:
        content = np.asarray(given, declared_type(declared))
        shape = declared_shape(declared, is_image=False)
        own = (*[1] * (len(shape) - content.ndim), *content.shape)
        sizes = [
            have if isinstance(dim, str) else dim for dim, have in zip(shape, own, strict=True)
        ]
        if shape and isinstance(shape[0], str) and own[0] == 1:
            sizes[0] = rows
        return np.broadcast_to(content, sizes)
    except (ValueError, TypeError) as error:
        raise ModelRejected(f"card: constants.{declared.name}: {error}") from error


def _picture_shape(card: Card) -> tuple[int, int, int]:
    channels = len(card.channels)
    if card.layout == "NHWC":
        return card.height_px, card.width_px, channels
    return channels, card.height_px, card.width_px
