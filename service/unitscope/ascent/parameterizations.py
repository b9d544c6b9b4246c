"""What is optimised: numbers from which an image is computed, and how."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Array = np.ndarray[Any, np.dtype[np.float32]]

_INITIAL_STD = 0.01
_CONTRAST = 0.25
"""Lucid divides by 4 what the spectrum gives before the sigmoid."""

_IMAGENET_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of RGB values over ImageNet (Olah et al. 2017)."""


@dataclass(frozen=True, slots=True)
class ImageSpec:
    """The image to make: `[channels, height_px, width_px]`."""

    channels: int
    height_px: int
    width_px: int


@dataclass(frozen=True, slots=True)
class Parameterization:
    """A way to write an image.

    `shape`: of the parameters of one image. `emit`: parameters `[N, *shape]` → image
    `[N, C, H, W]` in 0..1.
    """

    shape: Callable[[ImageSpec], tuple[int, ...]]
    emit: Callable[[Emitter, Value, ImageSpec], Value]

    def initial(self, seed: int, image: ImageSpec) -> Array:
        """Parameters `[*shape]` of a nearly grey image; the same for the same seed."""
        noise = np.random.default_rng(seed).standard_normal(self.shape(image), np.float32)
        return np.asarray(_INITIAL_STD * noise, np.float32)


PARAMETERIZATIONS: Registry[Parameterization] = Registry("parameterization")


def _pixel_shape(image: ImageSpec) -> tuple[int, ...]:
    return (image.channels, image.height_px, image.width_px)


def _pixel(op: Emitter, parameters: Value, image: ImageSpec) -> Value:
    """image = sigmoid(parameters)"""
    return op.Sigmoid(parameters)


def _fourier(op: Emitter, parameters: Value, image: ImageSpec) -> Value:
    """image = sigmoid(colors · (A_h (parameters / f) A_wᵀ)), A the real Fourier basis.

    Dividing by the frequency f gives all scales of a natural image the same weight
    (Olah et al. 2017).
    """
    rows, columns = _basis(image.height_px), _basis(image.width_px)
    spectrum = op.Mul(parameters, _amplitudes(image))
    plane = op.MatMul(op.MatMul(rows, spectrum), np.ascontiguousarray(columns.T))
    return op.Sigmoid(op.Conv(plane, _colors(image.channels)))


def _basis(size: int) -> Array:
    """Orthonormal cosines and sines `[size, size]`, columns by rising frequency."""
    angles = 2 * np.pi * np.outer(np.arange(size), _frequencies(size))
    columns = np.where(np.arange(size) % 2 == 1, np.cos(angles), np.sin(angles))
    columns[:, 0] = 1.0
    columns /= np.linalg.norm(columns, axis=0)
    return np.asarray(columns, np.float32)


def _frequencies(size: int) -> np.ndarray:
    """Cycles per pixel of each basis column: 0, 1, 1, 2, 2, … over `size`."""
    return ((np.arange(size) + 1) // 2) / size


def _amplitudes(image: ImageSpec) -> Array:
    rows, columns = _frequencies(image.height_px), _frequencies(image.width_px)
    frequency = np.hypot(rows[:, None], columns[None, :])
    lowest = 1.0 / max(image.height_px, image.width_px)
    return np.asarray(_CONTRAST / np.maximum(frequency, lowest), np.float32)


def _colors(channels: int) -> Array:
    """Mixing of decorrelated channels as a 1×1 kernel; known for RGB, else none is assumed."""
    if channels != 3:
        return np.eye(channels, dtype=np.float32)[:, :, None, None]
    mixing = _IMAGENET_COLORS / np.linalg.norm(_IMAGENET_COLORS, axis=0).max()
    return np.asarray(mixing[:, :, None, None], np.float32)


PARAMETERIZATIONS.add("pixel", Parameterization(_pixel_shape, _pixel))
PARAMETERIZATIONS.add("fourier", Parameterization(_pixel_shape, _fourier))
