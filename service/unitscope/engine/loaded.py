"""A model that can be climbed, and what the catalogue says of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from unitscope.ascent.subject import Subject
from unitscope.engine.request import Preprocessing
from unitscope.errors import InvalidRequest, ModelRejected, NotFound
from unitscope.graph.layers import Layer, features_of, find_layer

MAX_TEXTURE_UNITS = 768
"""Of the layer in which pictures are told apart: a texture has the square of it."""
ModelState = Literal["not_loaded", "ready", "unavailable"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelVersion:
    """What the catalogue says of one version of a model; fields are those of `ModelInfo`."""

    version: str
    state: ModelState
    sha256: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInfo:
    """What the catalogue says of a model; all fields but `versions` are of `version`.

    `version`: a number. `state`: "not_loaded" until the first request for it, which loads it;
    only then the fields after it are known. `error`: why the files cannot be used, else ""; a
    model that is "ready" all the same is served as it was before they changed. `versions`: all
    that can be asked for, the latest first.
    `batchable`: pictures can share a run; else each has its own, since the file was exported for
    one and says so in places that could not be widened. `resizable`: it takes pictures of any size.
    `fingerprint`: of file, card and labels, all that a picture can depend on; it is not told.
    """

    name: str
    version: str = "1"
    state: ModelState = "not_loaded"
    versions: tuple[ModelVersion, ...] = ()
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
    resizable: bool = False
    error: str = ""
    fingerprint: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True, eq=False)
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

    def same_as(self, other: LoadedModel) -> bool:
        """Whether both have the same file, card and labels."""
        return (self.subject, self.info, self.labels) == (other.subject, other.info, other.labels)

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

    def texture_layer(self, climbed: Layer) -> Layer:
        """Where pictures are told apart: the last layer up to `climbed` with a map of not too many
        units. Raises InvalidRequest where there is none.
        """
        upto = self.layers[: self.layers.index(climbed) + 1]
        for layer in reversed(upto):
            if not layer.refusal and layer.is_map and layer.unit_count <= MAX_TEXTURE_UNITS:
                return layer
        expected = f"none: the model has no map of at most {MAX_TEXTURE_UNITS} units"
        raise InvalidRequest("unlike", "images", expected)

    def features_of(self, layer: Layer) -> Layer | None:
        """The layer that `layer` is a linear map of, None where there is no single one."""
        return features_of(self.subject.model, self.layers, layer)

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
