"""What pictures have in common: colours and spectra of images whose statistics are known."""

from __future__ import annotations

import numpy as np
import pytest

from tests.ascent.test_parameterizations import draw_image
from unitscope.ascent.fourier import half_shape
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec, decorrelated_plane
from unitscope.ascent.prior import colors_of, magnitudes_of, prior_of
from unitscope.errors import InvalidRequest

SPEC = ImageSpec(3, 24, 32)


def coloured(mixing: np.ndarray, count: int = 3) -> list[np.ndarray]:
    """Images `[C, 40, 50]` of noise that `mixing` `[C, C]` colours."""
    rng = np.random.default_rng(0)
    planes = [np.tensordot(mixing, rng.standard_normal((len(mixing), 40, 50)), 1)] * count
    return [np.clip(np.rint(128 + plane), 0, 255).astype(np.uint8) for plane in planes]


def striped(spec: ImageSpec, count: int = 8) -> list[np.ndarray]:
    """Fine stripes across and slow ones along, over noise; each image with other phases."""
    rng = np.random.default_rng(1)
    y, x = np.mgrid[: spec.height_px, : spec.width_px]
    images = []
    for _ in range(count):
        shift = rng.uniform(0, 2 * np.pi, 2)
        waves = np.sin(2 * np.pi * 9 * x / spec.width_px + shift[0])
        waves = waves + 0.5 * np.sin(2 * np.pi * 2 * y / spec.height_px + shift[1])
        noise = rng.standard_normal((spec.channels, spec.height_px, spec.width_px))
        images.append(np.rint(128 + 40 * waves + 8 * noise).clip(0, 255).astype(np.uint8))
    return images


@pytest.mark.parametrize("channels", [1, 3, 4, 13])
def test_the_colours_of_images_are_a_root_of_their_covariance(channels: int) -> None:
    mixing = np.random.default_rng(2).standard_normal((channels, channels)) * 8
    images = coloured(mixing + 10 * np.eye(channels))
    values = np.concatenate([image.reshape(channels, -1) for image in images], axis=1) / 255
    covariance = np.cov(values, bias=True).reshape(channels, channels)
    colors = colors_of(images)
    scale = np.linalg.eigvalsh(covariance).max()
    np.testing.assert_allclose(colors @ colors.T, covariance / scale, atol=1e-5)
    norms = np.linalg.norm(colors, axis=0)
    assert norms[0] == pytest.approx(1) and (np.diff(norms) <= 0).all()
    assert (colors.sum(0) >= 0).all()


def test_grey_images_have_hardly_any_colour_and_a_matrix_with_an_inverse() -> None:
    grey = [np.repeat(image, 3, axis=0) for image in coloured(np.full((1, 1), 30.0))]
    colors = colors_of(grey)
    np.testing.assert_allclose(colors[:, 0], 3**-0.5, rtol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(colors, axis=0)[1:], 0.01, rtol=1e-3)
    assert np.linalg.cond(colors) == pytest.approx(100, rel=1e-3)


@pytest.mark.parametrize(
    ("channels", "colors", "identity"),
    [(3, "imagenet", False), (3, "none", True), (1, "imagenet", True), (13, "imagenet", True)],
)
def test_the_colours_of_imagenet_are_those_of_rgb(
    channels: int, colors: str, *, identity: bool
) -> None:
    matrix = prior_of(channels, colors=colors, spectrum="natural").colors
    assert np.array_equal(matrix, np.eye(channels)) == identity
    assert np.linalg.norm(matrix, axis=0).max() == pytest.approx(1)


def test_a_picture_of_any_phases_has_the_spectrum_of_the_images() -> None:
    images = striped(SPEC)
    prior = prior_of(3, colors="none", spectrum="images", images=images)
    phases = np.random.default_rng(0).uniform(-np.pi, np.pi, (3, *half_shape(24, 32)))
    drawn = draw_image("maco", SPEC, phases.astype(np.float32), prior)
    mean = np.mean([np.abs(np.fft.rfft2(image / 255)) for image in images], axis=0)
    own = np.abs(np.fft.rfft2(drawn))
    usual = np.abs(np.fft.rfft2(draw_image("maco", SPEC, phases.astype(np.float32))))
    mean[:, 0, 0] = own[:, 0, 0] = usual[:, 0, 0] = 0
    assert np.corrcoef(own.ravel(), mean.ravel())[0, 1] > 0.95
    assert np.corrcoef(usual.ravel(), mean.ravel())[0, 1] < 0.6
    plane = decorrelated_plane(drawn, prior.colors)
    assert plane.mean() == pytest.approx(0, abs=1e-3) and plane.std() == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("size", [(24, 32), (17, 23), (8, 7)])
def test_an_image_is_drawn_from_its_own_phases_and_magnitudes(size: tuple[int, int]) -> None:
    spec = ImageSpec(3, *size)
    (image,) = striped(spec, count=1)
    prior = prior_of(3, colors="imagenet", spectrum="images", images=[image])
    phases = PARAMETERIZATIONS["maco"].fit(np.asarray(image / 255, np.float32), prior.colors)
    drawn, own = (
        decorrelated_plane(np.asarray(picture, np.float32), prior.colors)
        for picture in (draw_image("maco", spec, phases, prior), image / 255)
    )
    assert np.corrcoef(drawn.ravel(), (own - own.mean((1, 2), keepdims=True)).ravel())[0, 1] > 0.999


def test_the_spectrum_is_that_of_decorrelated_colours() -> None:
    """In grey images only the first of ImageNet's channels has anything."""
    grey = [np.repeat(image[:1], 3, axis=0) for image in striped(SPEC)]
    colors = colors_of(grey)
    first, *others = np.sum(magnitudes_of(grey, colors) ** 2, axis=(1, 2))
    assert max(others) < 1e-6 * first


@pytest.mark.parametrize("size", [(24, 32), (17, 23), (12, 16), (9, 11)])
def test_a_smaller_picture_has_the_same_waves(size: tuple[int, int]) -> None:
    prior = prior_of(3, colors="none", spectrum="images", images=striped(SPEC))
    rows = prior.rows("maco", ImageSpec(3, *size))
    (found,) = rows["magnitudes"]
    assert found.shape == (3, *half_shape(*size))
    drawn = np.fft.irfft2(found * np.prod(size) / 2, s=size)
    assert np.sqrt(np.mean(drawn**2)) == pytest.approx(1, rel=1e-4)
    assert isinstance(prior.spectrum, np.ndarray)
    high = (size[0] - 1) // 2
    for rows_kept in (slice(1, high), slice(-high, -1)):
        part, whole = found[:, rows_kept, 1:5], prior.spectrum[:, rows_kept, 1:5]
        np.testing.assert_allclose(part / part.sum(), whole / whole.sum(), rtol=1e-4)


def test_natural_magnitudes_are_one_over_f() -> None:
    (found,) = prior_of(3, colors="none", spectrum="natural").rows("maco", ImageSpec(3, 16, 16))[
        "magnitudes"
    ]
    assert found[0, 0, 0] == 0 and found[0, 0, 1] / found[0, 0, 4] == pytest.approx(4)
    np.testing.assert_array_equal(found[0], found[2])


def test_imagenet_has_less_that_is_fine_and_more_that_is_upright() -> None:
    prior = prior_of(3, colors="imagenet", spectrum="imagenet")
    (found,) = prior.rows("maco", ImageSpec(3, 32, 64))["magnitudes"]
    assert found[0, 0, 1] / found[0, 0, 4] == pytest.approx(4**1.35)
    assert found[1, 8, 0] == pytest.approx(found[1, 0, 16])
    along, between = found[0, 0, 20], found[0, 6, 16]  # both at 20/64 cycles per pixel
    assert along / between == pytest.approx(np.exp(0.13 * (1 - np.cos(4 * np.arctan(12 / 16)))))


def test_only_maco_is_fed_a_spectrum() -> None:
    prior = prior_of(3, colors="imagenet", spectrum="natural")
    assert set(prior.rows("fourier", SPEC)) == {"colors"}
    assert set(prior.rows("maco", SPEC)) == {"colors", "magnitudes"}


@pytest.mark.parametrize(("colors", "spectrum"), [("images", "natural"), ("none", "images")])
@pytest.mark.parametrize("level", [0, 77, 255])
def test_images_with_nothing_in_them_are_refused(colors: str, spectrum: str, level: int) -> None:
    flat = [np.full((3, 24, 32), level, np.uint8)] * 2
    with pytest.raises(InvalidRequest, match="nothing but one colour") as caught:
        prior_of(3, colors=colors, spectrum=spectrum, images=flat)
    assert caught.value.field == "natural_images"
