"""Models and layers between the wire and the nouns, both ways."""

from __future__ import annotations

from unitscope._gen.unitscope.v1 import model_pb2 as pb
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.request import Preprocessing
from unitscope.graph.layers import Layer
from unitscope.rpc.fields import read_fields, same_fields


def to_model(info: ModelInfo) -> pb.Model:
    """The message of a model."""
    preprocessing = None if info.preprocessing is None else to_preprocessing(info.preprocessing)
    return same_fields(pb.Model, info, preprocessing=preprocessing)


def from_model(message: pb.Model) -> ModelInfo:
    """The model in a message."""
    known = message.HasField("preprocessing")
    preprocessing = from_preprocessing(message.preprocessing) if known else None
    return ModelInfo(**read_fields(message) | {"preprocessing": preprocessing})


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
