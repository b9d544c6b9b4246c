"""What can be said of a finished picture, and whether it may be trusted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from PIL import Image

from unitscope.ascent.transforms import Transform, draw
from unitscope.engine.picture import Pixels
from unitscope.engine.request import Calibration, Exemplar, PictureMeasures

AUGMENTATIONS = 8
NOISE_PICTURES = 16
EXEMPLARS = 5
_LOOKS = (
    Transform("scale", 0.8, 1.25),
    Transform("rotate", 10, 10),
    Transform("jitter", 0.06, 0.06),
    Transform("flip"),
)
_FINE = 0.25
"""Cycles per pixel; the finest wave has a half."""
_GREY = 128
_FAR_ABOVE_NOISE = 3.0
_ROBUST = 0.5


def measure(pixels: Pixels) -> PictureMeasures:
    """The measures of a picture `[C, H, W]`."""
    values = pixels.astype(np.float64) / 255
    steps = [np.abs(np.diff(values, axis=axis)).ravel() for axis in (1, 2)]
    power = np.abs(np.fft.fft2(values - values.mean((1, 2), keepdims=True))) ** 2
    frequencies = (np.fft.fftfreq(size) for size in values.shape[1:])
    fine = np.hypot(*np.meshgrid(*frequencies, indexing="ij")) > _FINE
    total = float(power.sum())
    return PictureMeasures(
        total_variation=float(np.concatenate(steps).mean()) if values[0].size > 1 else 0.0,
        clipped_share=float(np.mean((pixels == 0) | (pixels == 255))),
        high_frequency_share=float(power[:, fine].sum() / total) if total else 0.0,
    )


def augmented(pixels: Pixels, seed: int) -> list[Pixels]:
    """`AUGMENTATIONS` looks at a picture `[C, H, W]`: scaled, turned, shifted, mirrored."""
    rng = np.random.default_rng((seed, 0))
    height, width = pixels.shape[1:]
    views = [draw(_LOOKS, rng, height, width).matrix for _ in range(AUGMENTATIONS)]
    return [_seen_through(pixels, view) for view in views]


def noise_pictures(channels: int, height_px: int, width_px: int) -> Iterator[Pixels]:
    """`NOISE_PICTURES` pictures of nothing, of a natural spectrum; always the same ones."""
    rng = np.random.default_rng(0)
    frequency = np.hypot(np.fft.fftfreq(height_px)[:, None], np.fft.rfftfreq(width_px)[None, :])
    frequency[0, 0] = np.inf
    for _ in range(NOISE_PICTURES):
        waves = np.fft.rfft2(rng.standard_normal((channels, height_px, width_px))) / frequency
        planes = np.fft.irfft2(waves, s=(height_px, width_px))
        planes /= planes.std(axis=(1, 2), keepdims=True) + 1e-12
        yield np.clip(np.rint(_GREY + 50 * planes), 0, 255).astype(np.uint8)


def z_score(value: float, others: np.ndarray) -> float | None:
    """By how many standard deviations `value` lies above the mean of `others`.

    None if these are all the same.
    """
    deviation = float(others.std())
    return (value - float(others.mean())) / deviation if deviation > 0 else None


def calibrate(value: float, natural: Sequence[float]) -> Calibration:
    """Where a unit's activation `value` lies among those on natural images, at least one."""
    order = sorted(range(len(natural)), key=lambda index: -natural[index])
    best = natural[order[0]]
    return Calibration(
        percentile=100 * sum(other < value for other in natural) / len(natural),
        ratio=value / best if best > 0 else None,
        exemplars=tuple(Exemplar(index, natural[index]) for index in order[:EXEMPLARS]),
    )


def doubts(
    *,
    rank: int | None,
    robustness: float | None,
    noise_z_score: float | None,
    calibration: Calibration | None,
    inferred: bool,
) -> tuple[str, ...]:
    """Why a picture may mislead; empty where nothing speaks against it."""
    found = []
    if rank is not None and rank > 1:
        found.append(f"{rank - 1} other units of the layer respond more")
    if robustness is not None and robustness < _ROBUST:
        found.append(f"the unit wins on only {robustness:.0%} of slightly changed pictures")
    if noise_z_score is not None and noise_z_score < _FAR_ABOVE_NOISE:
        found.append("the activation is not far above that of noise")
    if calibration is not None and calibration.percentile < 100:
        best = calibration.exemplars[0].index
        found.append(f"the unit responds as much or more to natural image {best}")
    if inferred:
        found.append("nobody stated the model's preprocessing: it was guessed")
    return tuple(found)


def _seen_through(pixels: Pixels, matrix: np.ndarray) -> Pixels:
    """What a view's matrix `[2, 3]` shows; grey beyond the picture."""
    height, width = pixels.shape[1:]
    to_unit = np.array([[2 / width, 0, 1 / width - 1], [0, 2 / height, 1 / height - 1], [0, 0, 1]])
    to_pixels = np.linalg.inv(to_unit)
    inner = np.vstack([matrix, [0, 0, 1]])
    affine = tuple((to_pixels @ inner @ to_unit)[:2].ravel())
    planes = [
        Image.fromarray(plane).transform(
            (width, height),
            Image.Transform.AFFINE,
            affine,
            Image.Resampling.BILINEAR,
            fillcolor=_GREY,
        )
        for plane in pixels
    ]
    return np.stack([np.asarray(plane) for plane in planes])
