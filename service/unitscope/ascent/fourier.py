"""Pictures as Fourier series: the bases, and how a picture of another size keeps its content."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

Array = np.ndarray[Any, np.dtype[np.float32]]

_CONTRAST = 0.25
"""Lucid divides by 4 what the spectrum gives before the sigmoid."""


def emit_plane(op: Emitter, parameters: Value, height: int, width: int) -> Value:
    """A_h (parameters / f) A_wᵀ: a series of cosines and sines, `[N, C, height, width]` both.

    Dividing by the frequency f gives all scales of a natural image the same weight
    (Olah et al. 2017).
    """
    spectrum = op.Mul(parameters, _amplitudes(height, width))
    columns = np.ascontiguousarray(_basis(width).T)
    return op.MatMul(op.MatMul(_basis(height), spectrum), columns)


def fit_plane(plane: np.ndarray) -> Array:
    """The parameters `[C, H, W]` of a plane `[C, H, W]`; the bases are orthonormal."""
    height, width = plane.shape[-2:]
    spectrum = _basis(height).T @ plane @ _basis(width)
    return np.asarray(spectrum / _amplitudes(height, width), np.float32)


def resize(parameters: Array, height: int, width: int) -> Array:
    """Parameters for a plane of another size: the same waves, and new ones of zero.

    Frequencies are counted in cycles per image, so that the same number means the same wave.
    """
    kept = parameters[:, :height, :width]
    return np.pad(kept, [(0, 0), (0, height - kept.shape[1]), (0, width - kept.shape[2])])


def half_shape(height: int, width: int) -> tuple[int, int]:
    """Of the spectrum of a real plane: all vertical frequencies, horizontal ones from 0 up."""
    return height, width // 2 + 1


def emit_phases(op: Emitter, phases: Value, magnitudes: Value, height: int, width: int) -> Value:
    """F⁻¹(magnitude · e^{i·phase}) · height · width / 2, as numpy's irfft2 has the inverse.

    `[N, C, *half_shape]` both → `[N, C, height, width]`. With magnitudes of `unit_deviation`, the
    plane has a standard deviation of about 1.
    """
    rows = 2 * np.pi * np.outer(np.arange(height), np.arange(height)) / height
    columns = 2 * np.pi * np.outer(np.arange(width // 2 + 1), np.arange(width)) / width
    cos_h, sin_h, cos_w, sin_w = (
        np.asarray(wave(angles), np.float32)
        for angles in (rows, columns)
        for wave in (np.cos, np.sin)
    )
    weighted = op.Mul(magnitudes, _shares(width))
    real = op.Mul(op.Cos(phases), weighted)
    imaginary = op.Mul(op.Sin(phases), weighted)
    across = op.Sub(op.MatMul(cos_h, real), op.MatMul(sin_h, imaginary))
    beside = op.Add(op.MatMul(sin_h, real), op.MatMul(cos_h, imaginary))
    return op.Sub(op.MatMul(across, cos_w), op.MatMul(beside, sin_w))


@dataclass(frozen=True, slots=True)
class Law:
    """How magnitudes fall with the frequency f at the angle θ: f^−exponent · e^{upright · cos 4θ}.

    `upright`: how much more there is along the axes than between them.
    """

    exponent: float
    upright: float

    def magnitudes(self, channels: int, height: int, width: int) -> Array:
        """`[channels, *half_shape]`; nothing at 0: the picture is mid-grey on average."""
        y, x = np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None, :]
        frequency = np.hypot(y, x)
        frequency[0, 0] = np.inf
        plane = np.exp(self.upright * np.cos(4 * np.arctan2(y, x))) * frequency**-self.exponent
        return unit_deviation(np.broadcast_to(plane, (channels, *plane.shape)), width)


def unit_deviation(magnitudes: np.ndarray, width: int) -> Array:
    """Magnitudes `[C, *half_shape]` scaled to planes of a standard deviation of about 1.

    It is that of all channels together: which of them has more is kept.
    """
    power = np.sum(magnitudes**2 * _shares(width)) / len(magnitudes)
    return np.asarray(magnitudes / np.sqrt(power / 2), np.float32)


def magnitudes_of(plane: np.ndarray) -> np.ndarray:
    """With the phases of a plane `[C, H, W]`, what `emit_phases` makes that plane of, to a factor.

    Nothing at 0.
    """
    magnitudes = np.abs(np.fft.rfft2(plane))
    magnitudes[..., 0, 0] = 0.0
    return magnitudes


def resize_magnitudes(magnitudes: Array, height: int, width: int) -> Array:
    """Magnitudes `[C, *half_shape]` for a plane of a smaller size: of the same waves."""
    rows = np.rint(np.fft.fftfreq(height) * height).astype(int)
    return unit_deviation(magnitudes[:, rows, : half_shape(height, width)[1]], width)


def phases_of(plane: np.ndarray) -> Array:
    """The phases `[C, *half_shape]` of a plane `[C, H, W]`."""
    return np.asarray(np.angle(np.fft.rfft2(plane)), np.float32)


def resize_phases(phases: Array, height: int, width: int) -> Array:
    """Phases for a plane of another size: the same waves, and new ones anywhere."""
    shape = (len(phases), *half_shape(height, width))
    turned = np.random.default_rng(0).uniform(-np.pi, np.pi, shape).astype(np.float32)
    low = min(height, phases.shape[1])
    right = min(shape[2], phases.shape[2])
    above, below = (low + 1) // 2, low // 2
    turned[:, :above, :right] = phases[:, :above, :right]
    turned[:, height - below :, :right] = phases[:, phases.shape[1] - below :, :right]
    return turned


def _shares(width: int) -> Array:
    """How much of a wave each column of a half spectrum holds.

    The first, and that of half an even width, are their own mirror images: they hold both halves of
    their waves, each of which is a half then; of the others' the mirror image is left out.
    """
    shares = np.ones(width // 2 + 1, np.float32)
    shares[0] = 0.5
    if width % 2 == 0:
        shares[-1] = 0.5
    return shares


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


def _amplitudes(height: int, width: int) -> Array:
    frequency = np.hypot(_frequencies(height)[:, None], _frequencies(width)[None, :])
    return np.asarray(_CONTRAST / np.maximum(frequency, 1.0 / max(height, width)), np.float32)
