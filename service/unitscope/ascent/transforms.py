"""Random views of the image: what must hold under them is not an adversarial pattern.

Every transform here is affine, so any sequence of them is one 2×3 matrix per row and step, drawn
outside the graph; the graph samples the image once, whatever the sequence. Sizes are relative to
the image, so that they mean the same at 28 and at 512 pixels. Coordinates run from −1 to 1 over
the image's shorter side; a matrix maps a point of the view to the point of the image seen there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.registry import Registry

Matrix = np.ndarray[Any, np.dtype[np.float64]]
Transform = Callable[[np.random.Generator], Matrix]
"""Draws one 3×3 matrix."""

PADDING = 1 / 10
SHIFT = 1 / 8
SCALES = (0.8, 1.6)
DEGREES = 10.0

_RENAMED = 20
"""The opset that calls GridSample's bilinear mode linear."""

TRANSFORMS: Registry[Transform] = Registry("transform")


def _pad(rng: np.random.Generator) -> Matrix:
    """Show a grey margin of 5 % around the image."""
    return np.diag([1 + PADDING, 1 + PADDING, 1.0])


def _jitter(rng: np.random.Generator) -> Matrix:
    """Shift by up to a sixteenth of the image each way."""
    x, y = rng.uniform(-SHIFT, SHIFT, 2)
    return np.array([[1.0, 0.0, x], [0.0, 1.0, y], [0.0, 0.0, 1.0]])


def _scale(rng: np.random.Generator) -> Matrix:
    """Enlarge by 0.8 to 1.6: the same thing near and far."""
    zoom = 1 / rng.uniform(*SCALES)
    return np.diag([zoom, zoom, 1.0])


def _rotate(rng: np.random.Generator) -> Matrix:
    """Turn by up to 10 degrees each way."""
    angle = np.deg2rad(rng.uniform(-DEGREES, DEGREES))
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


TRANSFORMS.add("pad", _pad)
TRANSFORMS.add("jitter", _jitter)
TRANSFORMS.add("scale", _scale)
TRANSFORMS.add("rotate", _rotate)


def draw(
    names: Sequence[str], *, seed: int, step: int, height_px: int, width_px: int
) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The `[2, 3]` matrix of the transforms `names`, in that order, for one step of one request.

    It acts on coordinates that run from −1 to 1 over both sides of the image.
    """
    rng = np.random.default_rng((seed, step))
    matrix = np.eye(3)
    for name in names:
        matrix = matrix @ TRANSFORMS[name](rng)
    shorter = min(height_px, width_px)
    sides = np.array([width_px / shorter, height_px / shorter, 1.0])
    return np.asarray((matrix * sides / sides[:, None])[:2], np.float32)


def emit_view(op: Emitter, image: Value, matrices: Value, height_px: int, width_px: int) -> Value:
    """Sample `image` `[N, C, H, W]` through `matrices` `[N, 2, 3]`: a view `[N, C, height, width]`.

    Bilinear; what lies outside the image is mid-grey.
    """
    x, y = _centres(width_px), _centres(height_px)
    points = np.stack([*np.meshgrid(x, y), np.ones((height_px, width_px))], axis=-1)
    flat = op.const(points.reshape(1, -1, 3), np.float32)
    grid = op.MatMul(flat, op.Transpose(matrices, perm=[0, 2, 1]))
    grid = op.Reshape(grid, [0, height_px, width_px, 2])
    mode = "bilinear" if op.graph.opset < _RENAMED else "linear"
    sampled = op.GridSample(
        op.Sub(image, 0.5), grid, mode=mode, padding_mode="zeros", align_corners=0
    )
    return op.Add(sampled, 0.5)


def _centres(size: int) -> np.ndarray:
    """Centres of `size` pixels on −1..1."""
    return (2 * np.arange(size) + 1) / size - 1
