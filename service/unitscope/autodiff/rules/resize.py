"""Resampling on a regular grid."""

from __future__ import annotations

import numpy as np
from onnx import numpy_helper

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.autodiff.rules.linear import along
from unitscope.autodiff.rules.windows import Ints
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()


@rules.vjp("Resize", harmless=("extrapolation_value",))
def resize(
    op: Emitter, dy: Value, y: Value, x: Value,
    roi: Value | None = None, scales: Value | None = None, sizes: Value | None = None,
    *, antialias: int, axes: Ints | None = None, coordinate_transformation_mode: str,
    cubic_coeff_a: float, exclude_outside: int, keep_aspect_ratio_policy: str, mode: str,
    nearest_mode: str,
) -> Cotangents:  # fmt: skip
    """y = x · Mᵀ along each axis, so dx = dy · M; M is the identity matrix, resized the same way"""
    if keep_aspect_ratio_policy != "stretch" and sizes is not None:
        scales = _one_factor(op, x, y, sizes, axes, keep_aspect_ratio_policy)
        sizes = None
    crops = coordinate_transformation_mode == "tf_crop_and_resize"
    attributes = {
        "antialias": antialias, "coordinate_transformation_mode": coordinate_transformation_mode,
        "cubic_coeff_a": cubic_coeff_a, "exclude_outside": exclude_outside, "mode": mode,
        "nearest_mode": nearest_mode,
    }  # fmt: skip
    listed = [axis % x.rank for axis in axes] if axes else list(range(x.rank))
    dx = dy
    for index, axis in enumerate(listed):
        scale, size = (_at(op, value, index) for value in (scales, sizes))
        if not crops and _unchanged(x, y, axis, scale):
            continue
        frame = _frame(op, roi, index, len(listed)) if crops else None
        target = (
            op.Concat(op.shape(x, start=axis, end=axis + 1), [1, 1], size, axis=0) if size else None
        )
        factor = op.Concat(np.ones(3, np.float32), scale, axis=0) if scale else None
        (matrix,) = op.emit("Resize", [_identity(op, x, axis), frame, factor, target], attributes)
        dx = along(op, dx, op.Transpose(op.Squeeze(matrix, [1, 2]), perm=[1, 0]), axis)
    return op.shaped(dx, x), None if crops or roi is None else op.zeros_like(roi)


def _one_factor(
    op: Emitter, x: Value, y: Value, sizes: Value, axes: Ints | None, policy: str
) -> Value:
    """The factor that fits every axis into `sizes` (or around them), once for each."""
    given, result = x.static_shape, y.static_shape
    if sizes.const is None or given is None or result is None:
        raise Uncovered(f"keep_aspect_ratio_policy={policy} over sizes known only at run time")
    listed = [axis % x.rank for axis in axes] if axes else list(range(x.rank))
    before, after = ([shape[i] for i in listed] for shape in (given, result))
    factors = sizes.const.astype(np.float32) / np.array(before, np.float32)
    factor = factors.min() if policy == "not_larger" else factors.max()
    if [int(n * factor) for n in before] != after:
        raise Uncovered(f"keep_aspect_ratio_policy={policy} that rounds a size up")
    return op.const(np.full(len(listed), factor))


def _at(op: Emitter, values: Value | None, index: int) -> Value | None:
    """The element of a list input, `[1]`; None if the list is absent or empty."""
    if values is None or values.shape == (0,):
        return None
    return op.Slice(values, [index], [index + 1])


def _unchanged(x: Value, y: Value, axis: int, scale: Value | None) -> bool:
    before, after = (x.shape or ())[axis], (y.shape or ())[axis]
    return before == after if scale is None else scale.const is not None and scale.const[0] == 1


def _frame(op: Emitter, roi: Value | None, index: int, count: int) -> Value:
    """The region of interest of one axis, for the identity matrix `[L, 1, 1, L]`."""
    if roi is None:
        raise Uncovered("tf_crop_and_resize without a region of interest")
    start, end = (op.Slice(roi, [i], [i + 1]) for i in (index, count + index))
    zeros, ones = np.zeros(3, roi.dtype), np.ones(3, roi.dtype)
    return op.Concat(zeros, start, ones, end, axis=0)


def _identity(op: Emitter, x: Value, axis: int) -> Value:
    """The identity matrix of an axis of `x`, as images of one row: `[L, 1, 1, L]`."""
    size = op.shape(x, start=axis, end=axis + 1)
    zero = numpy_helper.from_array(np.zeros(1, x.dtype))
    square = op.ConstantOfShape(op.Concat(size, size, axis=0), value=zero)
    return op.Unsqueeze(op.EyeLike(square), [1, 2])
