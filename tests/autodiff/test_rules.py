"""Every rule against mathematics, on ONNX's own node cases.

The gradient in float64 must agree with central differences of the node itself, the gradient in
float32 on ONNX Runtime with the one in float64, and open shapes must not change it. What a rule
does not cover it refuses by name; refusals are written down below, so that a new one fails.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from tests.autodiff.cases import Array, Case, build, cases, reference
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Shape

CASES = cases()
PROBES = 16
STEP = 1e-5

REFUSED: dict[str, str] = {}
"""Beginnings of the ids of cases that a rule refuses, and why."""

REFUSED_OPEN: dict[str, str] = {}
"""Beginnings of the ids of cases that are refused where sizes are known only at run time."""

NO_KERNEL: dict[str, str] = {}
"""Operators that ONNX Runtime cannot run in float32 on the CPU, not even forwards."""


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_gradient(case: Case) -> None:
    if listed(case, REFUSED):
        with pytest.raises(ModelRejected, match=case.operator):
            build(case, np.float64)
        return
    exact = build(case, np.float64)
    assert_same(reference(exact.primal)(case.point), list(case.expected))
    score, gradient = reference(exact.score), reference(exact.gradient)
    if not probe(score, gradient, case.point):  # a kink: ties, whole numbers, a bound
        moved = case.point + np.random.default_rng(1).uniform(0.01, 0.04, case.point.shape)
        assert probe(score, gradient, moved), "no smooth point was found"
    expected = gradient(case.point)[0]
    single = build(case, np.float32)
    np_result = run(case, single.primal, single.gradient)
    assert_close(np_result, expected)
    for shape in open_shapes(case.point.shape):
        if listed(case, REFUSED_OPEN):
            continue
        opened = build(case, np.float32, shape)
        assert_close(run(case, opened.primal, opened.gradient), expected)


@pytest.mark.parametrize("start", [*REFUSED, *REFUSED_OPEN])
def test_the_tables_hold_no_leftovers(start: str) -> None:
    assert any(case.id.startswith(start) for case in CASES)


def probe(
    score: Callable[[Array], list[Array]], gradient: Callable[[Array], list[Array]], point: Array
) -> bool:
    """Compare the gradient with central differences along axes; False if half of them have kinks.

    An axis counts as kinked where the slopes to the left and to the right differ.
    """
    slope = gradient(point)[0]
    assert slope.shape == point.shape
    rng = np.random.default_rng(0)
    chosen = rng.permutation(point.size)[:PROBES]
    smooth = 0
    here = float(score(point)[0])
    for index in chosen:
        step = np.zeros(point.size)
        step[index] = STEP
        step = step.reshape(point.shape)
        up, down = float(score(point + step)[0]) - here, here - float(score(point - step)[0])
        if not np.isfinite([up, down]).all() or abs(up - down) > STEP * 1e-2 * max(1, abs(up / STEP)):
            continue
        smooth += 1
        np.testing.assert_allclose(
            slope.flat[index], (up + down) / (2 * STEP), rtol=1e-3, atol=1e-3, err_msg=f"at {index}"
        )
    return 2 * smooth >= len(chosen)


def run(case: Case, primal: onnx.ModelProto, gradient: onnx.ModelProto) -> Array:
    """The gradient on ONNX Runtime; on the reference evaluator where it has no kernel."""
    point = case.point.astype(np.float32)
    if case.operator in NO_KERNEL:
        with pytest.raises(Exception, match="(?i)implement|find an implementation"):
            ort.InferenceSession(primal.SerializeToString())
        return reference(gradient)(point)[0]
    session = ort.InferenceSession(gradient.SerializeToString())
    feed = {"x": point} if session.get_inputs() else {}
    return np.asarray(session.run(None, feed)[0])


def assert_same(results: list[Array], expected: list[Array]) -> None:
    for result, wanted in zip(results, expected, strict=True):
        coarse = wanted.dtype.itemsize < 4
        np.testing.assert_allclose(
            result.astype(np.float64), wanted.astype(np.float64), rtol=2e-2 if coarse else 1e-3, atol=2e-2 if coarse else 1e-4
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


def listed(case: Case, table: dict[str, str]) -> bool:
    return any(case.id.startswith(start) for start in table)
