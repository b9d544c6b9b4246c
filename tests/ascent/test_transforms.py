"""Every transform is an affine matrix relative to the image; the view follows it."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.transforms import TRANSFORMS, draw, emit_view
from unitscope.errors import NotFound
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

ALL = tuple(TRANSFORMS)
IDENTITY = np.eye(2, 3, dtype=np.float32)


def view(image: np.ndarray, matrix: np.ndarray, height: int, width: int) -> np.ndarray:
    op = Emitter(Graph(18))
    given = op.graph.add_input("image", np.float32, (1, *image.shape))
    matrices = op.graph.add_input("matrices", np.float32, (1, 2, 3))
    model = op.graph.to_model([emit_view(op, given, matrices, height, width)])
    session = ort.InferenceSession(model.SerializeToString())
    feed = {"image": image[None], "matrices": matrix[None].astype(np.float32)}
    return np.asarray(session.run(None, feed)[0][0])


def matrix_of(
    names: tuple[str, ...], step: int = 1, seed: int = 0, height: int = 20, width: int = 20
) -> np.ndarray:
    return draw(names, seed=seed, step=step, height_px=height, width_px=width)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_each_moves_the_view_a_little_and_both_ways(name: str) -> None:
    drawn = np.array([matrix_of((name,), step) for step in range(200)])
    assert drawn.shape == (200, 2, 3) and np.isfinite(drawn).all()
    deviation = np.abs(drawn - IDENTITY)
    assert 0 < deviation.max() < 0.5
    if name != "pad":
        varying = (
            drawn[:, deviation.max(axis=0) > 1e-3]
            - drawn.mean(axis=0)[deviation.max(axis=0) > 1e-3]
        )
        assert (varying.min(axis=0) < 0).all() and (varying.max(axis=0) > 0).all()


def test_seed_and_step_decide_and_nothing_else() -> None:
    np.testing.assert_array_equal(matrix_of(ALL, 7, 3), matrix_of(ALL, 7, 3))
    assert not np.array_equal(matrix_of(ALL, 7, 3), matrix_of(ALL, 8, 3))
    assert not np.array_equal(matrix_of(ALL, 7, 3), matrix_of(ALL, 7, 4))


def test_no_transforms_show_the_image_as_it_is() -> None:
    np.testing.assert_array_equal(matrix_of(()), IDENTITY)
    image = np.random.default_rng(0).random((3, 9, 14), np.float32)
    np.testing.assert_allclose(view(image, IDENTITY, 9, 14), image, atol=2e-6)


def test_a_shift_by_whole_pixels_shifts_and_leaves_grey() -> None:
    image = np.random.default_rng(0).random((1, 8, 8), np.float32)
    shifted = view(image, np.array([[1, 0, 2 * 2 / 8], [0, 1, 0]]), 8, 8)
    np.testing.assert_allclose(shifted[:, :, :-2], image[:, :, 2:], atol=2e-6)
    np.testing.assert_allclose(shifted[:, :, -2:], 0.5, atol=1e-6)


def test_rotation_keeps_right_angles_on_an_oblong_image() -> None:
    matrix = matrix_of(("rotate",), height=20, width=60)
    in_pixels = np.diag([30, 10]) @ matrix[:, :2] @ np.diag([1 / 30, 1 / 10])
    np.testing.assert_allclose(in_pixels @ in_pixels.T, np.eye(2), atol=1e-6)


def test_unknown_names_are_refused() -> None:
    with pytest.raises(NotFound, match="unknown transform 'twist'"):
        matrix_of(("twist",))
