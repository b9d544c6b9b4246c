"""Models and layers between the wire and the nouns, both ways."""

from __future__ import annotations

from unitscope._gen.unitscope.v1 import model_pb2 as pb
from unitscope.engine.loaded import ModelInfo, ModelState, ModelVersion
from unitscope.engine.request import Preprocessing
from unitscope.graph.layers import Layer
from unitscope.rpc.fields import read_fields, same_fields

_STATES: dict[ModelState, pb.ModelState] = {
    "not_loaded": pb.MODEL_STATE_NOT_LOADED,
    "ready": pb.MODEL_STATE_READY,
    "unavailable": pb.MODEL_STATE_UNAVAILABLE,
}
_STATE_NAMES = {value: name for name, value in _STATES.items()}


def to_model(info: ModelInfo) -> pb.Model:
    """The message of a model."""
    preprocessing = None if info.preprocessing is None else to_preprocessing(info.preprocessing)
    return same_fields(
        pb.Model,
        info,
        preprocessing=preprocessing,
        state=_STATES[info.state],
        versions=[
            same_fields(pb.ModelVersion, version, state=_STATES[version.state])
            for version in info.versions
        ],
    )


def from_model(message: pb.Model) -> ModelInfo:
    """The model in a message."""
    known = message.HasField("preprocessing")
    others = {
        "preprocessing": from_preprocessing(message.preprocessing) if known else None,
        "state": _STATE_NAMES[message.state],
        "versions": tuple(
            ModelVersion(**read_fields(version) | {"state": _STATE_NAMES[version.state]})
            for version in message.versions
        ),
    }
    return ModelInfo(**read_fields(message) | others)


def to_preprocessing(preprocessing: Preprocessing) -> pb.Preprocessing:
    """The message of a preprocessing."""
    return same_fields(pb.Preprocessing, preprocessing)


def from_preprocessing(message: pb.Preprocessing) -> Preprocessing:
    """The preprocessing in a message."""
    return Preprocessing(**read_fields(message))


def to_layer(layer: Layer) -> pb.Layer:
    """The message of a layer; an axis without a fixed size becomes 0."""
    shape = [dim if isinstance(dim, int) else 0 for dim in layer.shape]
    return same_fields(pb.Layer, layer, shape=shape, unit_count=layer.unit_count)


def from_layer(message: pb.Layer) -> Layer:
    """The layer in a message."""
    return Layer(**read_fields(message, omit=("unit_count",)))
