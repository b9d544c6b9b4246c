"""What becomes of ONNX's node cases: each matches mathematics, or is refused by name.

The gradient in float64 must agree with central differences of the node itself, the gradient in
float32 on ONNX Runtime with the one in float64, and open shapes must not change it.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import onnx
from onnxruntime.capi.onnxruntime_pybind11_state import NotImplemented as NoKernel

from tests.autodiff.cases import Array, Case, Function, reference, runtime
from tests.autodiff.differences import agrees_with_differences, assert_close, assert_same
from tests.autodiff.gradients import Forward, forward
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Shape

REFERENCE_IS_WRONG = {
    "GlobalLpPool": "it does not know the operator",
    "LpNormalization": "it forgets the absolute value for p = 1",
    "MaxPool": "its indices start anew in every channel",
}
"""Operators for which ONNX's reference evaluator errs: ONNX Runtime serves instead."""

SINGLE_PRECISION = {
    "AffineGrid": "the reference evaluator computes in float32",
    "Celu": "its schema knows float32 only",
    "Erf": "the reference evaluator computes in float32",
    "GlobalLpPool": "ONNX Runtime's kernel knows float32 only",
    "GridSample": "the reference evaluator computes in float32",
    "Gelu": "the reference evaluator computes in float32",
    "MeanVarianceNormalization": "its body holds constants in float32",
}
"""Operators whose differences need a coarser step; so do graphs that cast to float32."""

TIED = {"Unique"}
"""Operators that return fewer elements where some are equal: these are moved together."""

RUNTIME_DIFFERS = {
    "test_resize_downsample_scales_cubic_align_corners",
    "test_resize_downsample_scales_linear_align_corners",
}
"""Cases that ONNX Runtime computes in another way; its gradient must be that of its own way."""

RECURRENT = {"GRU", "LSTM", "RNN"}
"""Operators whose weights tell their sizes: only the sequence is left open."""


@dataclass(frozen=True)
class Verdict:
    """What becomes of a case.

    `refused`: why it has no gradient. `zero`: its derivative is zero everywhere, which the walk
    says. `open`: why it has none where sizes are known only at run time.
    """

    refused: str = ""
    zero: bool = False
    open: tuple[str, ...] = ()


@functools.cache
def judge(case: Case) -> Verdict:
    """Differentiate the case; raises AssertionError where the gradient is wrong."""
    evaluate = runtime if case.operator in REFERENCE_IS_WRONG else reference
    try:
        exact = _precise(case)
        primal, score = exact.primal, evaluate(exact.scored)
    except ModelRejected as refusal:
        return Verdict(refused=_sentence(case, refusal))
    point = case.point.astype(exact.x.dtype)
    try:
        gradient = evaluate(exact.gradient())
    except ModelRejected as refusal:
        why = _sentence(case, refusal)
        if "it stops the gradient" not in why:
            return Verdict(refused=why)
        gradient = _nothing
    assert_same(evaluate(primal)(point), exact.expected)
    point = _finite(point)
    expected = gradient(point)[0]
    together = case.operator in TIED
    if not agrees_with_differences(score, expected, point, together=together):
        moved = point + _noise(point)  # there was a kink: ties, a bound, whole numbers
        slope = gradient(moved)[0]
        assert agrees_with_differences(score, slope, moved), "no smooth point was found"
    if gradient is _nothing:
        return Verdict(zero=True)
    weight = case.operator in RECURRENT and case.slot(case.index) > 0
    shapes = () if weight else open_shapes(point.shape)
    refusals = [_as_run(case, shape, expected) for shape in (None, *shapes)]
    return Verdict(open=tuple(sorted({why for why in refusals if why})))


def _precise(case: Case) -> Forward:
    """The case in float64, or in float32 where it does not stay in float64."""
    if case.operator not in SINGLE_PRECISION:
        exact = forward(case, np.float64)
        nodes = exact.op.graph.nodes
        narrow = any(y.dtype == np.float32 for node in nodes for y in node.outputs if y is not None)
        if not narrow and not any(node.op_type in SINGLE_PRECISION for node in nodes):
            return exact
    return forward(case, np.float32)


def _as_run(case: Case, shape: Shape | None, expected: Array) -> str:
    """Compare what ONNX Runtime makes of the gradient in float32; why it is refused, if it is."""
    try:
        single = forward(case, np.float32, shape)
        gradient = _run(single.gradient())
    except ModelRejected as refusal:
        assert shape is not None, "float32 is refused and float64 is not"
        return _sentence(case, refusal)
    point = _finite(case.point.astype(np.float32))
    found = gradient(point)[0]
    if case.name in RUNTIME_DIFFERS:
        assert agrees_with_differences(runtime(single.scored), found, point)
    else:
        assert_close(found, expected)
    return ""


def _run(model: onnx.ModelProto) -> Function:
    """The model on ONNX Runtime or, where it is too old for an operator, by the evaluator."""
    try:
        return runtime(model)
    except NoKernel:
        return reference(model)


def open_shapes(shape: tuple[int, ...]) -> Iterator[Shape]:
    """The batch open; everything open."""
    if shape:
        yield ("N", *shape[1:])
        yield tuple(f"d{axis}" for axis in range(len(shape)))


def _sentence(case: Case, refusal: ModelRejected) -> str:
    """What a refusal says of the operator, without the names of this node's tensors."""
    assert refusal.operator, f"no operator is named: {refusal}"
    _, _, why = str(refusal).partition("): ")
    if re.match("the rank of .* is unknown", why):  # said of what comes behind the operator
        return "a rank known only at run time"
    assert refusal.node.split("/")[0] in (case.node.name, *case.node.output), refusal
    return re.sub(r" \('[^']*'\)", "", why)


def _finite(point: Array) -> Array:
    return np.where(np.isfinite(point), point, 0.5).astype(point.dtype)


def _noise(point: Array) -> Array:
    return np.asarray(np.random.default_rng(1).uniform(0.01, 0.04, point.shape), point.dtype)


def _nothing(x: Array) -> list[Array]:
    return [np.zeros_like(x)]
