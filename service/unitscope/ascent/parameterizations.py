"""What is optimised: numbers from which an image is computed, and how.

Every parameterization writes its image in decorrelated colours; a matrix, a row of the program
like all that requests may choose, mixes them into the model's (see `ascent.prior`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.ascent import fourier
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Array = np.ndarray[Any, np.dtype[np.float32]]
Rows = Mapping[str, Value]

_COARSEST_PX = 8
_DARKEST = 1 / 512
"""A value this near to black or white has a logit that is still finite."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The image to make: `[channels, height_px, width_px]`."""

    channels: int
    height_px: int
    width_px: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(C, H, W)`."""
        return self.channels, self.height_px, self.width_px


@dataclass(frozen=True, slots=True)
class Parameterization:
    """A way to write an image.

    `shape`: of the parameters of one image. `emit`: parameters `[N, *shape]` and the rows of a
    prior → image `[N, C, H, W]`; in 0..1 unless it `is_raw`: then values beyond are cut when it is
    shown, and the parameters are the pixels themselves, 0 at mid-grey. The rows are `colors`
    `[N, C, C]` and, where it `has_spectrum` that parameters cannot change, `magnitudes`
    `[N, C, *half_shape]`. `fit`: an image `[C, H, W]` in 0..1, colours `[C, C]` → the parameters
    nearest to it. `resize`: parameters for an image of another size.
    """

    shape: Callable[[ImageSpec], tuple[int, ...]]
    emit: Callable[[Emitter, Value, Rows, ImageSpec], Value]
    fit: Callable[[Array, Array], Array]
    resize: Callable[[Array, ImageSpec, ImageSpec], Array]
    is_raw: bool = False
    has_spectrum: bool = False


PARAMETERIZATIONS: Registry[Parameterization] = Registry("parameterization")


def _mix(op: Emitter, plane: Value, prior: Rows, image: ImageSpec) -> Value:
    """image[c] = Σ colors[c, d] · plane[d], each row by its own matrix."""
    flat = op.Reshape(plane, [0, image.channels, -1])
    return op.Reshape(op.MatMul(prior["colors"], flat), [-1, *image.shape])


def decorrelated_plane(image: Array, colors: Array) -> np.ndarray:
    """The plane `[C, H, W]` that `colors` and a sigmoid turn into an image `[C, H, W]` in 0..1."""
    return _unmix(_logit(image), colors)


def _unmix(plane: np.ndarray, colors: Array) -> np.ndarray:
    return np.tensordot(np.linalg.inv(colors.astype(np.float64)), plane, 1)


def _logit(image: Array) -> np.ndarray:
    inside = np.clip(image.astype(np.float64), _DARKEST, 1 - _DARKEST)
    return np.asarray(np.log(inside / (1 - inside)))


def _resampled(plane: Array, height: int, width: int) -> Array:
    """`plane` `[…, h, w]`, bilinearly."""
    rows, columns = (
        _interpolation(new, old) for new, old in zip((height, width), plane.shape[-2:], strict=True)
    )
    return np.asarray(rows @ plane @ columns.T, np.float32)


def _interpolation(new: int, old: int) -> Array:
    """The matrix `[new, old]` that resamples linearly, pixel centres aligned as in Resize."""
    centres = np.clip((np.arange(new) + 0.5) * old / new - 0.5, 0, old - 1)
    return np.asarray(np.maximum(1 - np.abs(centres[:, None] - np.arange(old)), 0), np.float32)


# Pixels


def _pixel_shape(image: ImageSpec) -> tuple[int, ...]:
    return image.shape


def _pixel(op: Emitter, parameters: Value, prior: Rows, image: ImageSpec) -> Value:
    """image = ½ + colors · parameters"""
    return op.Add(_mix(op, parameters, prior, image), 0.5)


def _fit_pixels(image: Array, colors: Array) -> Array:
    return np.asarray(_unmix(image - 0.5, colors), np.float32)


def _resize_pixels(parameters: Array, old: ImageSpec, new: ImageSpec) -> Array:
    return _resampled(parameters, new.height_px, new.width_px)


# Fourier (Olah et al. 2017)


def _fourier(op: Emitter, parameters: Value, prior: Rows, image: ImageSpec) -> Value:
    """image = sigmoid(colors · (A_h (parameters / f) A_wᵀ)), A the real Fourier basis."""
    plane = fourier.emit_plane(op, parameters, image.height_px, image.width_px)
    return op.Sigmoid(_mix(op, plane, prior, image))


def _fit_fourier(image: Array, colors: Array) -> Array:
    return fourier.fit_plane(decorrelated_plane(image, colors))


def _resize_fourier(parameters: Array, old: ImageSpec, new: ImageSpec) -> Array:
    return fourier.resize(parameters, new.height_px, new.width_px)


# Laplacian pyramid: a level for each octave, all of them free


def _levels(image: ImageSpec) -> list[tuple[int, int]]:
    """Heights and widths, the finest first, each half of the one before."""
    height, width = image.height_px, image.width_px
    levels = [(height, width)]
    while min(height, width) > _COARSEST_PX:
        height, width = (height + 1) // 2, (width + 1) // 2
        levels.append((height, width))
    return levels


def _pyramid_shape(image: ImageSpec) -> tuple[int, ...]:
    return (sum(image.channels * height * width for height, width in _levels(image)),)


def _pyramid(op: Emitter, parameters: Value, prior: Rows, image: ImageSpec) -> Value:
    """image = sigmoid(colors · Σ level, each enlarged to the image)"""
    start, planes = 0, []
    for height, width in _levels(image):
        end = start + image.channels * height * width
        level = op.Slice(parameters, [start], [end], [1])
        level = op.Reshape(level, [-1, image.channels, height, width])
        rows = _interpolation(image.height_px, height)
        columns = np.ascontiguousarray(_interpolation(image.width_px, width).T)
        planes.append(op.MatMul(op.MatMul(rows, level), columns))
        start = end
    plane = planes[0]
    for other in planes[1:]:
        plane = op.Add(plane, other)
    return op.Sigmoid(_mix(op, plane, prior, image))


def _fit_pyramid(image: Array, colors: Array) -> Array:
    finest = decorrelated_plane(image, colors).ravel()
    size = _pyramid_shape(ImageSpec(*image.shape))[0]
    return np.asarray(np.pad(finest, (0, size - finest.size)), np.float32)


def _resize_pyramid(parameters: Array, old: ImageSpec, new: ImageSpec) -> Array:
    """Level by level from the finest; levels that are new begin at zero."""
    start, levels = 0, []
    before = _levels(old)
    for index, (height, width) in enumerate(_levels(new)):
        if index < len(before):
            end = start + old.channels * before[index][0] * before[index][1]
            level = parameters[start:end].reshape(old.channels, *before[index])
            levels.append(_resampled(level, height, width))
            start = end
        else:
            levels.append(np.zeros((new.channels, height, width), np.float32))
    return np.concatenate([level.ravel() for level in levels])


# MACO (Fel et al. 2023): the magnitudes stay those of images, only phases are free


def _maco_shape(image: ImageSpec) -> tuple[int, ...]:
    return (image.channels, *fourier.half_shape(image.height_px, image.width_px))


def _maco(op: Emitter, parameters: Value, prior: Rows, image: ImageSpec) -> Value:
    """image = sigmoid(colors · Re F⁻¹(magnitudes · e^{i·parameters}))"""
    size = image.height_px, image.width_px
    plane = fourier.emit_phases(op, parameters, prior["magnitudes"], *size)
    return op.Sigmoid(_mix(op, plane, prior, image))


def _fit_phases(image: Array, colors: Array) -> Array:
    return fourier.phases_of(decorrelated_plane(image, colors))


def _resize_phases(parameters: Array, old: ImageSpec, new: ImageSpec) -> Array:
    return fourier.resize_phases(parameters, new.height_px, new.width_px)


PARAMETERIZATIONS.add(
    "pixel", Parameterization(_pixel_shape, _pixel, _fit_pixels, _resize_pixels, is_raw=True)
)
PARAMETERIZATIONS.add(
    "fourier", Parameterization(_pixel_shape, _fourier, _fit_fourier, _resize_fourier)
)
PARAMETERIZATIONS.add(
    "pyramid", Parameterization(_pyramid_shape, _pyramid, _fit_pyramid, _resize_pyramid)
)
PARAMETERIZATIONS.add(
    "maco",
    Parameterization(_maco_shape, _maco, _fit_phases, _resize_phases, has_spectrum=True),
)
