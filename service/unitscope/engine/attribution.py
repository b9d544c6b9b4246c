"""The nouns of an attribution: what is asked, and what is answered."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np

from unitscope.ascent.attribution import METHODS, RANGES, Options
from unitscope.ascent.parameterizations import Array
from unitscope.engine.request import ClassScore, Preprocessing
from unitscope.errors import InvalidRequest


@dataclass(frozen=True, slots=True, kw_only=True)
class AttributeRequest:
    """A picture, a unit, and how to say what the one has to do with the other.

    `image`: an encoded PNG, JPEG or WebP. `unit`: channel or feature index, or the label of a
    class. `model`: name in the repository, "" for the default; `model_version`: a number, "" for
    the latest that can be used. `layer`: tensor name or friendly
    name, "" for the logits. `position`: (x, y) in the layer's map, or (token, 0), of one neuron;
    None for the whole channel. `method`: one of `ascent.attribution.METHODS`; the fields after it
    are those of `ascent.attribution.Options`, None for the method's own.
    """

    image: bytes = field(repr=False)
    unit: int | str
    model: str = ""
    model_version: str = ""
    layer: str = ""
    position: tuple[int, int] | None = None
    method: str = "integrated_gradients"
    samples: int | None = None
    noise: float | None = None
    seed: int | None = None
    baseline: float | None = None

    def options(self) -> Options:
        """The options of the method: its own where the request has none.

        Raises InvalidRequest for an unknown method, an option it does not take, or a value out of
        range.
        """
        if self.method not in METHODS:
            raise InvalidRequest("method", self.method, f"one of {', '.join(METHODS)}")
        taken = METHODS[self.method].defaults
        given = {name: value for name in RANGES if (value := getattr(self, name)) is not None}
        for name, value in given.items():
            least, most = RANGES[name]
            if name not in taken:
                raise InvalidRequest(name, value, f"none: {self.method} takes no {name}")
            if not least <= value <= most:
                raise InvalidRequest(name, value, f"a number in {least}..{most}")
        return Options(**{**taken, **given})


@dataclass(frozen=True, slots=True)
class Completeness:
    """How far an attribution is from Σ value = score(picture) − score(baseline).

    `gap`: the left side less the right one. `relative_gap`: its absolute value over that of the
    right side; None where the two scores are equal.
    """

    baseline_activation: float
    gap: float
    relative_gap: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribution:
    """How much each pixel has to do with the activation of a unit.

    `tensor`: what the gradient was really taken of. `samples`: 1 for a method that looks at the
    picture itself. `noise`, `seed`, `baseline`: as used, None where the method has none.
    `activation`: on the picture. `values_npy`: `values` as a NumPy file. `heat_map`: a grey PNG of
    the largest absolute value over the channels, white from the 99th percentile on (of those that
    are not zero). `overlay`: a PNG, the heat map in colours over the picture.
    """

    model: str
    model_version: str
    model_sha256: str
    layer: str
    tensor: str
    unit: int
    label: str
    method: str
    samples: int
    noise: float | None
    seed: int | None
    baseline: float | None
    activation: float
    completeness: Completeness | None
    top_classes: tuple[ClassScore, ...]
    values_npy: bytes = field(repr=False)
    heat_map: bytes = field(repr=False)
    overlay: bytes = field(repr=False)
    width_px: int
    height_px: int
    running_seconds: float
    preprocessing: Preprocessing

    @property
    def values(self) -> Array:
        """The attribution `[C, H, W]`, signed, by the picture with values 0..1, in its channels."""
        values: Array = np.load(io.BytesIO(self.values_npy), allow_pickle=False)
        return values

    def to_dict(self) -> dict[str, Any]:
        """Everything but the values and pictures, as plain JSON types."""
        plain = asdict(self)
        return {name: value for name, value in plain.items() if not isinstance(value, bytes)}
