"""The nouns of a maximization: what is asked, what is reported, what is returned."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, Literal, Self

from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.presets import PRESETS, Recipe, Regularizer
from unitscope.ascent.transforms import Transform

ImageFormat = Literal["png", "jpeg", "webp", "npy"]
GradientStatus = Literal["ok", "redirected", "saturated"]
Ending = Literal["steps", "target", "plateau"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Term:
    """A summand of what is climbed.

    `unit`: channel or feature index, or the label of a class. `layer`: tensor name or friendly
    name, "" for the logits. `position`: (x, y) in the layer's map, or (token, 0), to climb one
    neuron; None for the whole channel. `direction`: a number per unit, instead of a unit.
    `reference`: an encoded image, for the objectives that compare with one. `objective`: one of
    `ascent.objectives.OBJECTIVES`; "" for "channel", or "neuron" where there is a position.
    `weight`: below 0 to bring it down.
    """

    unit: int | str | None = None
    layer: str = ""
    position: tuple[int, int] | None = None
    direction: tuple[float, ...] = ()
    reference: bytes = field(default=b"", repr=False)
    objective: str = ""
    weight: float = 1.0

    def __mul__(self, factor: float) -> Self:
        return replace(self, weight=self.weight * factor)

    __rmul__ = __mul__

    def __neg__(self) -> Self:
        return self * -1.0


PRIORITIES = {"low": 0.25, "normal": 1.0, "high": 4.0}
"""How large a share of the time a request has."""


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks, and what decides when it is served but not what comes out.

    `client`: whose requests share one part of the time. `priority`: one of PRIORITIES.
    `timeout_seconds`: how long the caller waits; None: for ever. `progress_every_steps`: how often
    it wants to hear of progress; 0: it only waits for the result. `useful_seconds`: what would take
    longer is refused at once, but not ended once it runs; it counts where no timeout is given.
    """

    client: str = ""
    priority: str = "normal"
    timeout_seconds: float | None = None
    progress_every_steps: int = 1
    useful_seconds: float | None = None


NOBODY = Caller()


@dataclass(frozen=True, slots=True, kw_only=True)
class MaximizeRequest(Term):
    """What to climb and how; every field is replayable.

    It is the first term itself; `terms` are added to it. `model`: name in the repository, "" for
    the default model. `model_version`: a number; "" for the latest that can be used. `target`:
    bring the activation to this number, not to the highest, and stop there. `patience_steps`: stop
    when the clean activation has not risen for so many. `seed`: of all that is random. `attempts`:
    so many ascents, from the seeds `seed`, `seed` + 1, …; the one that ends with the highest clean
    activation, or nearest to the target, is kept. `image_size_px`: shorter side of the picture;
    None for the model's input size. `start_image`: an encoded image to begin with.
    `natural_images`: encoded images that the unit is compared on, and that colours and a spectrum
    can be computed from. `unlike`: encoded images that the picture keeps away from; `diversity`:
    how much, as the share of its activation that a picture of the same texture loses.
    `transparent`: what mattered little is not seen: alpha grows with the size of the gradient,
    added up over the ascent (Fel et al. 2023), over its last size where there are octaves.
    `preset`: the name of a recipe; the fields from `steps` on replace its own unless they are None
    (see `ascent.presets.Recipe`).
    """

    model: str = ""
    model_version: str = ""
    terms: tuple[Term, ...] = ()
    target: float | None = None
    patience_steps: int | None = None
    seed: int = 0
    attempts: int = 1
    image_size_px: int | None = None
    start_image: bytes = field(default=b"", repr=False)
    natural_images: tuple[bytes, ...] = field(default=(), repr=False)
    unlike: tuple[bytes, ...] = field(default=(), repr=False)
    diversity: float = 1.0
    transparent: bool = False
    image_format: ImageFormat = "png"
    preview_every_steps: int = 0
    request_id: str = ""
    preset: str = "unitscope"
    steps: int | None = None
    parameterization: str | None = None
    colors: str | None = None
    spectrum: str | None = None
    transforms: tuple[Transform, ...] | None = None
    views: int | None = None
    optimizer: str | None = None
    learning_rate: float | None = None
    schedule: str | None = None
    penalties: tuple[Regularizer, ...] | None = None
    constraints: tuple[Regularizer, ...] | None = None
    octaves: int | None = None

    def recipe(self) -> Recipe:
        """The preset with what the request replaces; raises NotFound for an unknown one.

        Another optimizer brings its own learning rate, unless the request has one. A target is
        meant for the picture itself, so there are no transforms, unless the request has some.
        There is no opening where it would end on a plateau or leave little of a first picture.
        """
        names = {known.name for known in fields(Recipe)} & {own.name for own in fields(self)}
        given = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        if self.optimizer is not None:
            given = {"learning_rate": OPTIMIZERS[self.optimizer].learning_rate} | given
        if self.target is not None:
            given = {"transforms": ()} | given
        if self.patience_steps is not None or self.start_image:
            given["opening"] = None
        return replace(PRESETS[self.preset], **given)


@dataclass(frozen=True, slots=True)
class Accepted:
    """The request is in; this is what will really be climbed."""

    request_id: str
    model: str
    model_version: str
    tensor: str
    unit: int | None
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
class Attempt:
    """One ascent of a request: its seed, how many steps it took, what it reached and why it ended.

    `activation`: clean, of the picture in 8 bits. `ending`: "target" was reached, "plateau": it had
    not risen for `patience_steps`.
    """

    seed: int
    steps: int
    activation: float
    ending: Ending


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
class PictureMeasures:
    """Of the pixels alone, all in 0..1.

    `total_variation`: mean |difference| of neighbouring values. `clipped_share`: of the values,
    how many are black or white. `high_frequency_share`: of the variance, how much lies in waves
    shorter than four pixels.
    """

    total_variation: float
    clipped_share: float
    high_frequency_share: float


@dataclass(frozen=True, slots=True)
class Exemplar:
    """One of the natural images that the unit responds to most; `index` from 0, in their order."""

    index: int
    activation: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How much the unit responds to the picture, beside the natural images of the request.

    `percentile`: to how many of a hundred images it responds less. `ratio`: its activation as a
    multiple of that on the best image; None where that is not above 0. `exemplars`: the best
    images, at most 5, the best first.
    """

    percentile: float
    ratio: float | None
    exemplars: tuple[Exemplar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Assessment(PictureMeasures):
    """What is measured of a finished picture with the model's help.

    Numbers about a unit are None for an objective without one. `rank`: 1 when no other unit of the
    layer responds more. `margin`: its score less that of the best other unit. `probability`: of a
    class, softmax. `noise_z_score`: by how many standard deviations it responds more than to noise
    of a natural spectrum. `robustness`: the share of slightly scaled, turned, shifted and mirrored
    pictures in which it responds most of its layer. `calibration`: also None where the request has
    no natural images. `doubts`: why the picture may mislead, if at all.
    """

    rank: int | None
    margin: float | None
    probability: float | None
    noise_z_score: float | None
    robustness: float | None
    calibration: Calibration | None
    doubts: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics(Assessment):
    """What was measured, on the finished picture as encoded (8 bits), without transforms.

    `unit`: None for an objective without one.
    `gradient_norm`: L2 norm of the gradient with respect to the parameters at the last step.
    `gradient_status`: "redirected" when the gradient was dead at first and ReLU masks were
    opened for a warm-up (Lucid's remedy), "saturated" when it all but vanished on the way.
    `steps`, `ending` and `seed` are those of the attempt that was kept; of `attempts`, those
    without any gradient are left out.
    """

    model: str
    model_version: str
    model_sha256: str
    layer: str
    tensor: str
    unit: int | None
    unit_count: int
    label: str
    activation_start: float
    activation_end: float
    activation_best: float
    trajectory: tuple[TrajectoryPoint, ...]
    top_classes: tuple[ClassScore, ...]
    gradient_norm: float
    gradient_status: GradientStatus
    steps: int
    ending: Ending
    seed: int
    attempts: tuple[Attempt, ...]
    queued_seconds: float
    compiling_seconds: float
    running_seconds: float
    measuring_seconds: float
    steps_per_second: float
    preprocessing: Preprocessing


@dataclass(frozen=True, slots=True)
class Maximization:
    """The picture a unit prefers, encoded, with its metrics.

    `record`: what it can be made from again, as JSON; also inside the file (see `engine.record`).
    `cached`: it was made for an earlier request, and the times in its metrics are of that one.
    """

    request_id: str
    image: bytes = field(repr=False)
    image_format: ImageFormat
    width_px: int
    height_px: int
    metrics: Metrics
    record: str
    cached: bool = False

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
