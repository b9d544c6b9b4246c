"""From a file to a model that can be climbed."""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx

from unitscope.ascent.subject import (
    Subject,
    build_forward,
    emit_subject,
    shapes_at_one,
    subject_of,
)
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import refusals
from unitscope.engine.executor import Session
from unitscope.engine.loaded import LoadedModel, ModelInfo
from unitscope.engine.request import Preprocessing
from unitscope.errors import ModelRejected
from unitscope.graph.card import Card, infer_card, load_card
from unitscope.graph.inputs import declared_shape, declared_type, image_input
from unitscope.graph.ir import downstream
from unitscope.graph.labels import labels_beside, labels_in
from unitscope.graph.layers import Layer, catalogue, find_layer
from unitscope.graph.logits import find_logits
from unitscope.graph.lower import emitter_for
from unitscope.graph.model import Model, digest, load
from unitscope.graph.normalization import find_normalization

DEFAULT_MODEL = "squeezenet1_1"


def load_model(path: Path) -> LoadedModel:
    """Load, lower and catalogue the model at `path`, and see which layers can be climbed.

    Raises ModelRejected, naming node and operator, if the scores cannot be computed or no layer
    has a gradient.
    """
    model = load(path)
    subject = subject_of(digest(path), model, _card(path, model))
    found = _analyse(subject)
    count = find_layer(found.layers, found.logits).unit_count
    card = subject.card
    if card.labels and len(card.labels) != count:
        raise ModelRejected(
            f"the card of {path.stem!r} has {len(card.labels)} labels for {count} classes"
        )
    noted = labels_in(model.metadata)
    labels = card.labels or (noted if len(noted) == count else labels_beside(path, count))
    info = ModelInfo(
        name=path.stem,
        title=card.title or path.stem,
        license=card.license,
        source=card.source,
        sha256=subject.sha256,
        class_count=count,
        logits_tensor=found.logits,
        preprocessing=_preprocessing(card),
        layer_count=len(found.layers),
        labels_known=bool(labels),
        batchable=_treats_rows_alike(found.subject, found.logits),
        resizable=_takes_any_size(subject, found.logits),
    )
    return LoadedModel(info, found.subject, found.layers, labels, found.after_logits)


@functools.lru_cache(maxsize=8)
def resized(model: LoadedModel, height_px: int, width_px: int) -> LoadedModel:
    """A resizable model, for pictures of another size; its layers change their shapes."""
    card = replace(model.subject.card, height_px=height_px, width_px=width_px)
    if card == model.subject.card:
        return model
    found = _analyse(subject_of(model.subject.sha256, model.subject.model, card))
    info = replace(model.info, preprocessing=_preprocessing(card))
    return replace(model, info=info, subject=found.subject, layers=found.layers)


@dataclass(frozen=True, slots=True)
class _Analysis:
    """What lowering a model shows of it. `subject` knows the shapes of its tensors."""

    subject: Subject
    layers: tuple[Layer, ...]
    logits: str
    after_logits: frozenset[str]


def _analyse(subject: Subject) -> _Analysis:
    op, model = emitter_for(subject.model), subject.model
    image = op.graph.add_input(subject.image, subject.input_type, (1, *subject.input_shape))
    tensors = emit_subject(op, subject, image)
    nodes = list(op.graph.nodes)
    logits = find_logits(model, tensors, nodes)
    refused = refusals(op, wrt=image, rules=RULES)
    layers = tuple(
        replace(
            layer,
            kind="logits" if layer.tensor == logits.name else layer.kind,
            refusal=str(refused.get(tensors[layer.tensor], "")),
        )
        for layer in catalogue(model, tensors, nodes, image, channel_axis=_channel_axis(subject))
    )
    if logits.name not in {layer.tensor for layer in layers}:
        raise ModelRejected(f"the scores {logits.name!r} do not depend on the image")
    if all(layer.refusal for layer in layers):
        raise refused[logits]
    after = frozenset(value.name for value in downstream(nodes, logits) - {logits})
    shaped = replace(subject, shapes=shapes_at_one(tensors))
    return _Analysis(shaped, layers, logits.name, after)


def _preprocessing(card: Card) -> Preprocessing:
    return Preprocessing(
        card.layout, card.channels, card.height_px, card.width_px,
        card.low, card.high, card.mean, card.std, card.inferred,
    )  # fmt: skip


def _takes_any_size(subject: Subject, logits: str) -> bool:
    """Whether height and width are open, and stay so up to the scores."""
    declared = declared_shape(image_input(subject.model, subject.card.image))
    if sum(isinstance(dim, str) for dim in declared[1:]) < 2:
        return False
    card = subject.card
    larger = replace(card, height_px=2 * card.height_px, width_px=2 * card.width_px)
    try:
        shapes = [
            [dim.dim_value for dim in output.type.tensor_type.shape.dim]
            for one in (subject, subject_of(subject.sha256, subject.model, larger))
            for output in build_forward(one, 1, [logits]).model.graph.output
        ]
    except ModelRejected:
        return False
    return shapes[0] == shapes[1]


def _treats_rows_alike(subject: Subject, logits: str) -> bool:
    """Whether two pictures in one run give what two runs give: constants may know one row only.

    Raises ModelRejected where ONNX Runtime cannot run even one.
    """
    shape = (2, len(subject.card.channels), subject.card.height_px, subject.card.width_px)
    pictures = np.random.default_rng(0).random(shape, np.float32)
    alone = Session(build_forward(subject, 1, [logits]))
    single = [alone.run(row[None])[0][0] for row in pictures]
    try:
        (both,) = Session(build_forward(subject, 2, [logits])).run(pictures)
    except ModelRejected:
        return False
    close = both.shape[0] >= 2 and np.allclose(both[:2], single, rtol=1e-3, atol=1e-4)
    return bool(close)


def _channel_axis(subject: Subject) -> int:
    return len(subject.input_shape) if subject.card.layout == "NHWC" else 1


def _card(path: Path, model: Model) -> Card:
    """The card beside the model, or an inferred one.

    A copy of the embedded model without a card of its own has the embedded card.
    """
    beside = path.with_suffix(".toml")
    if beside.is_file():
        return load_card(beside)
    embedded = embedded_model()
    if digest(path) == digest(embedded):
        return load_card(embedded.with_suffix(".toml"))
    declared = image_input(model)
    return infer_card(
        declared_shape(declared), _declared_classes(model), span=_span(model, declared)
    )


def _span(model: Model, image: onnx.ValueInfoProto) -> float | None:
    """The largest value of a picture, if the model shows that it normalizes by itself."""
    if declared_type(image).kind in "iu":
        return 255.0
    normalization = find_normalization(model, image.name)
    return normalization.span if normalization else None


def _declared_classes(model: Model) -> int:
    """The largest size an output declares: a guess at the number of classes."""
    dims = [
        dim.dim_value for output in model.graph.output for dim in output.type.tensor_type.shape.dim
    ]
    return max(dims, default=0)


def embedded_model() -> Path:
    """The model that comes with the package."""
    return Path(str(resources.files("unitscope") / "data" / f"{DEFAULT_MODEL}.onnx"))
