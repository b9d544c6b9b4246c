"""Measures of a picture are what they say; doubts are named."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from unitscope.engine.measures import (
    AUGMENTATIONS,
    EXEMPLARS,
    NOISE_PICTURES,
    augmented,
    calibrate,
    doubts,
    measure,
    noise_pictures,
    z_score,
)
from unitscope.engine.request import Exemplar


def test_a_flat_picture_has_nothing_in_it() -> None:
    found = measure(np.full((3, 8, 8), 128, np.uint8))
    assert (found.total_variation, found.clipped_share, found.high_frequency_share) == (0, 0, 0)


def test_a_chessboard_is_all_fine_and_all_clipped() -> None:
    board = (np.indices((8, 8)).sum(0) % 2 * 255).astype(np.uint8)
    found = measure(board[None])
    assert found.total_variation == found.clipped_share == 1.0
    assert found.high_frequency_share == pytest.approx(1.0)


def test_a_slow_wave_is_not_fine() -> None:
    wave = 128 + 100 * np.sin(2 * np.pi * np.arange(32) / 16)
    picture = np.broadcast_to(np.rint(wave), (1, 32, 32)).astype(np.uint8)
    assert measure(picture).high_frequency_share < 1e-3


def test_augmentations_show_the_same_thing_and_the_seed_decides() -> None:
    picture = np.full((3, 40, 30), 128, np.uint8)
    picture[0, 10:30, 8:22] = 250
    looks = augmented(picture, 3)
    assert len(looks) == AUGMENTATIONS
    for look, again in zip(looks, augmented(picture, 3), strict=True):
        assert look.shape == picture.shape and 250 in look[0]
        np.testing.assert_array_equal(look, again)
        np.testing.assert_array_equal(look[1], 128)
    assert not np.array_equal(looks[0], augmented(picture, 4)[0])


def test_noise_is_grey_on_average_and_always_the_same() -> None:
    pictures = list(noise_pictures(3, 24, 16))
    assert len(pictures) == NOISE_PICTURES and pictures[0].shape == (3, 24, 16)
    assert abs(float(np.mean(pictures)) - 128) < 3
    np.testing.assert_array_equal(pictures, list(noise_pictures(3, 24, 16)))


def test_a_z_score_needs_a_spread() -> None:
    assert z_score(5.0, np.array([1.0, 3.0])) == 3.0
    assert z_score(5.0, np.array([1.0, 1.0])) is None


def test_doubts_are_named() -> None:
    fine: dict[str, Any] = {"rank": 1, "robustness": 1.0, "noise_z_score": 9.0}
    fine |= {"calibration": calibrate(3.0, [1.0, 2.0]), "inferred": False}
    unknown: dict[str, Any] = dict.fromkeys(fine) | {"inferred": False}
    assert doubts(**fine) == doubts(**unknown) == ()
    for name, value, said in (
        ("rank", 3, "2 other units"),
        ("robustness", 0.25, "25%"),
        ("noise_z_score", 1.0, "noise"),
        ("calibration", calibrate(2.0, [1.0, 2.5]), "natural image 1"),
        ("inferred", True, "guessed"),
    ):
        (doubt,) = doubts(**fine | {name: value})
        assert said in doubt


def test_a_calibration_counts_the_images_below_and_names_the_best() -> None:
    found = calibrate(3.0, [1.0, 4.0, 2.0, 4.0, -1.0, 3.0, 0.0])
    assert found.percentile == pytest.approx(100 * 4 / 7) and found.ratio == 0.75
    assert found.exemplars[:3] == (Exemplar(1, 4.0), Exemplar(3, 4.0), Exemplar(5, 3.0))
    assert len(found.exemplars) == EXEMPLARS


def test_nothing_is_a_multiple_of_a_best_image_that_leaves_the_unit_cold() -> None:
    found = calibrate(3.0, [-2.0, 0.0])
    assert (found.percentile, found.ratio) == (100, None)
    assert found.exemplars == (Exemplar(1, 0.0), Exemplar(0, -2.0))
