"""The card of a model: how a picture becomes its input, and what its classes are called.

A card is a small TOML file beside the model (``name.toml`` for ``name.onnx``):

    [model]
    title = "SqueezeNet 1.1"

    [input]
    layout = "NCHW"
    channels = "BGR"
    height_px = 227
    width_px = 227
    low = 0.0
    high = 255.0
    mean = [104.006, 116.669, 122.679]
    std = [1.0, 1.0, 1.0]

    [labels]
    file = "labels.txt"

A model with several inputs needs two things more: `name` under [input], the input that takes the
picture, and what the others hold, a number or a nested list each:

    [constants]
    keep_prob = 1.0

How many requests a server has taken in at a time, at most, can be limited for a model:

    [limits]
    requests = 8

The model's input is ``(low + picture · (high − low) − mean) / std`` for a picture in 0..1, with
`mean` and `std` in the model's channel order.
"""

from __future__ import annotations

import math
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unitscope.errors import ModelRejected
from unitscope.graph.ir import Dim, Shape

LAYOUTS = ("NCHW", "NHWC")
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
_DEFAULT_SIZE_PX = 224
MAX_SIDE_PX = 1 << 18
"""Enough for a row of numbers that is taken as a picture one pixel high."""
_LARGEST = 3e38
_MAX_LABELS_BYTES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class Card:
    """Preprocessing and labels of one model.

    `channels`: one letter per channel in the model's order, for example "RGB", "BGR" or "L".
    `labels`: one per class, or empty. `image`: the input that takes the picture, "" = the only
    one; `constants`: what the others hold. `max_requests`: 0 = no limit of its own.
    `inferred`: nobody stated this, it was guessed from the graph.
    """

    layout: str
    channels: str
    height_px: int
    width_px: int
    low: float = 0.0
    high: float = 1.0
    mean: tuple[float, ...]
    std: tuple[float, ...]
    labels: tuple[str, ...] = ()
    image: str = ""
    constants: Mapping[str, Any] = field(default_factory=dict)
    title: str = ""
    license: str = ""
    source: str = ""
    max_requests: int = 0
    inferred: bool = False

    def __post_init__(self) -> None:
        for name in ("layout", "channels", "title", "license", "source"):
            if not isinstance(given := getattr(self, name), str):
                raise _wrong(f"input.{name}", given, "a text")
        for name in ("height_px", "width_px"):
            given = getattr(self, name)
            if type(given) is not int or not 1 <= given <= MAX_SIDE_PX:
                raise _wrong(f"input.{name}", given, f"sizes ≥ 1, at most {MAX_SIDE_PX}")
        if type(self.max_requests) is not int or self.max_requests < 0:
            raise _wrong("limits.requests", self.max_requests, "a whole number, 0 or more")
        for given in (self.low, self.high, *self.mean, *self.std):
            if type(given) not in (int, float) or abs(given) > _LARGEST or math.isnan(given):
                raise _wrong("input", given, "finite numbers as low, high, mean and std")
        count = len(self.channels)
        if self.layout not in LAYOUTS:
            raise _wrong("input.layout", self.layout, f"one of {', '.join(LAYOUTS)}")
        if len(self.mean) != count or len(self.std) != count:
            raise _wrong("input.mean and input.std", (self.mean, self.std), f"{count} numbers each")
        if 0 in self.std:
            raise _wrong("input.std", self.std, "finite numbers, std ≠ 0")


def load_card(path: Path) -> Card:
    """Read a card; raises ModelRejected naming the key that is missing or wrong."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ModelRejected(f"cannot read the card {path.name}: {error}") from error
    about, given = _table(content, "model"), dict(_table(content, "input"))
    given["image"] = str(given.pop("name", ""))
    for key in ("mean", "std"):
        listed = given.get(key, [])
        if not isinstance(listed, list):
            raise _wrong(f"input.{key}", listed, "a list of numbers")
        given[key] = tuple(listed)
    try:
        return Card(
            **given,
            constants=_table(content, "constants"),
            labels=_labels(_table(content, "labels"), path.parent),
            title=str(about.get("title", "")),
            license=str(about.get("license", "")),
            source=str(about.get("source", "")),
            max_requests=_table(content, "limits").get("requests", 0),
        )
    except TypeError as error:
        raise ModelRejected(f"the card {path.name} is incomplete: [input] {error}") from error


def infer_card(
    shape: Shape, class_count: int, *, layout: str = "", span: float | None = None
) -> Card:
    """Guess the card of a model from its input `shape` (with batch) and number of classes.

    `layout`: "" where it is to be guessed, too. `span`: the largest value of a picture, for a model
    that normalizes by itself. Else three
    channels and 1000 classes mean ImageNet as torchvision normalizes it; anything else is taken as
    a picture in 0..1. A row of numbers is taken as a square picture where it can be one. The
    result is marked `inferred`.
    """
    layout, channels, height, width = _picture_of(shape, layout)
    imagenet = channels == 3 and class_count == 1000 and span is None
    return Card(
        layout=layout,
        channels={1: "L", 3: "RGB", 4: "RGBA"}.get(channels, "X" * channels),
        height_px=height,
        width_px=width,
        high=1.0 if span is None else span,
        mean=_IMAGENET_MEAN if imagenet else (0.0,) * channels,
        std=_IMAGENET_STD if imagenet else (1.0,) * channels,
        inferred=True,
    )


def _picture_of(shape: Shape, layout: str) -> tuple[str, int, int, int]:
    """Layout, channels, height and width of the picture behind an input of `shape`."""
    if len(shape) == 2 and isinstance(shape[1], int):
        return "NCHW", *_square(shape[1])
    if len(shape) == 3:
        return "NCHW", 1, _size(shape[1]), _size(shape[2])
    if len(shape) != 4:
        raise ModelRejected(
            f"the input has shape {list(shape)}, expected a batch of images [N, C, H, W]"
        )
    guess = "NHWC" if shape[3] in (1, 3, 4) and shape[1] not in (1, 3, 4) else "NCHW"
    last = (layout or guess) == "NHWC"
    channels, height, width = (shape[3], *shape[1:3]) if last else shape[1:]
    if not isinstance(channels, int):
        raise ModelRejected("the number of channels is open: state it in a card beside the model")
    return "NHWC" if last else "NCHW", channels, _size(height), _size(width)


def _square(count: int) -> tuple[int, int, int]:
    for channels in (1, 3):
        side = math.isqrt(count // channels)
        if channels * side * side == count:
            return channels, side, side
    return 1, 1, count


def _size(dim: Dim) -> int:
    return dim if isinstance(dim, int) else _DEFAULT_SIZE_PX


def _labels(table: Mapping[str, Any], directory: Path) -> tuple[str, ...]:
    if "names" in table:
        names = table["names"]
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            raise _wrong("labels.names", names, "a list of texts")
        return tuple(names)
    if "file" not in table:
        return ()
    file = directory / str(table["file"])
    try:
        if not file.resolve().is_relative_to(directory.resolve()):
            raise ValueError("it does not lie beside the card")
        if not file.is_file() or file.stat().st_size > _MAX_LABELS_BYTES:
            raise ValueError(f"it is not a file of at most {_MAX_LABELS_BYTES} bytes")
        return tuple(file.read_text(encoding="utf-8").splitlines())
    except (OSError, ValueError) as error:
        raise ModelRejected(f"cannot read the labels {file.name!r}: {error}") from error


def _table(content: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    table = content.get(key, {})
    if not isinstance(table, dict):
        raise _wrong(key, table, f"a table, [{key}]")
    return table


def _wrong(key: str, got: object, expected: str) -> ModelRejected:
    return ModelRejected(f"card: {key}: got {got!r}, expected {expected}")
