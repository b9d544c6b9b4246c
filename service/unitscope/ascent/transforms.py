"""Random views of the image: what must hold under them is not an adversarial pattern.

Affine transforms in any sequence are one 2×3 matrix per view, drawn outside the graph; the graph
samples the image once, whatever the sequence, so nothing drifts and nothing needs undoing.
`blur` and `noise` act on the view that was sampled. Ranges are relative to the image, so that they
mean the same at 28 and at 512 pixels. Coordinates run from −1 to 1 over the image's shorter side;
a matrix maps a point of the view to the point of the image seen there.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Affine = tuple[float, float, float, float, float, float]
"""A matrix `[2, 3]`, row by row: of plain numbers, which take less time than small arrays."""
Array = np.ndarray[Any, np.dtype[np.float32]]

_RENAMED = 20
"""The opset that calls GridSample's bilinear mode linear."""


@dataclass(frozen=True, slots=True)
class Transform:
    """The transform `name`, its value drawn from `low`..`high`; None: the kind's own range."""

    name: str
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, slots=True)
class Kind:
    """What a transform draws from `low`..`high`, which lie within `bounds`.

    `matrix`: makes a matrix of the generator and a value drawn; None for a filter. `turns`: it is
    not diagonal.
    """

    low: float
    high: float
    bounds: tuple[float, float]
    matrix: Callable[[np.random.Generator, float], Affine] | None = None
    turns: bool = False


TRANSFORMS: Registry[Kind] = Registry("transform")


def _diagonal(x: float, y: float) -> Affine:
    return x, 0.0, 0.0, 0.0, y, 0.0


def _pad(rng: np.random.Generator, margin: float) -> Affine:
    """Show a grey margin, as a share of the image on each side."""
    return _diagonal(1 + 2 * margin, 1 + 2 * margin)


def _jitter(rng: np.random.Generator, reach: float) -> Affine:
    """Shift each way, by at most a share of the image."""
    x, y = (_between(rng, -2 * reach, 2 * reach) for _ in range(2))
    return 1.0, 0.0, x, 0.0, 1.0, y


def _scale(rng: np.random.Generator, zoom: float) -> Affine:
    """Enlarge: the same thing near and far."""
    return _diagonal(1 / zoom, 1 / zoom)


def _rotate(rng: np.random.Generator, degrees: float) -> Affine:
    """Turn by at most so many degrees, each way."""
    angle = math.radians(_between(rng, -degrees, degrees))
    cos, sin = math.cos(angle), math.sin(angle)
    return cos, -sin, 0.0, sin, cos, 0.0


def _crop(rng: np.random.Generator, side: float) -> Affine:
    """Show a part of the image, its side a share of the image's, anywhere inside.

    Beyond 1 it is the image that lies, with a margin, anywhere in the view.
    """
    x, y = (_between(rng, -abs(1 - side), abs(1 - side)) for _ in range(2))
    return side, 0.0, x, 0.0, side, y


def _stretch(rng: np.random.Generator, ratio: float) -> Affine:
    """Show the image wider, or narrower, by so much than it is high; its area stays."""
    return _diagonal(ratio**-0.5, ratio**0.5)


def _flip(rng: np.random.Generator, probability: float) -> Affine:
    """Mirror left and right."""
    return _diagonal(-1.0 if rng.random() < probability else 1.0, 1.0)


TRANSFORMS.add("pad", Kind(0.05, 0.05, (0, 1), _pad))
TRANSFORMS.add("jitter", Kind(1 / 16, 1 / 16, (0, 1), _jitter))
TRANSFORMS.add("scale", Kind(0.8, 1.6, (0.05, 20), _scale))
TRANSFORMS.add("rotate", Kind(10.0, 10.0, (0, 180), _rotate, turns=True))
TRANSFORMS.add("crop", Kind(0.5, 1.0, (0.02, 2), _crop))
TRANSFORMS.add("stretch", Kind(2 / 3, 3 / 2, (0.1, 10), _stretch))
TRANSFORMS.add("flip", Kind(0.5, 0.5, (0, 1), _flip))
TRANSFORMS.add("blur", Kind(0.0, 0.005, (0, 0.02)))
TRANSFORMS.add("noise", Kind(0.05, 0.05, (0, 1)))


def range_of(transform: Transform) -> tuple[float, float]:
    """The lowest and the highest value that `transform` draws."""
    kind = TRANSFORMS[transform.name]
    low = kind.low if transform.low is None else transform.low
    high = kind.high if transform.high is None else transform.high
    return low, high


def turns(transforms: Sequence[Transform]) -> bool:
    """Whether a view through `transforms` may be turned, so that rows and columns mix."""
    return any(TRANSFORMS[transform.name].turns for transform in transforms)


def is_affine(transform: Transform) -> bool:
    """Whether it is part of the view's matrix; else it filters what was sampled."""
    return TRANSFORMS[transform.name].matrix is not None


@dataclass(frozen=True, slots=True)
class View:
    """One drawn look at the image.

    `matrix`: `[2, 3]`, on coordinates that run from −1 to 1 over both sides of the image. `blur`:
    standard deviation, as a share of the view's shorter side. `noise`: standard deviation, of
    pixels in 0..1.
    """

    matrix: Array
    blur: float
    noise: float


def draw(
    transforms: Sequence[Transform], rng: np.random.Generator, height_px: int, width_px: int
) -> View:
    """Draw each of `transforms`, in that order; blurs add up by variance, and so does noise."""
    seen = _diagonal(1.0, 1.0)
    variances = {"blur": 0.0, "noise": 0.0}
    for transform in transforms:
        value = _between(rng, *range_of(transform))
        kind = TRANSFORMS[transform.name]
        if kind.matrix is None:
            variances[transform.name] += value**2
        else:
            seen = _after(seen, kind.matrix(rng, value))
    aspect = height_px / width_px
    xx, xy, x, yx, yy, y = seen
    shift_x, shift_y = x * min(aspect, 1.0), y * min(1 / aspect, 1.0)
    matrix = np.array([[xx, xy * aspect, shift_x], [yx / aspect, yy, shift_y]], np.float32)
    return View(matrix, variances["blur"] ** 0.5, variances["noise"] ** 0.5)


def _between(rng: np.random.Generator, low: float, high: float) -> float:
    """What `rng.uniform` gives, in a quarter of the time."""
    return low + (high - low) * rng.random()


def _after(outer: Affine, inner: Affine) -> Affine:
    """The map that does as `inner` says, then as `outer` says."""
    a, b, x, c, d, y = outer
    e, f, u, g, h, v = inner
    return (
        a * e + b * g, a * f + b * h, a * u + b * v + x,
        c * e + d * g, c * f + d * h, c * u + d * v + y,
    )  # fmt: skip


def emit_view(
    op: Emitter, image: Value, matrices: Value, height_px: int, width_px: int, *, turned: bool
) -> Value:
    """Sample `image` `[N, C, H, W]` through `matrices` `[N, 2, 3]`: a view `[N, C, height, width]`.

    Bilinear; what lies outside the image is mid-grey. Where no view is `turned`, rows and columns
    are sampled each on their own, by products of matrices: about half of the time.
    """
    emit = _emit_turned if turned else _emit_upright
    return op.Add(emit(op, op.Sub(image, 0.5), matrices, height_px, width_px), 0.5)


def _emit_turned(
    op: Emitter, image: Value, matrices: Value, height_px: int, width_px: int
) -> Value:
    x, y = _centres(width_px), _centres(height_px)
    points = np.stack([*np.meshgrid(x, y), np.ones((height_px, width_px))], axis=-1)
    flat = op.const(points.reshape(1, -1, 3), np.float32)
    grid = op.MatMul(flat, op.Transpose(matrices, perm=[0, 2, 1]))
    grid = op.Reshape(grid, [0, height_px, width_px, 2])
    mode = "bilinear" if op.graph.opset < _RENAMED else "linear"
    return op.GridSample(image, grid, mode=mode, padding_mode="zeros", align_corners=0)


def _emit_upright(
    op: Emitter, image: Value, matrices: Value, height_px: int, width_px: int
) -> Value:
    shares = []
    for axis, (seen, size) in enumerate(
        zip((width_px, height_px), (image.shape or ())[:1:-1], strict=True)
    ):
        scale = op.Slice(matrices, [axis, axis], [axis + 1, axis + 1], [1, 2])
        shift = op.Slice(matrices, [axis, 2], [axis + 1, 3], [1, 2])
        centres = op.const(_centres(seen)[:, None] * int(size) / 2, np.float32)
        middle = op.Add(op.Mul(shift, int(size) / 2), (int(size) - 1) / 2)
        away = op.Abs(op.Sub(op.Add(op.Mul(scale, centres), middle), np.arange(size, dtype="f4")))
        shares.append(op.Unsqueeze(op.Relu(op.Sub(1.0, away)), [1]))
    columns, rows = shares
    return op.MatMul(rows, op.MatMul(image, op.Transpose(columns, perm=[0, 1, 3, 2])))


def blur_reach(shorter_px: int) -> int:
    """Pixels from the middle to the end of a kernel: three of the largest standard deviations."""
    return int(np.ceil(3 * TRANSFORMS["blur"].bounds[1] * shorter_px))


def blur_kernel(std: float, shorter_px: int) -> Array:
    """A Gaussian `[K]` whose standard deviation is a share of the view's shorter side."""
    reach = blur_reach(shorter_px)
    exponents = np.arange(-reach, reach + 1) ** 2 / max(2 * (std * shorter_px) ** 2, 1e-6)
    weights = np.exp(-exponents)
    return np.asarray(weights / weights.sum(), np.float32)


def _centres(size: int) -> np.ndarray:
    """Centres of `size` pixels on −1..1."""
    return (2 * np.arange(size) + 1) / size - 1
