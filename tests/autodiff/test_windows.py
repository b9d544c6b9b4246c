"""Convolutions and pools in every shape, beyond the few cases that ONNX's own suite has.

Linear operators are held against the definition of a transpose, ⟨dy, A x⟩ = ⟨Aᵀ dy, x⟩; the
gradient of MaxPool against a loop over its windows, where ties count.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.autodiff.transposes import OPEN, Array, assert_transpose, gradient, run
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph
from unitscope.graph.target import PROCESSOR, Target

RNG = np.random.default_rng(0)


def weights(*shape: int) -> Array:
    return np.random.default_rng(2).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("opened", OPEN, ids=str)
@pytest.mark.parametrize("pads", [[0] * 4, [1] * 4, [0, 0, 1, 1], [2, 1, 0, 3], [3] * 4], ids=str)
@pytest.mark.parametrize(
    ("stride", "dilation", "group"), list(itertools.product((1, 2, 3), (1, 2), (1, 2)))
)
def test_conv(
    stride: int, dilation: int, group: int, pads: list[int], opened: Sequence[int]
) -> None:
    x = RNG.standard_normal((2, 4, 7, 6)).astype(np.float32)
    found = gradient(
        "Conv", x, [weights(4, 4 // group, 3, 2)], opened=opened, strides=[stride] * 2,
        dilations=[dilation, 1], pads=pads, group=group,
    )  # fmt: skip
    assert_transpose(x, *found)


@pytest.mark.parametrize("size", [11, 12])
@pytest.mark.parametrize("pads", [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (0, 3)], ids=str)
@pytest.mark.parametrize(("taps", "stride"), [(1, 2), (3, 2), (4, 3), (5, 2)])
def test_padding_that_is_even_gives_the_same(
    taps: int, stride: int, pads: tuple[int, int], size: int
) -> None:
    """CUDA's kernel of ConvTranspose takes no other."""
    kernel = np.random.default_rng(0).standard_normal((3, 2, taps, taps)).astype(np.float32)
    given = [pads[0], pads[0], pads[1], pads[1]]
    found = []
    for target in (PROCESSOR, Target(even_pads=True)):
        op = Emitter(Graph(18, target))
        x = op.graph.add_input("x", np.float32, (1, 2, size, size))
        y = op.Conv(x, kernel, strides=[stride] * 2, pads=given)
        dy = op.graph.add_input("dy", np.float32, y.shape or ())
        dx = differentiate(op, output=y, wrt=x, cotangent=dy, rules=RULES)
        used = [n.attributes["pads"] for n in op.graph.nodes if n.op_type == "ConvTranspose"]
        assert target is PROCESSOR or all(both[:2] == both[2:] for both in used)
        given_back = np.random.default_rng(1).standard_normal(y.static_shape).astype(np.float32)
        found.append(run(op, [dx], {"dy": given_back})[0])
    np.testing.assert_allclose(found[1], found[0], atol=1e-5)


def test_a_concatenation_under_a_convolution_cuts_its_kernel() -> None:
    op = Emitter(Graph(18))
    image = op.graph.add_input("x", np.float32, (1, 3, 6, 6))
    branches = [op.Conv(image, weights(size, 3, 1, 1)) for size in (2, 5)]
    output = op.Conv(op.Concat(*branches, axis=1), weights(4, 7, 3, 3))
    cotangent = op.graph.add_input("dy", np.float32, output.shape or ())
    dx = differentiate(op, output=output, wrt=image, cotangent=cotangent, rules=RULES)
    assert "Split" not in {node.op_type for node in op.graph.nodes}
    x, dy = weights(1, 3, 6, 6), weights(1, 4, 4, 4)
    y, found = (run(op, [v], feeds)[0] for v, feeds in ((output, {"x": x}), (dx, {"dy": dy})))
    assert_transpose(x, y, dy, found)


@pytest.mark.parametrize("shape", [(1, 2, 9), (1, 2, 7, 6), (1, 2, 4, 5, 6)], ids=str)
@pytest.mark.parametrize("stride", [1, 2, 3])
@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("operator", ["Conv", "ConvTranspose", "AveragePool"])
def test_auto_pad(operator: str, auto_pad: str, stride: int, shape: tuple[int, ...]) -> None:
    x = RNG.standard_normal(shape).astype(np.float32)
    rank = len(shape) - 2
    kernel: list[Array] = [] if operator == "AveragePool" else [weights(2, 2, *[3] * rank)]
    size: dict[str, Any] = {} if kernel else {"kernel_shape": [3] * rank}
    found = gradient(operator, x, kernel, strides=[stride] * rank, auto_pad=auto_pad, **size)
    assert_transpose(x, *found)


def test_auto_pad_needs_the_size_for_a_stride() -> None:
    x = RNG.standard_normal((1, 2, 7, 6)).astype(np.float32)
    given: dict[str, Any] = {"opened": (2, 3), "auto_pad": "SAME_UPPER"}
    assert_transpose(x, *gradient("Conv", x, [weights(3, 2, 3, 3)], **given))
    with pytest.raises(ModelRejected, match="auto_pad SAME with a stride"):
        gradient("Conv", x, [weights(3, 2, 3, 3)], strides=[2, 2], **given)


@pytest.mark.parametrize("opened", OPEN, ids=str)
@pytest.mark.parametrize("pads", [[0] * 4, [1] * 4, [0, 1, 1, 0]], ids=str)
@pytest.mark.parametrize(
    ("stride", "padding", "dilation", "group"),
    [
        case
        for case in itertools.product((1, 2, 3), ([0, 0], [1, 1], [0, 2]), (1, 2), (1, 2))
        if max(case[1]) < case[0]
    ],
)
def test_conv_transpose(
    stride: int,
    padding: list[int],
    dilation: int,
    group: int,
    pads: list[int],
    opened: Sequence[int],
) -> None:
    x = RNG.standard_normal((2, 4, 4, 3)).astype(np.float32)
    found = gradient(
        "ConvTranspose", x, [weights(4, 3, 3, 2)], opened=opened, strides=[stride] * 2,
        dilations=[dilation, 1], pads=pads, group=group, output_padding=padding,
    )  # fmt: skip
    assert_transpose(x, *found)


@pytest.mark.parametrize("auto_pad", ["NOTSET", "SAME_UPPER", "SAME_LOWER"])
@pytest.mark.parametrize("size", [[8, 6], [9, 7], [7, 7]], ids=str)
def test_conv_transpose_to_a_size(size: list[int], auto_pad: str) -> None:
    x = RNG.standard_normal((1, 2, 4, 3)).astype(np.float32)
    kernel = [weights(2, 2, 3, 3)]
    found = gradient(
        "ConvTranspose", x, kernel, strides=[2, 2], output_shape=size, auto_pad=auto_pad
    )
    assert_transpose(x, *found)


@pytest.mark.parametrize("opened", [(), (0,), (0, 2, 3)], ids=str)
@pytest.mark.parametrize("opset", [18, 22])
@pytest.mark.parametrize("padded", [0, 1])
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(
    ("kernel", "stride", "pads"),
    [
        (3, 2, [1, 1, 1, 1]),
        (3, 2, [0, 1, 1, 0]),
        (2, 3, [0, 0, 1, 1]),
        (3, 1, [1] * 4),
        (2, 2, [0] * 4),
    ],
    ids=str,
)
def test_average_pool(
    kernel: int, stride: int, pads: list[int], ceil_mode: int, padded: int, opset: int,
    opened: Sequence[int],
) -> None:  # fmt: skip
    x = RNG.standard_normal((2, 3, 6, 7)).astype(np.float32)
    found = gradient(
        "AveragePool", x, opened=opened, opset=opset, kernel_shape=[kernel] * 2,
        strides=[stride] * 2, pads=pads, ceil_mode=ceil_mode, count_include_pad=padded,
    )  # fmt: skip
    assert_transpose(x, *found)


@pytest.mark.parametrize("opened", OPEN, ids=str)
@pytest.mark.parametrize("ceil_mode", [0, 1])
@pytest.mark.parametrize(("kernel", "stride", "pad"), [(2, 2, 0), (3, 2, 1), (3, 2, 0), (3, 1, 1)])
def test_max_pool_gives_to_the_first_maximum(
    kernel: int, stride: int, pad: int, ceil_mode: int, opened: Sequence[int]
) -> None:
    x = RNG.integers(0, 3, (2, 3, 7, 8)).astype(np.float32)  # nearly every window has a tie
    y, dy, dx = gradient(
        "MaxPool", x, opened=opened, kernel_shape=[kernel] * 2, strides=[stride] * 2,
        pads=[pad] * 4, ceil_mode=ceil_mode,
    )  # fmt: skip
    expected = np.zeros_like(x)
    for n, c, i, j in np.ndindex(*y.shape):
        rows = range(max(i * stride - pad, 0), min(i * stride - pad + kernel, x.shape[2]))
        columns = range(max(j * stride - pad, 0), min(j * stride - pad + kernel, x.shape[3]))
        first = next(p for p in itertools.product(rows, columns) if x[n, c, *p] == y[n, c, i, j])
        expected[n, c, *first] += dy[n, c, i, j]
    np.testing.assert_allclose(dx, expected, atol=1e-5)


def test_what_many_windows_or_lookups_share_is_added_up_on_every_thread() -> None:
    x = np.zeros((3, 2), np.float32)
    rows = np.random.default_rng(3).integers(0, 3, (50_000, 1))
    for operator in ("GatherND", "Gather"):
        _, dy, dx = gradient(operator, x, [rows], threads=4)
        expected = np.zeros((3, 2))
        np.add.at(expected, rows[:, 0], dy.reshape(-1, 2))
        np.testing.assert_allclose(dx, expected, rtol=1e-3, atol=1e-2)
