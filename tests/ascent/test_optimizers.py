"""Every optimizer climbs; Adam is Adam."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.optimizers import OPTIMIZERS, SCHEDULES
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph


def directions(name: str, gradients: list[np.ndarray]) -> list[np.ndarray]:
    """What the optimizer makes of a sequence of gradients `[1, 2]`."""
    op = Emitter(Graph(18))
    gradient = op.graph.add_input("gradient", np.float32, (1, 2))
    count = OPTIMIZERS[name].state_count
    state = [op.graph.add_input(f"state_{i}", np.float32, (1, 2)) for i in range(count)]
    step = op.graph.add_input("step", np.float32, (1, 1))
    parameters = op.graph.add_input("parameters", np.float32, (1, 2))
    direction, following = OPTIMIZERS[name].update(op, parameters, gradient, state, step)
    assert len(following) == count
    model = op.graph.to_model([op.Mul(direction, 1.0), *following])
    session = ort.InferenceSession(model.SerializeToString())
    wanted = {item.name for item in session.get_inputs()}
    values, found = [np.zeros((1, 2), np.float32) for _ in state], []
    for number, now in enumerate(gradients, start=1):
        feed = {f"state_{i}": value for i, value in enumerate(values)}
        feed |= {"gradient": now, "step": np.full((1, 1), number, np.float32)}
        feed["parameters"] = np.zeros((1, 2), np.float32)
        first, *values = session.run(None, {key: feed[key] for key in wanted})
        found.append(first)
    return found


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_each_goes_up(name: str) -> None:
    gradient = np.array([[1.0, -2.0]], np.float32)
    for direction in directions(name, [gradient] * 5):
        assert float((direction * gradient).sum()) > 0


def test_adam_follows_the_paper() -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal((1, 2)).astype(np.float32) for _ in range(6)]
    m = v = np.zeros((1, 2))
    for t, (g, direction) in enumerate(
        zip(gradients, directions("adam", gradients), strict=True), start=1
    ):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        expected = m / (1 - 0.9**t) / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(direction, expected, rtol=1e-3)


def test_nadam_looks_one_step_ahead() -> None:
    rng = np.random.default_rng(0)
    gradients = [rng.standard_normal((1, 2)).astype(np.float32) for _ in range(6)]
    m = v = np.zeros((1, 2))
    for t, (g, direction) in enumerate(
        zip(gradients, directions("nadam", gradients), strict=True), start=1
    ):
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g**2
        ahead = 0.9 * m / (1 - 0.9 ** (t + 1)) + 0.1 * g / (1 - 0.9**t)
        expected = ahead / (np.sqrt(v / (1 - 0.999**t)) + 1e-8)
        np.testing.assert_allclose(direction, expected, rtol=1e-3)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_begin_with_the_whole_rate_and_never_rise(name: str) -> None:
    course = [SCHEDULES[name](way) for way in np.linspace(0, 1, 11)]
    assert course[0] == 1.0 and min(course) >= 0
    assert all(after <= before for before, after in pairwise(course))
