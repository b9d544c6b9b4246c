import datetime

from google.protobuf import duration_pb2 as _duration_pb2
from unitscope._gen.unitscope.v1 import model_pb2 as _model_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ImageFormat(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    IMAGE_FORMAT_UNSPECIFIED: _ClassVar[ImageFormat]
    IMAGE_FORMAT_PNG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_JPEG: _ClassVar[ImageFormat]
    IMAGE_FORMAT_WEBP: _ClassVar[ImageFormat]
    IMAGE_FORMAT_NPY: _ClassVar[ImageFormat]

class Ending(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ENDING_UNSPECIFIED: _ClassVar[Ending]
    ENDING_STEPS: _ClassVar[Ending]
    ENDING_TARGET: _ClassVar[Ending]
    ENDING_PLATEAU: _ClassVar[Ending]

class GradientStatus(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    GRADIENT_STATUS_UNSPECIFIED: _ClassVar[GradientStatus]
    GRADIENT_STATUS_OK: _ClassVar[GradientStatus]
    GRADIENT_STATUS_REDIRECTED: _ClassVar[GradientStatus]
    GRADIENT_STATUS_SATURATED: _ClassVar[GradientStatus]
IMAGE_FORMAT_UNSPECIFIED: ImageFormat
IMAGE_FORMAT_PNG: ImageFormat
IMAGE_FORMAT_JPEG: ImageFormat
IMAGE_FORMAT_WEBP: ImageFormat
IMAGE_FORMAT_NPY: ImageFormat
ENDING_UNSPECIFIED: Ending
ENDING_STEPS: Ending
ENDING_TARGET: Ending
ENDING_PLATEAU: Ending
GRADIENT_STATUS_UNSPECIFIED: GradientStatus
GRADIENT_STATUS_OK: GradientStatus
GRADIENT_STATUS_REDIRECTED: GradientStatus
GRADIENT_STATUS_SATURATED: GradientStatus

class MaximizeRequest(_message.Message):
    __slots__ = ("model", "layer", "unit", "label", "steps", "options", "request_id", "terms", "model_version")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    OPTIONS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    TERMS_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    model: str
    layer: str
    unit: int
    label: str
    steps: int
    options: MaximizeOptions
    request_id: str
    terms: _containers.RepeatedCompositeFieldContainer[Term]
    model_version: str
    def __init__(self, model: _Optional[str] = ..., layer: _Optional[str] = ..., unit: _Optional[int] = ..., label: _Optional[str] = ..., steps: _Optional[int] = ..., options: _Optional[_Union[MaximizeOptions, _Mapping]] = ..., request_id: _Optional[str] = ..., terms: _Optional[_Iterable[_Union[Term, _Mapping]]] = ..., model_version: _Optional[str] = ...) -> None: ...

class Term(_message.Message):
    __slots__ = ("layer", "unit", "label", "position", "direction", "reference", "objective", "weight")
    LAYER_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    layer: str
    unit: int
    label: str
    position: Position
    direction: _containers.RepeatedScalarFieldContainer[float]
    reference: bytes
    objective: str
    weight: float
    def __init__(self, layer: _Optional[str] = ..., unit: _Optional[int] = ..., label: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., direction: _Optional[_Iterable[float]] = ..., reference: _Optional[bytes] = ..., objective: _Optional[str] = ..., weight: _Optional[float] = ...) -> None: ...

class MaximizeOptions(_message.Message):
    __slots__ = ("seed", "image_size_px", "learning_rate", "parameterization", "transforms", "optimizer", "position", "image_format", "preset", "objective", "direction", "reference", "weight", "target", "start_image", "colors", "views", "schedule", "penalties", "constraints", "octaves", "natural_images", "spectrum", "patience_steps", "attempts", "unlike", "diversity", "transparent")
    SEED_FIELD_NUMBER: _ClassVar[int]
    IMAGE_SIZE_PX_FIELD_NUMBER: _ClassVar[int]
    LEARNING_RATE_FIELD_NUMBER: _ClassVar[int]
    PARAMETERIZATION_FIELD_NUMBER: _ClassVar[int]
    TRANSFORMS_FIELD_NUMBER: _ClassVar[int]
    OPTIMIZER_FIELD_NUMBER: _ClassVar[int]
    POSITION_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FORMAT_FIELD_NUMBER: _ClassVar[int]
    PRESET_FIELD_NUMBER: _ClassVar[int]
    OBJECTIVE_FIELD_NUMBER: _ClassVar[int]
    DIRECTION_FIELD_NUMBER: _ClassVar[int]
    REFERENCE_FIELD_NUMBER: _ClassVar[int]
    WEIGHT_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    START_IMAGE_FIELD_NUMBER: _ClassVar[int]
    COLORS_FIELD_NUMBER: _ClassVar[int]
    VIEWS_FIELD_NUMBER: _ClassVar[int]
    SCHEDULE_FIELD_NUMBER: _ClassVar[int]
    PENALTIES_FIELD_NUMBER: _ClassVar[int]
    CONSTRAINTS_FIELD_NUMBER: _ClassVar[int]
    OCTAVES_FIELD_NUMBER: _ClassVar[int]
    NATURAL_IMAGES_FIELD_NUMBER: _ClassVar[int]
    SPECTRUM_FIELD_NUMBER: _ClassVar[int]
    PATIENCE_STEPS_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    UNLIKE_FIELD_NUMBER: _ClassVar[int]
    DIVERSITY_FIELD_NUMBER: _ClassVar[int]
    TRANSPARENT_FIELD_NUMBER: _ClassVar[int]
    seed: int
    image_size_px: int
    learning_rate: float
    parameterization: str
    transforms: Transforms
    optimizer: str
    position: Position
    image_format: ImageFormat
    preset: str
    objective: str
    direction: _containers.RepeatedScalarFieldContainer[float]
    reference: bytes
    weight: float
    target: float
    start_image: bytes
    colors: str
    views: int
    schedule: str
    penalties: Regularizers
    constraints: Regularizers
    octaves: int
    natural_images: _containers.RepeatedScalarFieldContainer[bytes]
    spectrum: str
    patience_steps: int
    attempts: int
    unlike: _containers.RepeatedScalarFieldContainer[bytes]
    diversity: float
    transparent: bool
    def __init__(self, seed: _Optional[int] = ..., image_size_px: _Optional[int] = ..., learning_rate: _Optional[float] = ..., parameterization: _Optional[str] = ..., transforms: _Optional[_Union[Transforms, _Mapping]] = ..., optimizer: _Optional[str] = ..., position: _Optional[_Union[Position, _Mapping]] = ..., image_format: _Optional[_Union[ImageFormat, str]] = ..., preset: _Optional[str] = ..., objective: _Optional[str] = ..., direction: _Optional[_Iterable[float]] = ..., reference: _Optional[bytes] = ..., weight: _Optional[float] = ..., target: _Optional[float] = ..., start_image: _Optional[bytes] = ..., colors: _Optional[str] = ..., views: _Optional[int] = ..., schedule: _Optional[str] = ..., penalties: _Optional[_Union[Regularizers, _Mapping]] = ..., constraints: _Optional[_Union[Regularizers, _Mapping]] = ..., octaves: _Optional[int] = ..., natural_images: _Optional[_Iterable[bytes]] = ..., spectrum: _Optional[str] = ..., patience_steps: _Optional[int] = ..., attempts: _Optional[int] = ..., unlike: _Optional[_Iterable[bytes]] = ..., diversity: _Optional[float] = ..., transparent: bool = ...) -> None: ...

class Transforms(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Transform]
    def __init__(self, items: _Optional[_Iterable[_Union[Transform, _Mapping]]] = ...) -> None: ...

class Transform(_message.Message):
    __slots__ = ("name", "low", "high")
    NAME_FIELD_NUMBER: _ClassVar[int]
    LOW_FIELD_NUMBER: _ClassVar[int]
    HIGH_FIELD_NUMBER: _ClassVar[int]
    name: str
    low: float
    high: float
    def __init__(self, name: _Optional[str] = ..., low: _Optional[float] = ..., high: _Optional[float] = ...) -> None: ...

class Regularizers(_message.Message):
    __slots__ = ("items",)
    ITEMS_FIELD_NUMBER: _ClassVar[int]
    items: _containers.RepeatedCompositeFieldContainer[Regularizer]
    def __init__(self, items: _Optional[_Iterable[_Union[Regularizer, _Mapping]]] = ...) -> None: ...

class Regularizer(_message.Message):
    __slots__ = ("name", "strength", "every_steps")
    NAME_FIELD_NUMBER: _ClassVar[int]
    STRENGTH_FIELD_NUMBER: _ClassVar[int]
    EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    name: str
    strength: float
    every_steps: int
    def __init__(self, name: _Optional[str] = ..., strength: _Optional[float] = ..., every_steps: _Optional[int] = ...) -> None: ...

class Position(_message.Message):
    __slots__ = ("x", "y")
    X_FIELD_NUMBER: _ClassVar[int]
    Y_FIELD_NUMBER: _ClassVar[int]
    x: int
    y: int
    def __init__(self, x: _Optional[int] = ..., y: _Optional[int] = ...) -> None: ...

class MaximizeResponse(_message.Message):
    __slots__ = ("request_id", "image", "metrics", "record", "cached")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    IMAGE_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    RECORD_FIELD_NUMBER: _ClassVar[int]
    CACHED_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    image: Image
    metrics: Metrics
    record: str
    cached: bool
    def __init__(self, request_id: _Optional[str] = ..., image: _Optional[_Union[Image, _Mapping]] = ..., metrics: _Optional[_Union[Metrics, _Mapping]] = ..., record: _Optional[str] = ..., cached: bool = ...) -> None: ...

class Image(_message.Message):
    __slots__ = ("data", "format", "width_px", "height_px")
    DATA_FIELD_NUMBER: _ClassVar[int]
    FORMAT_FIELD_NUMBER: _ClassVar[int]
    WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    format: ImageFormat
    width_px: int
    height_px: int
    def __init__(self, data: _Optional[bytes] = ..., format: _Optional[_Union[ImageFormat, str]] = ..., width_px: _Optional[int] = ..., height_px: _Optional[int] = ...) -> None: ...

class Metrics(_message.Message):
    __slots__ = ("model", "model_sha256", "layer", "tensor", "unit", "unit_count", "label", "activation_start", "activation_end", "trajectory", "rank", "top_classes", "gradient_norm", "gradient_status", "steps", "seed", "queued", "compiling", "running", "steps_per_second", "preprocessing", "activation_best", "margin", "probability", "noise_z_score", "robustness", "total_variation", "clipped_share", "high_frequency_share", "doubts", "measuring", "calibration", "model_version", "ending", "attempts")
    MODEL_FIELD_NUMBER: _ClassVar[int]
    MODEL_SHA256_FIELD_NUMBER: _ClassVar[int]
    LAYER_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    UNIT_COUNT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_START_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_END_FIELD_NUMBER: _ClassVar[int]
    TRAJECTORY_FIELD_NUMBER: _ClassVar[int]
    RANK_FIELD_NUMBER: _ClassVar[int]
    TOP_CLASSES_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_STATUS_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    SEED_FIELD_NUMBER: _ClassVar[int]
    QUEUED_FIELD_NUMBER: _ClassVar[int]
    COMPILING_FIELD_NUMBER: _ClassVar[int]
    RUNNING_FIELD_NUMBER: _ClassVar[int]
    STEPS_PER_SECOND_FIELD_NUMBER: _ClassVar[int]
    PREPROCESSING_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_BEST_FIELD_NUMBER: _ClassVar[int]
    MARGIN_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    NOISE_Z_SCORE_FIELD_NUMBER: _ClassVar[int]
    ROBUSTNESS_FIELD_NUMBER: _ClassVar[int]
    TOTAL_VARIATION_FIELD_NUMBER: _ClassVar[int]
    CLIPPED_SHARE_FIELD_NUMBER: _ClassVar[int]
    HIGH_FREQUENCY_SHARE_FIELD_NUMBER: _ClassVar[int]
    DOUBTS_FIELD_NUMBER: _ClassVar[int]
    MEASURING_FIELD_NUMBER: _ClassVar[int]
    CALIBRATION_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    ATTEMPTS_FIELD_NUMBER: _ClassVar[int]
    model: str
    model_sha256: str
    layer: str
    tensor: str
    unit: int
    unit_count: int
    label: str
    activation_start: float
    activation_end: float
    trajectory: _containers.RepeatedCompositeFieldContainer[TrajectoryPoint]
    rank: int
    top_classes: _containers.RepeatedCompositeFieldContainer[ClassScore]
    gradient_norm: float
    gradient_status: GradientStatus
    steps: int
    seed: int
    queued: _duration_pb2.Duration
    compiling: _duration_pb2.Duration
    running: _duration_pb2.Duration
    steps_per_second: float
    preprocessing: _model_pb2.Preprocessing
    activation_best: float
    margin: float
    probability: float
    noise_z_score: float
    robustness: float
    total_variation: float
    clipped_share: float
    high_frequency_share: float
    doubts: _containers.RepeatedScalarFieldContainer[str]
    measuring: _duration_pb2.Duration
    calibration: Calibration
    model_version: str
    ending: Ending
    attempts: _containers.RepeatedCompositeFieldContainer[Attempt]
    def __init__(self, model: _Optional[str] = ..., model_sha256: _Optional[str] = ..., layer: _Optional[str] = ..., tensor: _Optional[str] = ..., unit: _Optional[int] = ..., unit_count: _Optional[int] = ..., label: _Optional[str] = ..., activation_start: _Optional[float] = ..., activation_end: _Optional[float] = ..., trajectory: _Optional[_Iterable[_Union[TrajectoryPoint, _Mapping]]] = ..., rank: _Optional[int] = ..., top_classes: _Optional[_Iterable[_Union[ClassScore, _Mapping]]] = ..., gradient_norm: _Optional[float] = ..., gradient_status: _Optional[_Union[GradientStatus, str]] = ..., steps: _Optional[int] = ..., seed: _Optional[int] = ..., queued: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., compiling: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., running: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., steps_per_second: _Optional[float] = ..., preprocessing: _Optional[_Union[_model_pb2.Preprocessing, _Mapping]] = ..., activation_best: _Optional[float] = ..., margin: _Optional[float] = ..., probability: _Optional[float] = ..., noise_z_score: _Optional[float] = ..., robustness: _Optional[float] = ..., total_variation: _Optional[float] = ..., clipped_share: _Optional[float] = ..., high_frequency_share: _Optional[float] = ..., doubts: _Optional[_Iterable[str]] = ..., measuring: _Optional[_Union[datetime.timedelta, _duration_pb2.Duration, _Mapping]] = ..., calibration: _Optional[_Union[Calibration, _Mapping]] = ..., model_version: _Optional[str] = ..., ending: _Optional[_Union[Ending, str]] = ..., attempts: _Optional[_Iterable[_Union[Attempt, _Mapping]]] = ...) -> None: ...

class Attempt(_message.Message):
    __slots__ = ("seed", "steps", "activation", "ending")
    SEED_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    ENDING_FIELD_NUMBER: _ClassVar[int]
    seed: int
    steps: int
    activation: float
    ending: Ending
    def __init__(self, seed: _Optional[int] = ..., steps: _Optional[int] = ..., activation: _Optional[float] = ..., ending: _Optional[_Union[Ending, str]] = ...) -> None: ...

class Calibration(_message.Message):
    __slots__ = ("percentile", "ratio", "exemplars")
    PERCENTILE_FIELD_NUMBER: _ClassVar[int]
    RATIO_FIELD_NUMBER: _ClassVar[int]
    EXEMPLARS_FIELD_NUMBER: _ClassVar[int]
    percentile: float
    ratio: float
    exemplars: _containers.RepeatedCompositeFieldContainer[Exemplar]
    def __init__(self, percentile: _Optional[float] = ..., ratio: _Optional[float] = ..., exemplars: _Optional[_Iterable[_Union[Exemplar, _Mapping]]] = ...) -> None: ...

class Exemplar(_message.Message):
    __slots__ = ("index", "activation")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    index: int
    activation: float
    def __init__(self, index: _Optional[int] = ..., activation: _Optional[float] = ...) -> None: ...

class TrajectoryPoint(_message.Message):
    __slots__ = ("step", "activation")
    STEP_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    step: int
    activation: float
    def __init__(self, step: _Optional[int] = ..., activation: _Optional[float] = ...) -> None: ...

class ClassScore(_message.Message):
    __slots__ = ("index", "label", "probability")
    INDEX_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    PROBABILITY_FIELD_NUMBER: _ClassVar[int]
    index: int
    label: str
    probability: float
    def __init__(self, index: _Optional[int] = ..., label: _Optional[str] = ..., probability: _Optional[float] = ...) -> None: ...

class StreamMaximizeRequest(_message.Message):
    __slots__ = ("maximize", "preview_every_steps", "progress_every_steps")
    MAXIMIZE_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_EVERY_STEPS_FIELD_NUMBER: _ClassVar[int]
    maximize: MaximizeRequest
    preview_every_steps: int
    progress_every_steps: int
    def __init__(self, maximize: _Optional[_Union[MaximizeRequest, _Mapping]] = ..., preview_every_steps: _Optional[int] = ..., progress_every_steps: _Optional[int] = ...) -> None: ...

class StreamMaximizeResponse(_message.Message):
    __slots__ = ("accepted", "progress", "result")
    ACCEPTED_FIELD_NUMBER: _ClassVar[int]
    PROGRESS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    accepted: Accepted
    progress: Progress
    result: MaximizeResponse
    def __init__(self, accepted: _Optional[_Union[Accepted, _Mapping]] = ..., progress: _Optional[_Union[Progress, _Mapping]] = ..., result: _Optional[_Union[MaximizeResponse, _Mapping]] = ...) -> None: ...

class Accepted(_message.Message):
    __slots__ = ("request_id", "model", "tensor", "unit", "label", "steps", "image_width_px", "image_height_px", "model_version")
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    TENSOR_FIELD_NUMBER: _ClassVar[int]
    UNIT_FIELD_NUMBER: _ClassVar[int]
    LABEL_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    IMAGE_WIDTH_PX_FIELD_NUMBER: _ClassVar[int]
    IMAGE_HEIGHT_PX_FIELD_NUMBER: _ClassVar[int]
    MODEL_VERSION_FIELD_NUMBER: _ClassVar[int]
    request_id: str
    model: str
    tensor: str
    unit: int
    label: str
    steps: int
    image_width_px: int
    image_height_px: int
    model_version: str
    def __init__(self, request_id: _Optional[str] = ..., model: _Optional[str] = ..., tensor: _Optional[str] = ..., unit: _Optional[int] = ..., label: _Optional[str] = ..., steps: _Optional[int] = ..., image_width_px: _Optional[int] = ..., image_height_px: _Optional[int] = ..., model_version: _Optional[str] = ...) -> None: ...

class Progress(_message.Message):
    __slots__ = ("step", "steps", "activation", "gradient_norm", "preview")
    STEP_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    ACTIVATION_FIELD_NUMBER: _ClassVar[int]
    GRADIENT_NORM_FIELD_NUMBER: _ClassVar[int]
    PREVIEW_FIELD_NUMBER: _ClassVar[int]
    step: int
    steps: int
    activation: float
    gradient_norm: float
    preview: bytes
    def __init__(self, step: _Optional[int] = ..., steps: _Optional[int] = ..., activation: _Optional[float] = ..., gradient_norm: _Optional[float] = ..., preview: _Optional[bytes] = ...) -> None: ...
