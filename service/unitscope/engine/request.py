"""The nouns of a maximization: what is asked, what is reported, what is returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

ImageFormat = Literal["png", "jpeg", "webp"]
GradientStatus = Literal["ok", "redirected"]


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximizeRequest:
    """What to climb and how. Defaults are the `unitscope` way; every field is replayable.

    `model`: name in the repository, "" for the default model.
    `layer`: tensor name or friendly name, "" for the logits.
    `unit`: channel or feature index, or the label of a class.
    `position`: (x, y) in the layer's map to climb one neuron; None for the whole channel.
    `image_size_px`: side of the square picture; None for the model's input size.
    `transforms`: names, applied in this order.
    """

    unit: int | str
    model: str = ""
    layer: str = ""
    steps: int = 256
    seed: int = 0
    position: tuple[int, int] | None = None
    image_size_px: int | None = None
    learning_rate: float | None = None
    parameterization: str = "fourier"
    transforms: tuple[str, ...] = ("pad", "jitter", "scale", "rotate")
    optimizer: str = "adam"
    image_format: ImageFormat = "png"
    preview_every_steps: int = 0
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is in; this is what will really be climbed."""

    request_id: str
    model: str
    tensor: str
    unit: int
    label: str
    steps: int
    image_width_px: int
    image_height_px: int


@dataclass(frozen=True, slots=True)
class Progress:
    """One step done. `activation` is the objective under this step's transforms."""

    step: int
    steps: int
    activation: float
    gradient_norm: float
    preview: bytes | None = None


@dataclass(frozen=True, slots=True)
class ClassScore:
    """A class the model sees, with its softmax probability."""

    index: int
    label: str
    probability: float


@dataclass(frozen=True, slots=True)
class TrajectoryPoint:
    """Clean activation (no transforms) after `step` steps."""

    step: int
    activation: float


@dataclass(frozen=True, slots=True)
class Preprocessing:
    """How a picture in 0..1 became the model's input, and who said so."""

    layout: str
    channels: str
    height_px: int
    width_px: int
    low: float
    high: float
    mean: tuple[float, ...]
    std: tuple[float, ...]
    inferred: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """What was measured, on the finished picture as encoded (8 bits), without transforms.

    `rank`: 1 when no other unit of the layer responds more, out of `unit_count`.
    `gradient_norm`: L2 norm of the gradient with respect to the parameters at the last step.
    `gradient_status`: "redirected" when the gradient was dead at first and ReLU masks were
    opened for a warm-up (Lucid's remedy).
    """

    model: str
    model_sha256: str
    layer: str
    tensor: str
    unit: int
    unit_count: int
    label: str
    activation_start: float
    activation_end: float
    trajectory: tuple[TrajectoryPoint, ...]
    rank: int
    top_classes: tuple[ClassScore, ...]
    gradient_norm: float
    gradient_status: GradientStatus
    steps: int
    seed: int
    queued_seconds: float
    compiling_seconds: float
    running_seconds: float
    steps_per_second: float
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Maximization:
    """The picture a unit prefers, encoded, with its metrics."""

    request_id: str
    image: bytes = field(repr=False)
    image_format: ImageFormat
    width_px: int
    height_px: int
    metrics: Metrics

    def save(self, path: str | Path) -> Path:
        """Write the encoded picture to `path` and return it."""
        target = Path(path)
        target.write_bytes(self.image)
        return target

    def to_dict(self) -> dict[str, Any]:
        """Everything but the image bytes, as plain JSON types."""
        plain = asdict(self)
        del plain["image"]
        return plain


Event = Accepted | Progress | Maximization
