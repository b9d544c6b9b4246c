"""Batches: rows keep their bytes, and a size is used because it was proved and pays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.networks import NETWORKS
from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.batches import RETRIAL_TURNS, ROWS, TRIALS, WORTH_STEPS, Batches
from unitscope.engine.engine import Engine
from unitscope.engine.executor import Ascent, Executor, Outcome, Program
from unitscope.engine.plan import resolve
from unitscope.engine.programs import Programs
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization, MaximizeRequest
from unitscope.engine.ticket import Ticket
from unitscope.errors import NotFinite

ROOM_FOR_ONE_AND_EIGHT_ROWS = 2 << 20
"""Those take 1.7 million bytes, another program 0.7."""


class Counted:
    """An observer that keeps how many rows each step had."""

    def __init__(self) -> None:
        self.rows: list[int] = []

    def step(self, seconds: float, rows: int) -> None:
        assert seconds > 0
        self.rows.append(rows)

    def compiled(self, seconds: float) -> None:
        assert seconds > 0


def uneven() -> onnx.ModelProto:
    """Sums 3·7·7 numbers with ReduceSum, nine times: the order depends on where they begin."""
    weight = np.random.default_rng(0).standard_normal((1, 9, 3, 7, 7)).astype(np.float32)
    nodes = [
        helper.make_node("Unsqueeze", ["image", "one"], ["once"]),
        helper.make_node("Mul", ["once", "weight"], ["product"]),
        helper.make_node("ReduceSum", ["product", "axes"], ["logits"], keepdims=0),
    ]
    shape: list[Any] = ["N", 3, 7, 7]
    graph = helper.make_graph(
        nodes,
        "uneven",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", 9])],
        [
            numpy_helper.from_array(np.array([2, 3, 4]), "axes"),
            numpy_helper.from_array(np.array([1]), "one"),
            numpy_helper.from_array(weight, "weight"),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def spec_of(repository: Repository, **asked: Any) -> ProgramSpec:
    request = MaximizeRequest(unit=1, **asked)
    return resolve(request, repository.get(request.model)).stages[0].spec


def test_requests_of_one_program_step_together_and_keep_their_bytes(
    repository: Repository,
) -> None:
    seen = Counted()
    with Engine(repository, observer=seen) as engine:
        asked = [
            MaximizeRequest(unit=seed % 3, model="small", steps=200, seed=seed)
            for seed in range(10)
        ]
        crowd = [ticket.result() for ticket in [engine.submit(one) for one in asked]]
        assert max(seen.rows) == ROWS[0]
        assert sum(seen.rows) == 200 * len(asked)
        seen.rows.clear()
        alone = [engine.submit(one).result() for one in asked]
        assert set(seen.rows) == {1}
    for one, other in zip(crowd, alone, strict=True):
        assert one.image == other.image
        assert one.metrics.trajectory == other.metrics.trajectory
        assert one.metrics.gradient_norm == other.metrics.gradient_norm


class Disturbed(Executor):
    """In company the last row of the first step overflows, and every later step breaks."""

    begun = False
    broken = 0

    def step(
        self,
        program: Program,
        ascents: Sequence[Ascent],
        inputs: Sequence[Mapping[str, np.ndarray]],
    ) -> list[Outcome]:
        if len(ascents) > 1 and self.begun:
            Disturbed.broken += 1
            raise RuntimeError("as if the processor gave up")
        outcomes = super().step(program, ascents, inputs)
        if len(ascents) > 1:
            self.begun = True
            outcomes[-1] = Outcome(float("nan"), 1.0)
        return outcomes


def test_what_fails_in_company_fails_alone(
    repository: Repository, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [MaximizeRequest(unit=1, model="small", steps=200, seed=seed) for seed in range(8)]
    with Engine(repository) as engine:
        alone = [engine.submit(one).result() for one in asked]
    monkeypatch.setattr("unitscope.engine.engine.Executor", Disturbed)
    with Engine(repository) as engine:
        tickets = [engine.submit(one) for one in asked]
        ends = [end_of(ticket) for ticket in tickets]
    failed = [end for end in ends if not isinstance(end, Maximization)]
    assert [type(error) for error in failed] == [NotFinite]
    assert 0 < Disturbed.broken <= len(ROWS)  # a size that broke is not tried again
    for end, expected in zip(ends, alone, strict=True):
        assert end in failed or end.image == expected.image


def end_of(ticket: Ticket) -> Any:
    """The result, or the error that ended the request."""
    try:
        return ticket.result()
    except NotFinite as error:
        return error


@pytest.mark.parametrize("name", ["small", "grey", "bands", "perceptron"])
def test_rows_of_the_models_agree(name: str, repository: Repository) -> None:
    executor, spec = Executor(), spec_of(repository, model=name)
    alone = executor.compile(spec)
    assert all(
        executor.rows_agree(alone, executor.compile(replace(spec, rows=rows))) for rows in ROWS
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_rows_of_networks_agree(name: str, tmp_path: Path) -> None:
    onnx.save(NETWORKS[name](0), tmp_path / f"{name}.onnx")
    test_rows_of_the_models_agree(name, Repository(tmp_path))


def test_a_program_whose_rows_depend_on_each_other_runs_one_by_one(tmp_path: Path) -> None:
    onnx.save(uneven(), tmp_path / "uneven.onnx")
    repository, executor = Repository(tmp_path), Executor()
    spec = spec_of(repository, model="uneven", parameterization="pixel")
    pair = executor.compile(replace(spec, rows=2))
    assert not executor.rows_agree(executor.compile(spec), pair)
    seen = Counted()
    with Engine(repository, observer=seen) as engine:
        asked = [MaximizeRequest(unit=seed, model="uneven", steps=WORTH_STEPS) for seed in range(3)]
        for ticket in [engine.submit(one) for one in asked]:
            ticket.result()
    assert set(seen.rows) == {1}


class Bench:
    """Batches of `small` whose programs are built at once, if there is room."""

    def __init__(
        self, repository: Repository, pool: ThreadPoolExecutor, *, memory_bytes: int = 1 << 30
    ) -> None:
        executor = Executor()
        self.programs = Programs(executor, memory_bytes=memory_bytes, compiled=lambda _: None)
        self.single = self.programs.get(spec_of(repository, model="small"))
        self.batches = Batches(executor, pool, build=self.programs.get, find=self.programs.find)

    def run(self, present: int, seconds: dict[int, float]) -> int:
        """How many rows are chosen, and said to take `seconds` each."""
        chosen: Program = self.batches.choose(self.single, present, WORTH_STEPS)
        rows = chosen.spec.rows
        self.batches.note(chosen, seconds[rows] * rows)
        return rows


def test_the_size_that_pays_is_found_and_tried_again(repository: Repository) -> None:
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(repository, pool)
        assert bench.batches.choose(bench.single, 9, WORTH_STEPS - 1) is bench.single
        assert bench.run(9, {1: 1.0}) == 1
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(repository, pool)
        bench.run(9, {1: 1.0})
        pool.submit(int).result()  # the one before it is done
        slow = {1: 1.0, 8: 2.0}
        rows = [bench.run(9, slow) for _ in range(2 * TRIALS + 2)]
        assert rows.count(8) == TRIALS + 1 and rows[-1] == 1
        rows = [bench.run(9, {1: 1.0, 8: 0.5}) for _ in range(8 * RETRIAL_TURNS)]
        assert rows[-1] == 8 and bench.batches.row_seconds(bench.single.spec) == 1.0
        assert bench.run(3, {1: 1.0, 2: 0.1}) == 1


def test_turns_that_other_work_lengthened_do_not_mislead(repository: Repository) -> None:
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(repository, pool)
        bench.run(9, {1: 1.0})
        pool.submit(int).result()  # the one before it is done
        times = {1: 1.0, 8: 0.5}
        tried = [bench.run(9, times | {8: 0.5 if turn == 2 else 50.0}) for turn in range(TRIALS)]
        rows = [bench.run(9, times) for _ in range(2 * TRIALS)]
        assert tried == [8] * TRIALS and rows[-1] == 8
        assert bench.run(9, times | {8: 50.0}) == bench.run(9, times) == 8


def test_a_size_that_ran_for_long_is_tried_again_soon(repository: Repository) -> None:
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(repository, pool)
        bench.run(9, {1: 1.0})
        pool.submit(int).result()  # the one before it is done
        for rounds, eights, chosen in ((16, 0.5, 8), (4, 2.0, 1), (4, 0.5, 8)):
            rows = [bench.run(9, {1: 1.0, 8: eights}) for _ in range(rounds * RETRIAL_TURNS)]
            assert rows[-RETRIAL_TURNS // 2 :].count(chosen) >= RETRIAL_TURNS // 2 - 1


def test_what_found_no_room_is_asked_for_again_when_there_is_more(repository: Repository) -> None:
    with ThreadPoolExecutor(1) as pool:
        bench = Bench(repository, pool, memory_bytes=ROOM_FOR_ONE_AND_EIGHT_ROWS)
        bench.programs.hold(bench.single.spec)
        other = bench.programs.hold(spec_of(repository, model="small", image_size_px=8))
        together, found = replace(bench.single.spec, rows=ROWS[0]), []
        for leaving in (None, other):
            if leaving is not None:
                bench.programs.release(leaving)
            bench.batches.retry(bench.programs.room_bytes)
            bench.run(9, {1: 1.0})
            pool.submit(int).result()  # the one before it is done
            found.append(bench.programs.find(together) is not None)
    assert found == [False, True]
