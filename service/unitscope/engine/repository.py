"""The models at hand: the embedded default and those of a directory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path

import numpy as np
import onnx

from unitscope.ascent.program import Subject
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.engine.request import Preprocessing
from unitscope.errors import ModelRejected, NotFound
from unitscope.graph.card import Card, infer_card, load_card
from unitscope.graph.ir import Node, Shape, Value
from unitscope.graph.layers import Layer, catalogue, find_layer, find_logits
from unitscope.graph.lower import declared_shape, emitter_for, image_input, lower
from unitscope.graph.model import digest, load, standardize

DEFAULT_MODEL = "squeezenet1_1"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the catalogue says of a model. `error` tells why a file cannot be served, else ""."""

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
    error: str = ""


@dataclass(frozen=True, slots=True)
class LoadedModel:
    """A model that can be climbed.

    `after_logits`: tensors computed from the logits (probabilities); a request for one of them
    climbs the logits instead, since a probability also rises by pushing other classes down.
    """

    info: ModelInfo
    subject: Subject
    layers: tuple[Layer, ...]
    after_logits: frozenset[str]

    @property
    def labels(self) -> tuple[str, ...]:
        """One label per class, or none."""
        return self.subject.card.labels

    def find_layer(self, name: str = "") -> Layer:
        """The layer called `name` (tensor or friendly name; "" = logits); raises NotFound."""
        layer = find_layer(self.layers, name or self.subject.logits)
        return (
            find_layer(self.layers, self.subject.logits)
            if layer.tensor in self.after_logits
            else layer
        )

    def find_unit(self, layer: Layer, unit: int | str) -> int:
        """The index of `unit`, given by index or, in the logits, by label; raises NotFound."""
        if isinstance(unit, int):
            if not 0 <= unit < layer.unit_count:
                raise NotFound(
                    f"unit of layer {layer.name!r}", unit, [f"0..{layer.unit_count - 1}"]
                )
            return unit
        if layer.tensor != self.subject.logits or not self.labels:
            raise NotFound(
                f"label in layer {layer.name!r}", unit, [f"units 0..{layer.unit_count - 1}"]
            )
        folded = [label.casefold() for label in self.labels]
        if unit.casefold() not in folded:
            raise NotFound("label", unit, self.labels)
        return folded.index(unit.casefold())

    def label_of(self, layer: Layer, unit: int) -> str:
        """The label of a unit of the logits, or ""."""
        named = layer.tensor == self.subject.logits and unit < len(self.labels)
        return self.labels[unit] if named else ""


@dataclass(slots=True)
class _Entry:
    """A file and what came of loading it; `lock` lets one thread load while others serve."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: LoadedModel | None = None
    refusal: ModelRejected | None = None

    def load(self) -> LoadedModel:
        with self.lock:
            if self.model is None and self.refusal is None:
                try:
                    self.model = load_model(self.path)
                except ModelRejected as error:
                    self.refusal = error
            if self.model is None:
                raise copy(self.refusal) from self.refusal  # type: ignore[misc]  # one is set
            return self.model


class Repository:
    """Models by name, loaded when first asked for and kept. Safe to use from several threads."""

    def __init__(self, directory: Path | None = None) -> None:
        self.default_name = DEFAULT_MODEL
        self._entries = {DEFAULT_MODEL: _Entry(_embedded_model())}
        if directory is not None:
            if not directory.is_dir():
                raise NotFound("model directory", str(directory), [])
            self._entries |= {path.stem: _Entry(path) for path in sorted(directory.glob("*.onnx"))}

    def names(self) -> tuple[str, ...]:
        """All names, the default model first."""
        return tuple(self._entries)

    def loaded_count(self) -> int:
        """How many models are in memory."""
        return sum(entry.model is not None for entry in list(self._entries.values()))

    def add(self, path: Path) -> LoadedModel:
        """Add the file at `path` under its stem, in place of one of that name, and load it."""
        self._entries[path.stem] = _Entry(path)
        return self.get(path.stem)

    def get(self, name: str = "") -> LoadedModel:
        """The model called `name` ("" = default); raises NotFound or ModelRejected."""
        name = name or self.default_name
        if name not in self._entries:
            raise NotFound("model", name, self._entries)
        return self._entries[name].load()

    def info(self, name: str) -> ModelInfo:
        """What is known of a model; a broken file is described, not raised."""
        try:
            return self.get(name).info
        except ModelRejected as error:
            return ModelInfo(name=name or self.default_name, error=str(error))


def load_model(path: Path) -> LoadedModel:
    """Load, lower and catalogue the model at `path`, and make sure its logits can be climbed.

    Raises ModelRejected naming the node and operator that stand in the way.
    """
    proto = standardize(load(path))
    declared = image_input(proto)
    card = _card(path, declared_shape(declared), _declared_classes(proto))
    op = emitter_for(proto)
    image = op.graph.add_input(declared.name, np.float32, (1, *_image_shape(card)))
    values = lower(op, proto, {declared.name: image}, keep=RULES.__contains__)
    logits = find_logits(op.graph.nodes, [values[output.name] for output in proto.graph.output])
    nodes = list(op.graph.nodes)
    seed = op.const(np.zeros([int(dim) for dim in logits.shape or ()]), logits.dtype)
    differentiate(op, output=logits, wrt=image, cotangent=seed, rules=RULES)
    layers = tuple(
        replace(layer, kind="logits") if layer.tensor == logits.name else layer
        for layer in catalogue(nodes, values, image)
    )
    subject = Subject(digest(path), proto, card, logits.name)
    class_count = find_layer(layers, logits.name).unit_count
    if card.labels and len(card.labels) != class_count:
        raise ModelRejected(
            f"the card of {path.stem!r} has {len(card.labels)} labels for {class_count} classes"
        )
    info = _info(path.stem, subject, class_count, len(layers))
    return LoadedModel(info, subject, layers, _downstream(nodes, logits))


def _info(name: str, subject: Subject, class_count: int, layer_count: int) -> ModelInfo:
    card = subject.card
    return ModelInfo(
        name=name,
        title=card.title or name,
        license=card.license,
        source=card.source,
        sha256=subject.sha256,
        class_count=class_count,
        logits_tensor=subject.logits,
        preprocessing=Preprocessing(
            card.layout, card.channels, card.height_px, card.width_px,
            card.low, card.high, card.mean, card.std, card.inferred,
        ),
        layer_count=layer_count,
        labels_known=bool(card.labels),
    )  # fmt: skip


def _card(path: Path, declared: Shape, class_count: int) -> Card:
    """The card beside the model, checked against the declared input shape, or an inferred one.

    A copy of the embedded model without a card of its own has the embedded card.
    """
    beside = path.with_suffix(".toml")
    if not beside.is_file():
        embedded = _embedded_model()
        if digest(path) != digest(embedded):
            return infer_card(declared, class_count)
        beside = embedded.with_suffix(".toml")
    card = load_card(beside)
    said = _image_shape(card)
    fits = len(declared) == 4 and all(
        isinstance(dim, str) or dim == size for dim, size in zip(declared[1:], said, strict=True)
    )
    if not fits:
        raise ModelRejected(
            f"the card {beside.name} says an image is {list(said)} ({card.layout}), "
            f"the model takes {list(declared[1:])}"
        )
    return card


def _image_shape(card: Card) -> tuple[int, int, int]:
    channels = len(card.channels)
    if card.layout == "NHWC":
        return card.height_px, card.width_px, channels
    return channels, card.height_px, card.width_px


def _declared_classes(proto: onnx.ModelProto) -> int:
    """The largest size an output declares: a guess at the number of classes."""
    dims = [
        dim.dim_value for output in proto.graph.output for dim in output.type.tensor_type.shape.dim
    ]
    return max(dims, default=0)


def _downstream(nodes: Sequence[Node], logits: Value) -> frozenset[str]:
    reached = {logits}
    for node in nodes:
        if any(x in reached for x in node.inputs):
            reached.update(y for y in node.outputs if y is not None)
    return frozenset(value.name for value in reached - {logits})


def _embedded_model() -> Path:
    return Path(str(resources.files("unitscope") / "data" / f"{DEFAULT_MODEL}.onnx"))
