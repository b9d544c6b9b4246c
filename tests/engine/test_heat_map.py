"""An attribution as a picture."""

from __future__ import annotations

import numpy as np

from unitscope.engine.heat_map import heat_map, overlay


def test_the_strongest_channel_counts_whatever_its_sign() -> None:
    values = np.ones((3, 20, 20), np.float32)
    values[2, 4, 5] = -1000.0  # above the 99th percentile
    values[:, 0, 0] = (0.25, -0.5, 0.0)
    heat = heat_map(values)
    assert heat.shape == (1, 20, 20) and heat.dtype == np.uint8
    assert (heat[0, 4, 5], heat[0, 9, 9], heat[0, 0, 0]) == (255, 255, 128)


def test_a_few_pixels_are_enough() -> None:
    values = np.zeros((1, 100, 100), np.float32)
    values[0, 3, :2] = (2e-6, -1e-6)
    heat = heat_map(values)[0, 3]
    assert heat[0] == 255 and 120 < heat[1] < 140 and not heat[2:].any()


def test_nothing_is_black() -> None:
    assert not heat_map(np.zeros((3, 4, 4), np.float32)).any()


def test_the_overlay_is_the_picture_in_grey_but_where_it_is_hot() -> None:
    picture = np.full((3, 4, 4), 0.5, np.float32)
    picture[0] = 0.8
    heat = np.zeros((1, 4, 4), np.uint8)
    heat[0, 1, 1], heat[0, 2, 2] = 255, 128
    shown = overlay(picture, heat)
    assert shown.shape == (3, 4, 4) and shown.dtype == np.uint8
    assert list(shown[:, 0, 0]) == [92, 92, 92]
    assert list(shown[:, 1, 1]) == [255, 255, 255]
    red, green, blue = shown[:, 2, 2]
    assert red > green > blue
    assert overlay(picture[:1], heat).shape == (3, 4, 4)
