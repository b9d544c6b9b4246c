"""What pictures have in common before anything is climbed: how colours go together, and how much
of each frequency there is; known of natural images, or computed from images that are given.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from unitscope.ascent import fourier
from unitscope.ascent.parameterizations import (
    PARAMETERIZATIONS,
    Array,
    ImageSpec,
    decorrelated_plane,
)
from unitscope.errors import InvalidRequest

COLORS = ("imagenet", "none", "images")
LAWS = {"natural": fourier.Law(1.0, 0.0), "imagenet": fourier.Law(1.35, 0.13)}
"""Field's (1987) for natural images, and what fits ImageNet's mean spectrum, that Fel et al. (2023)
ship with Xplique, within 13 % from 1 to 64 cycles per picture, in all three of its colours.
"""
SPECTRA = (*LAWS, "images")

_IMAGENET_COLORS = np.array([[0.26, 0.09, 0.02], [0.27, 0.00, -0.05], [0.27, -0.09, 0.03]])
"""Square root of the covariance of RGB values over ImageNet (Olah et al. 2017)."""
_LEAST_SHARE = 1e-4
"""Of the largest variance, what is left to a colour that images lack: the matrix has an inverse."""
_NOTHING = 1e-10
"""A variance, of values in 0..1, or a power so small is rounding."""


@dataclass(frozen=True, slots=True)
class Prior:
    """`colors`: the matrix `[C, C]` that mixes decorrelated channels into the model's.

    `spectrum`: a law, or magnitudes `[C, *half_shape]` of the largest picture.
    """

    colors: Array
    spectrum: fourier.Law | Array

    def rows(self, parameterization: str, image: ImageSpec) -> dict[str, Array]:
        """What a program is fed of it for pictures of this size, by the name of the input."""
        given = {"colors": self.colors[None]}
        if not PARAMETERIZATIONS[parameterization].has_spectrum:
            return given
        size = image.height_px, image.width_px
        if isinstance(self.spectrum, fourier.Law):
            magnitudes = self.spectrum.magnitudes(image.channels, *size)
        else:
            magnitudes = fourier.resize_magnitudes(self.spectrum, *size)
        return given | {"magnitudes": magnitudes[None]}


def prior_of(
    channels: int, *, colors: str, spectrum: str, images: Sequence[np.ndarray] = ()
) -> Prior:
    """The prior by the names of its parts; `images`: `[C, H, W]` in 0..255, all of one size.

    ImageNet's colours are known for RGB; else none are assumed. Raises InvalidRequest for images
    from which nothing can be computed because they are all of one colour.
    """
    matrix = np.eye(channels, dtype=np.float32)
    if colors == "images":
        matrix = colors_of(images)
    elif colors == "imagenet" and channels == 3:
        matrix = _normalized(_IMAGENET_COLORS)
    return Prior(matrix, LAWS[spectrum] if spectrum in LAWS else magnitudes_of(images, matrix))


def colors_of(images: Sequence[np.ndarray]) -> Array:
    """U √Λ `[C, C]` of the covariance U Λ Uᵀ of the values of `images` `[C, H, W]` in 0..255.

    Columns by falling variance, the first one's norm is 1 (as Lucid has it for ImageNet).
    """
    variances, directions = np.linalg.eigh(_covariance(images))
    if variances[-1] < _NOTHING:
        raise _all_of_one_colour()
    directions *= np.where(directions.sum(0) < 0, -1, 1)  # of the two, the one that brightens
    kept = np.maximum(variances, _LEAST_SHARE * variances[-1])
    return _normalized((directions * np.sqrt(kept))[:, ::-1])


def magnitudes_of(images: Sequence[np.ndarray], colors: Array) -> Array:
    """The mean magnitudes `[C, *half_shape]` of `images` `[C, H, W]` in 0..255.

    They are those of the planes that `colors` mixes and a sigmoid turns into the images; the mean
    over images is that of Fel et al. 2023.
    """
    planes = (decorrelated_plane(np.asarray(image / 255, np.float32), colors) for image in images)
    mean = np.asarray(sum(map(fourier.magnitudes_of, planes))) / len(images)
    if float(np.sum(mean**2)) < _NOTHING:
        raise _all_of_one_colour()
    return fourier.unit_deviation(mean, images[0].shape[-1])


def _covariance(images: Sequence[np.ndarray]) -> np.ndarray:
    """`[C, C]`, of one image after another: all at once they would take much memory."""
    channels = len(images[0])
    count, total, products = 0, np.zeros(channels), np.zeros((channels, channels))
    for image in images:
        values = image.reshape(channels, -1) / 255
        count += values.shape[1]
        total += values.sum(1)
        products += values @ values.T
    mean = total / count
    return np.asarray(products / count - np.outer(mean, mean))


def _normalized(colors: np.ndarray) -> Array:
    return np.asarray(colors / np.linalg.norm(colors, axis=0).max(), np.float32)


def _all_of_one_colour() -> InvalidRequest:
    expected = "images with something in them, to compute colors or a spectrum"
    return InvalidRequest("natural_images", "nothing but one colour", expected)
