"""Every rule against mathematics, on ONNX's own node cases.

The gradient in float64 must agree with central differences of the node itself, the gradient in
float32 on ONNX Runtime with the one in float64, and open shapes must not change it. What a rule
does not cover it refuses by name; all refusals are written down below, so that a new one fails.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.autodiff.cases import Array, Case, Function, Gradient, build, cases, reference, runtime
from unitscope.autodiff.rules import RULES
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Shape

CASES = cases()
PROBES = 8

WITHOUT_FORMULA = {
    "BatchNormalization": (1, 2, 3, 4),
    "Clip": (1, 2),
    "Conv": (1, 2),
    "ConvTranspose": (1, 2),
    "Dropout": (1,),
    "GridSample": (1,),
    "InstanceNormalization": (1, 2),
    "OneHot": (1,),
    "Pad": (2,),
    "Resize": (1,),
}
"""Inputs that classifiers hold constant: weights, bounds, grids."""

REFUSED = {
    ("BatchNormalization", "training_mode=1"),
    ("ConvTranspose", "an output_shape beyond what the windows reach"),
    ("Dropout", "training mode"),
    ("GridSample", "mode "),
    ("Range", "a sequence whose length depends on the input"),
    ("Resize", "keep_aspect_ratio_policy="),
    ("ScatterElements", "reduction="),
    ("ScatterND", "reduction="),
}
"""What else a rule refuses, by the words of its refusal."""

REFUSED_OPEN = {
    ("AveragePool", "a number of channels known only at run time"),
    ("AveragePool", "auto_pad SAME with a stride"),
    ("Conv", "auto_pad SAME with a stride"),
    ("ConvTranspose", "an output_shape over sizes"),
    ("GridSample", "an image whose size is known only at run time"),
    ("GridSample", "mode "),
    ("LRN", "a number of channels known only at run time"),
    ("LpPool", "a number of channels known only at run time"),
    ("Resize", "keep_aspect_ratio_policy="),
}
"""What is refused only where sizes are known at run time."""

REFERENCE_IS_WRONG = {
    "GlobalLpPool": "it does not know the operator",
    "LpNormalization": "it forgets the absolute value for p = 1",
    "MaxPool": "its indices start anew in every channel",
}
"""Operators for which ONNX's reference evaluator errs: ONNX Runtime serves instead."""

SINGLE_PRECISION = {
    "Celu": "its schema knows float32 only",
    "Erf": "the reference evaluator computes in float32",
    "GlobalLpPool": "ONNX Runtime's kernel knows float32 only",
    "Gelu": "the reference evaluator computes in float32",
    "GroupNormalization": "its body computes in float32",
    "MeanVarianceNormalization": "its body holds constants in float32",
    "RMSNormalization": "its body computes in float32",
}
"""Operators whose differences need a coarser step."""

RUNTIME_DIFFERS = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}
"""Cases that ONNX Runtime computes in another way; its gradient must be that of its own way."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_gradient(case: Case) -> None:
    coarse = case.operator in SINGLE_PRECISION
    dtype: Any = np.float32 if coarse else np.float64
    if case.slot(case.index) in WITHOUT_FORMULA.get(case.operator, ()):
        with pytest.raises(ModelRejected, match=r"no gradient (with respect to input|for)"):
            build(case, dtype)
        return
    exact = build_or_refuse(case, dtype, REFUSED)
    if exact is None:
        return
    evaluate = runtime if case.operator in REFERENCE_IS_WRONG else reference
    point = case.point.astype(dtype)
    assert_same(evaluate(exact.primal)(point), list(case.expected))
    score, gradient = evaluate(exact.score), evaluate(exact.gradient)
    if not agrees_with_differences(score, gradient, point):  # a kink: ties, a bound, whole numbers
        noise = np.asarray(np.random.default_rng(1).uniform(0.01, 0.04, point.shape), dtype)
        moved = point + noise
        assert agrees_with_differences(score, gradient, moved), "no smooth point was found"
    expected = gradient(point)[0]
    for shape in (None, *open_shapes(point.shape)):
        refusals = REFUSED if shape is None else REFUSED_OPEN
        single = build_or_refuse(case, np.float32, refusals, shape)
        if single is not None and case.name in RUNTIME_DIFFERS:
            own_score, own_gradient = runtime(single.score), runtime(single.gradient)
            assert agrees_with_differences(own_score, own_gradient, point.astype(np.float32))
        elif single is not None:
            assert_close(runtime(single.gradient)(point.astype(np.float32))[0], expected)


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {case.operator for case in CASES} == set()


def build_or_refuse(
    case: Case, dtype: Any, refusals: set[tuple[str, str]], shape: Shape | None = None
) -> Gradient | None:
    """The gradient, or None where the rule refuses in words that are written down."""
    try:
        return build(case, dtype, shape)
    except ModelRejected as refusal:
        said = str(refusal)
        assert f"({case.operator})" in said
        assert any(operator == case.operator and words in said for operator, words in refusals), (
            said
        )
        return None


def agrees_with_differences(score: Function, gradient: Function, point: Array) -> bool:
    """Compare with central differences; False if along most directions there is a kink."""
    slope = gradient(point)[0]
    assert slope.shape == point.shape
    along = directions(point)
    smooth = [agrees_along(score, slope, point, direction) for direction in along]
    return smooth[-1] and 2 * sum(smooth) >= len(smooth)


def directions(point: Array) -> list[Array]:
    """Some axes, then one direction that moves every element at once."""
    rng = np.random.default_rng(0)
    axes = rng.permutation(point.size)[: PROBES if point.size < 10_000 else 1]
    units = [np.eye(1, point.size, axis, point.dtype).reshape(point.shape) for axis in axes]
    return [*units, rng.choice([-1, 1], point.shape).astype(point.dtype)]


def agrees_along(score: Function, slope: Array, point: Array, direction: Array) -> bool:
    """Compare one directional derivative; False where step sizes and sides disagree: a kink."""
    step, tolerance = (1e-2, 1e-2) if point.dtype == np.float32 else (1e-5, 1e-4)
    offsets = np.array([-1, -0.25, 0, 0.25, 1], point.dtype) * point.dtype.type(step)
    around = [float(score(point + offset * direction)[0]) for offset in offsets]
    left, right = (around[2] - around[0]) / step, (around[4] - around[2]) / step
    wide, narrow = (around[4] - around[0]) / (2 * step), (around[3] - around[1]) / (step / 2)
    if not max(abs(left - right), abs(wide - narrow)) < 100 * tolerance * max(1.0, abs(wide)):
        return False
    moved = direction != 0
    found = np.sum(slope[moved] * direction[moved], dtype=np.float64)
    np.testing.assert_allclose(found, narrow, rtol=tolerance, atol=tolerance)
    return True


def assert_same(results: list[Array], expected: list[Array]) -> None:
    for result, wanted in zip(results, expected, strict=True):
        tolerance = 2e-2 if wanted.dtype.itemsize < 4 else 1e-4
        np.testing.assert_allclose(
            result.astype(np.float64),
            wanted.astype(np.float64),
            rtol=10 * tolerance,
            atol=tolerance,
        )


def assert_close(found: Array, expected: Array) -> None:
    finite = np.isfinite(expected)
    scale = np.abs(expected[finite]).max(initial=1e-3)
    assert found.shape == expected.shape
    np.testing.assert_allclose(found[finite], expected[finite], rtol=2e-3, atol=2e-4 * scale)


def open_shapes(shape: tuple[int, ...]) -> Iterator[Shape]:
    """The batch open; everything open."""
    if shape:
        yield ("N", *shape[1:])
        yield tuple(f"d{axis}" for axis in range(len(shape)))
