"""What is timed is what it is called."""

from __future__ import annotations

from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import onnx
import pytest

from benchmarks.tasks import LayerGraphs, climbing
from benchmarks.timing import take_turns, turn
from tests.models import CARD, small_classifier
from unitscope.engine.executor import Executor
from unitscope.engine.loading import load_model
from unitscope.engine.session import FileSession
from unitscope.engine.sharing import Weights


@pytest.fixture(name="path")
def small_file(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    path.with_suffix(".toml").write_text(
        CARD.replace("[1.0, 1.0, 1.0]", "[0.5, 0.25, 1.0]").replace("RGB", "BGR")
    )
    return path


def test_every_task_has_a_turn_in_each_round_and_the_first_round_does_not_count() -> None:
    order: list[str] = []

    def taken(name: str) -> float:
        order.append(name)
        return len(order)

    times = take_turns({name: partial(taken, name) for name in "ab"}, seconds=0)
    assert order == ["a", "b"] * 4
    assert times == {"a": [3, 5, 7], "b": [4, 6, 8]}


def test_a_turn_says_how_long_one_run_takes() -> None:
    runs: Counter[str] = Counter()
    milliseconds = turn(lambda: runs.update(["run"] * 1000))
    assert 0 < milliseconds < 100
    assert runs["run"] >= 3000


def test_the_gradient_by_what_the_model_takes_is_recognised(path: Path) -> None:
    model = load_model(path)
    logits = model.find_layer()
    file = FileSession(path, model.subject, logits.tensor)
    graphs = LayerGraphs(file, model, logits, 2, Weights())
    by_picture = graphs.gradient()
    by_fed = by_picture[:, ::-1] * np.reshape([0.5, 0.25, 1.0], (3, 1, 1))
    assert graphs.difference(by_fed) < 1e-4
    assert graphs.difference(by_picture) > 0.1


def test_the_same_steps_have_the_same_digest(path: Path) -> None:
    climb = climbing(load_model(path), Executor())
    program = climb.program(rows=1)
    assert climb.digest(program) == climb.digest(program)
    assert climb.executor.rows_agree(program, climb.program(rows=2))
