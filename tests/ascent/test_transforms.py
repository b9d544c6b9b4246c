"""Every transform draws within its range; the view follows the matrix."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.blur import emit_blur
from unitscope.ascent.transforms import (
    TRANSFORMS,
    Transform,
    View,
    blur_kernel,
    draw,
    emit_view,
    is_affine,
    turns,
)
from unitscope.errors import NotFound
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

ALL = [Transform(name) for name in TRANSFORMS]
AFFINE = [transform for transform in ALL if is_affine(transform)]
IDENTITY = np.eye(2, 3, dtype=np.float32)


def view(
    image: np.ndarray, matrix: np.ndarray, height: int, width: int, *, turned: bool = True
) -> np.ndarray:
    op = Emitter(Graph(18))
    given = op.graph.add_input("image", np.float32, (1, *image.shape))
    matrices = op.graph.add_input("matrices", np.float32, (1, 2, 3))
    model = op.graph.to_model([emit_view(op, given, matrices, height, width, turned=turned)])
    session = ort.InferenceSession(model.SerializeToString())
    feed = {"image": image[None], "matrices": matrix[None].astype(np.float32)}
    return np.asarray(session.run(None, feed)[0][0])


def drawn(
    transforms: Sequence[Transform], step: int = 1, height: int = 20, width: int = 20
) -> View:
    return draw(transforms, np.random.default_rng((0, step)), height, width)


@pytest.mark.parametrize("transform", AFFINE, ids=lambda transform: transform.name)
def test_each_moves_the_view_a_little_and_both_ways(transform: Transform) -> None:
    matrices = np.array([drawn([transform], step).matrix for step in range(200)])
    assert matrices.shape == (200, 2, 3) and np.isfinite(matrices).all()
    moved = np.abs(matrices - IDENTITY).max(axis=0) > 1e-3
    assert moved.any() and np.abs(matrices - IDENTITY).max() <= 2
    if transform.name != "pad":
        varying = matrices[:, moved] - matrices.mean(axis=0)[moved]
        assert (varying.min(axis=0) < 0).all() and (varying.max(axis=0) > 0).all()


@pytest.mark.parametrize("transform", AFFINE, ids=lambda transform: transform.name)
def test_upright_views_are_sampled_alike_and_the_others_are_known(transform: Transform) -> None:
    image = np.random.default_rng(0).random((3, 17, 24), np.float32)
    for step in range(8):
        matrix = drawn([transform], step, 17, 24).matrix
        assert turns([transform]) == bool(matrix[0, 1] or matrix[1, 0])
        if not turns([transform]):
            found = view(image, matrix, 20, 31, turned=False)
            np.testing.assert_allclose(found, view(image, matrix, 20, 31), atol=2e-5)


def test_jitter_goes_as_far_left_as_right() -> None:
    shifts = [drawn([Transform("jitter", 0.1, 0.1)], step).matrix[:, 2] for step in range(500)]
    assert np.abs(shifts).max() <= 0.2 + 1e-6
    np.testing.assert_allclose(np.mean(shifts, axis=0), 0, atol=0.02)


def test_a_crop_stays_inside_the_image() -> None:
    for step in range(100):
        matrix = drawn([Transform("crop", 0.2, 0.8)], step).matrix
        corners = matrix @ np.array([[-1, 1, 1], [-1, 1, -1], [1, 1, 1]])
        assert np.abs(corners).max() <= 1 + 1e-6


def test_ranges_grow_with_the_image() -> None:
    for transform in AFFINE:
        small, large = (drawn([transform], height=size, width=size) for size in (28, 512))
        np.testing.assert_array_equal(small.matrix, large.matrix)


def test_filters_add_up_by_variance() -> None:
    noise, blur = Transform("noise", 0.3, 0.3), Transform("blur", 0.01, 0.01)
    seen = drawn([noise, blur, Transform("noise", 0.4, 0.4)])
    assert seen.noise == pytest.approx(0.5) and seen.blur == pytest.approx(0.01)
    np.testing.assert_array_equal(seen.matrix, IDENTITY)


def test_the_generator_decides_and_nothing_else() -> None:
    np.testing.assert_array_equal(drawn(ALL, 7).matrix, drawn(ALL, 7).matrix)
    assert not np.array_equal(drawn(ALL, 7).matrix, drawn(ALL, 8).matrix)


def test_no_transforms_show_the_image_as_it_is() -> None:
    np.testing.assert_array_equal(drawn([]).matrix, IDENTITY)
    image = np.random.default_rng(0).random((3, 9, 14), np.float32)
    np.testing.assert_allclose(view(image, IDENTITY, 9, 14), image, atol=2e-6)


def test_a_shift_by_whole_pixels_shifts_and_leaves_grey() -> None:
    image = np.random.default_rng(0).random((1, 8, 8), np.float32)
    shifted = view(image, np.array([[1, 0, 2 * 2 / 8], [0, 1, 0]]), 8, 8)
    np.testing.assert_allclose(shifted[:, :, :-2], image[:, :, 2:], atol=2e-6)
    np.testing.assert_allclose(shifted[:, :, -2:], 0.5, atol=1e-6)


def test_rotation_keeps_right_angles_on_an_oblong_image() -> None:
    matrix = drawn([Transform("rotate")], height=20, width=60).matrix
    in_pixels = np.diag([30, 10]) @ matrix[:, :2] @ np.diag([1 / 30, 1 / 10])
    np.testing.assert_allclose(in_pixels @ in_pixels.T, np.eye(2), atol=1e-6)


def test_each_row_is_blurred_by_its_own_kernel() -> None:
    op = Emitter(Graph(18))
    kernels = np.stack([blur_kernel(0.0, 200), blur_kernel(0.01, 200)])
    picture = op.graph.add_input("picture", np.float32, (2, 3, 40, 30))
    given = op.graph.add_input("kernels", np.float32, kernels.shape)
    model = op.graph.to_model([emit_blur(op, picture, given)])
    image = np.zeros((2, 3, 40, 30), np.float32)
    image[:, :, 20, 15] = 1.0
    session = ort.InferenceSession(model.SerializeToString())
    sharp, soft = session.run(None, {"picture": image, "kernels": kernels})[0]
    np.testing.assert_allclose(sharp, image[0], atol=1e-6)
    rows = np.arange(40) - 20
    np.testing.assert_allclose(soft[0].sum(), 1, rtol=1e-3)
    np.testing.assert_allclose((soft[0].sum(axis=1) * rows**2).sum(), 2.0**2, rtol=0.05)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(NotFound, match="unknown transform 'twist'"):
        drawn([Transform("twist")])
