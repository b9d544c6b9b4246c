"""From a file to a model that can be climbed."""

from __future__ import annotations

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
from unitscope.engine.request import Preprocessing
from unitscope.errors import ModelRejected, NotFound
from unitscope.graph.card import Card, infer_card, load_card
from unitscope.graph.inputs import declared_shape, declared_type, image_input
from unitscope.graph.ir import Value, downstream
from unitscope.graph.labels import labels_beside, labels_in
from unitscope.graph.layers import Layer, catalogue, find_layer
from unitscope.graph.logits import find_logits
from unitscope.graph.lower import emitter_for, outputs_of
from unitscope.graph.model import Model, digest, load
from unitscope.graph.normalization import find_normalization

DEFAULT_MODEL = "squeezenet1_1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the catalogue says of a model. `error` tells why a file cannot be served, else "".

    `batchable`: pictures can share a run; else each has its own, since the file was exported for
    one and says so in places that could not be widened.
    """

    name: str
    title: str = ""
    license: str = ""
    source: str = ""
    sha256: str = ""
    class_count: int = 0
    logits_tensor: str = ""
    preprocessing: Preprocessing | None = None
    layer_count: int = 0
    labels_known: bool = False
    batchable: bool = False
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can be climbed.

    `labels`: one per class, or none. `after_logits`: tensors computed from the logits
    (probabilities); a request for one of them climbs the logits instead, since a probability also
    rises by pushing other classes down.
    """

    info: ModelInfo
    subject: Subject
    layers: tuple[Layer, ...]
    labels: tuple[str, ...]
    after_logits: frozenset[str]

    def find_layer(self, name: str = "") -> Layer:
        """The layer called `name` (tensor or friendly name; "" = logits).

        Raises NotFound, and ModelRejected for a layer without a gradient.
        """
        layer = find_layer(self.layers, name or self.info.logits_tensor)
        if layer.tensor in self.after_logits:
            layer = find_layer(self.layers, self.info.logits_tensor)
        if layer.refusal:
            raise ModelRejected(f"layer {layer.name!r} cannot be climbed: {layer.refusal}")
        return layer

    def find_unit(self, layer: Layer, unit: int | str) -> int:
        """The index of `unit`, given by index or, in the logits, by label; raises NotFound."""
        if isinstance(unit, int):
            if not 0 <= unit < layer.unit_count:
                raise NotFound(
                    f"unit of layer {layer.name!r}", unit, [f"0..{layer.unit_count - 1}"]
                )
            return unit
        if layer.tensor != self.info.logits_tensor or not self.labels:
            raise NotFound(
                f"label in layer {layer.name!r}", unit, [f"units 0..{layer.unit_count - 1}"]
            )
        folded = [label.casefold() for label in self.labels]
        if unit.casefold() not in folded:
            raise NotFound("label", unit, self.labels)
        return folded.index(unit.casefold())

    def label_of(self, layer: Layer, unit: int) -> str:
        """The label of a unit of the logits, or ""."""
        named = layer.tensor == self.info.logits_tensor and unit < len(self.labels)
        return self.labels[unit] if named else ""


def load_model(path: Path) -> LoadedModel:
    """Load, lower and catalogue the model at `path`, and see which layers can be climbed.

    Raises ModelRejected, naming node and operator, if the scores cannot be computed or no layer
    has a gradient.
    """
    model = load(path)
    subject = subject_of(digest(path), model, _card(path, model))
    op = emitter_for(model)
    image = op.graph.add_input(subject.image, subject.input_type, (1, *subject.input_shape))
    tensors = emit_subject(op, subject, image)
    nodes = list(op.graph.nodes)
    logits = find_logits(nodes, outputs_of(model, tensors))
    refused = refusals(op, wrt=image, rules=RULES)
    layers = tuple(
        replace(
            layer,
            kind="logits" if layer.tensor == logits.name else layer.kind,
            refusal=str(refused.get(tensors[layer.tensor], "")),
        )
        for layer in catalogue(model, tensors, nodes, image, channel_axis=_channel_axis(subject))
    )
    if all(layer.refusal for layer in layers):
        raise refused.get(logits) or ModelRejected("the scores do not depend on the image")
    subject = replace(subject, shapes=shapes_at_one(tensors))
    return _loaded(path, subject, layers, logits, downstream(nodes, logits) - {logits})


def _loaded(
    path: Path, subject: Subject, layers: tuple[Layer, ...], logits: Value, after: set[Value]
) -> LoadedModel:
    count = find_layer(layers, logits.name).unit_count
    card, model = subject.card, subject.model
    if card.labels and len(card.labels) != count:
        raise ModelRejected(
            f"the card of {path.stem!r} has {len(card.labels)} labels for {count} classes"
        )
    noted = labels_in(model.metadata)
    labels = card.labels or (noted if len(noted) == count else labels_beside(path, count))
    info = _info(path.stem, subject, count, logits.name, len(layers), bool(labels))
    info = replace(info, batchable=_treats_rows_alike(subject, logits.name))
    return LoadedModel(info, subject, layers, labels, frozenset(value.name for value in after))


def _info(
    name: str, subject: Subject, class_count: int, logits: str, layer_count: int, labelled: bool
) -> ModelInfo:
    card = subject.card
    return ModelInfo(
        name=name,
        title=card.title or name,
        license=card.license,
        source=card.source,
        sha256=subject.sha256,
        class_count=class_count,
        logits_tensor=logits,
        preprocessing=Preprocessing(
            card.layout, card.channels, card.height_px, card.width_px,
            card.low, card.high, card.mean, card.std, card.inferred,
        ),
        layer_count=layer_count,
        labels_known=labelled,
    )  # fmt: skip


def _treats_rows_alike(subject: Subject, logits: str) -> bool:
    """Whether two pictures in one run give what two runs give: constants may know one row only."""
    shape = (2, len(subject.card.channels), subject.card.height_px, subject.card.width_px)
    pictures = np.random.default_rng(0).random(shape, np.float32)
    try:
        (both,) = Session(build_forward(subject, 2, [logits])).run(pictures)
    except ModelRejected:
        return False
    alone = Session(build_forward(subject, 1, [logits]))
    single = [alone.run(row[None])[0][0] for row in pictures]
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
