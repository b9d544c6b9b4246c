"""From a file to a model that can be climbed."""

from __future__ import annotations

import functools
import hashlib
import json
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
from unitscope.engine.layout import ModelFiles, files_at
from unitscope.engine.loaded import LoadedModel, ModelInfo
from unitscope.engine.mapping import MappedWeights
from unitscope.engine.plain import to_plain
from unitscope.engine.request import Preprocessing
from unitscope.engine.session import Session
from unitscope.engine.triton_config import InputConfig
from unitscope.errors import ModelRejected
from unitscope.graph.card import Card, infer_card, load_card
from unitscope.graph.inputs import declared_shape, declared_type, image_input
from unitscope.graph.ir import Shape, downstream
from unitscope.graph.labels import labels_among, labels_in
from unitscope.graph.layers import Layer, catalogue, find_layer
from unitscope.graph.logits import find_logits
from unitscope.graph.lower import emitter_for
from unitscope.graph.model import Model, digest, load
from unitscope.graph.normalization import find_normalization

DEFAULT_MODEL = "squeezenet1_1"


def load_model(source: Path | ModelFiles) -> LoadedModel:
    """Load, lower and catalogue the model at `source`, and see which layers can be climbed.

    Raises ModelRejected, naming node and operator, if the scores cannot be computed or no layer
    has a gradient, or if its files changed meanwhile: then what was read may belong to two models.
    """
    files = source if isinstance(source, ModelFiles) else files_at(source)
    before = files.stamp()
    model = _load(files)
    if files.stamp() != before:
        raise ModelRejected(f"the files of {files.name!r} changed while they were read")
    return model


def _load(files: ModelFiles) -> LoadedModel:
    if files.problem:
        raise ModelRejected(files.problem)
    content, directory = _content(files.path), files.path.parent
    model = load(content, directory)
    weights = MappedWeights(model.weights)
    model = replace(model, weights=weights)
    sha256 = digest(content, directory)
    subject = subject_of(sha256, model, _card(files, sha256, model))
    found = _analyse(subject)
    count = find_layer(found.layers, found.logits).unit_count
    card = subject.card
    if card.labels and len(card.labels) != count:
        raise ModelRejected(
            f"the card of {files.name!r} has {len(card.labels)} labels for {count} classes"
        )
    noted = labels_in(model.metadata)
    labels = card.labels or (
        noted if len(noted) == count else labels_among(files.label_files(), count)
    )
    info = ModelInfo(
        name=files.name,
        version=files.version,
        title=card.title or files.name,
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
        fingerprint=_fingerprint(subject.sha256, replace(card, labels=labels)),
    )
    weights.let_go()
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


def _fingerprint(sha256: str, card: Card) -> str:
    """SHA-256 of the file's and of what its card says, labels included."""
    content = json.dumps([sha256, to_plain(card)], sort_keys=True, default=str)
    return hashlib.sha256(content.encode()).hexdigest()


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


def _content(path: Path) -> bytes:
    """Read once, so that the digest is that of what was loaded."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelRejected(f"cannot read the model: {error}") from error


def _card(files: ModelFiles, sha256: str, model: Model) -> Card:
    """The card of the model, or one inferred from its graph and from Triton's configuration.

    A copy of the embedded model without a card of its own has the embedded card.
    """
    card = files.card()
    if card is not None:
        return load_card(card)
    embedded = embedded_model()
    if sha256 == digest(embedded):
        return load_card(embedded.with_suffix(".toml"))
    declared = image_input(model)
    said = _said_of(files, declared.name)
    return infer_card(
        _filled(declared_shape(declared), said.dims),
        _declared_classes(model),
        layout=said.layout,
        span=_span(model, declared),
    )


def _said_of(files: ModelFiles, name: str) -> InputConfig:
    """What Triton's configuration says of an input, if anything."""
    inputs = () if files.config is None else files.config.inputs
    return next((said for said in inputs if said.name == name), InputConfig(name, ()))


def _filled(shape: Shape, dims: tuple[int, ...]) -> Shape:
    """`shape`, with sizes from `dims`, those of its last axes, where it leaves them open."""
    known = (-1,) * (len(shape) - len(dims)) + dims[-len(shape) :]
    return tuple(
        dim if isinstance(size, str) and dim > 0 else size
        for size, dim in zip(shape, known, strict=True)
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
