import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from unitscope._gen.unitscope.v1 import maximize_pb2 as _maximize_pb2
from unitscope._gen.unitscope.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class AttributeRequest(_message.Message):
    __slots__ = ("model", "layer", "unit", "label", "position", "image", "method", "samples", "noise", "seed", "baseline", "model_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    layer: str
    unit: int
    label: str
    position: _maximize_pb2.Position
    image: bytes
    method: str
    samples: int
    noise: float
    seed: int
    baseline: float
    model_version: str
    def __init__(self, model: _Optional[str] = ..., layer: _Optional[str] = ..., unit: _Optional[int] = ..., label: _Optional[str] = ..., position: _Optional[_Union[_maximize_pb2.Position, _Mapping]] = ..., image: _Optional[bytes] = ..., method: _Optional[str] = ..., samples: _Optional[int] = ..., noise: _Optional[float] = ..., seed: _Optional[int] = ..., baseline: _Optional[float] = ..., model_version: _Optional[str] = ...) -> None: ...

class AttributeResponse(_message.Message):
    __slots__ = ("model", "model_sha256", "layer", "tensor", "unit", "label", "method", "samples", "noise", "seed", "baseline", "activation", "completeness", "top_classes", "values_npy", "heat_map", "overlay", "width_px", "height_px", "running", "preprocessing", "model_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    SAMPLES_FIELD_NUMBER: _ClassVar[int]
    NOISE_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    BASELINE_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    COMPLETENESS_FIELD_NUMBER: _ClassVar[int]
    TOP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    VALUES_NPY_FIELD_NUMBER: _ClassVar[int]
    HEAT_MAP_FIELD_NUMBER: _ClassVar[int]
    OVERLAY_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_sha256: str
    layer: str
    tensor: str
    unit: int
    label: str
    method: str
    samples: int
    noise: float
    seed: int
    baseline: float
    activation: float
    completeness: Completeness
    top_classes: _containers.RepeatedCompositeFieldContainer[_maximize_pb2.ClassScore]
    values_npy: bytes
    heat_map: bytes
    overlay: bytes
    width_px: int
    height_px: int
    running: _duration_pb2.Duration
    preprocessing: _model_pb2.Preprocessing
    model_version: str
    def __init__(self, model: _Optional[str] = ..., model_sha256: _Optional[str] = ..., layer: _Optional[str] = ..., tensor: _Optional[str] = ..., unit: _Optional[int] = ..., label: _Optional[str] = ..., method: _Optional[str] = ..., samples: _Optional[int] = ..., noise: _Optional[float] = ..., seed: _Optional[int] = ..., baseline: _Optional[float] = ..., activation: _Optional[float] = ..., completeness: _Optional[_Union[Completeness, _Mapping]] = ..., top_classes: _Optional[_Iterable[_Union[_maximize_pb2.ClassScore, _Mapping]]] = ..., values_npy: _Optional[bytes] = ..., heat_map: _Optional[bytes] = ..., overlay: _Optional[bytes] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ..., running: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., preprocessing: _Optional[_Union[_model_pb2.Preprocessing, _Mapping]] = ..., model_version: _Optional[str] = ...) -> None: ...

class Completeness(_message.Message):
    __slots__ = ("baseline_activation", "gap", "relative_gap")
    BASELINE_ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    GAP_FIELD_NUMBER: _ClassVar[int]
    RELATIVE_GAP_FIELD_NUMBER: _ClassVar[int]
    baseline_activation: float
    gap: float
    relative_gap: float
    def __init__(self, baseline_activation: _Optional[float] = ..., gap: _Optional[float] = ..., relative_gap: _Optional[float] = ...) -> None: ...
