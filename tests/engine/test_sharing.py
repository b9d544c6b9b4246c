"""What programs share: results are those of a session of its own, weights are there once."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.program import build_step
from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Executor, Program
from unitscope.engine.plan import resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.session import open_session
from unitscope.engine.sharing import SHARED_BYTES, Footprint, Weights, check_room
from unitscope.errors import OutOfMemory


def spec_of(repository: Repository, layer: str = "", optimizer: str = "adam") -> ProgramSpec:
    request = MaximizeRequest(unit=0, model="small", layer=layer, optimizer=optimizer)
    return resolve(request, repository.get("small")).stages[-1].spec


def held(*programs: Program) -> set[int]:
    return {
        id(array) for program in programs for graph in program.graphs for array in graph.weights
    }


def test_a_step_gives_the_bytes_of_a_session_of_its_own(repository: Repository) -> None:
    spec = spec_of(repository)
    shared = Executor(threads=1).compile(spec)
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    alone = open_session(build_step(spec), options, ["CPUExecutionProvider"])
    rng = np.random.default_rng(0)
    fed = {x.name: rng.random(x.shape).astype(np.float32) for x in alone.get_inputs()}
    found, expected = (run(None, fed) for run in (shared.step.session.run, alone.run))
    assert all(one.tobytes() == other.tobytes() for one, other in zip(found, expected, strict=True))


def test_programs_of_a_model_have_its_weights_once(repository: Repository) -> None:
    executor = Executor(threads=1)
    one = executor.compile(spec_of(repository))
    other = executor.compile(spec_of(repository, optimizer="momentum"))
    assert held(one) and held(one, other) == held(one)
    assert other.judge is one.judge and other.render is one.render
    inner = executor.compile(spec_of(repository, layer="relu_out"))
    assert held(inner) & held(one) and inner.judge is not one.judge


def test_arrays_are_shared_by_content_as_long_as_somebody_holds_them() -> None:
    weights, content = Weights(), np.arange(SHARED_BYTES, dtype=np.float32)
    first = weights.share(content)
    assert first is not content and np.array_equal(first, content)
    assert weights.share(content.copy()) is first
    assert weights.share(content.reshape(2, -1)) is not first
    assert weights.share(content.astype(np.float64)) is not first
    assert weights.share(content + 1) is not first
    del first
    gc.collect()
    assert weights.share(content, own=content) is content


@pytest.mark.parametrize(
    "own", [np.ones(9, np.float32), np.zeros(8, np.float32), np.ones(16, np.float32)[::2]], ids=str
)
def test_an_array_is_taken_as_it_is_only_if_it_is_the_same(own: np.ndarray) -> None:
    content = np.ones(8, np.float32)
    found = Weights().share(content, own)
    assert found is not own and np.array_equal(found, content)


def test_a_full_disk_is_said(tmp_path: Path) -> None:
    check_room(tmp_path, Footprint(Counter({1 << 10: 3}), own=0, peak=0))
    with pytest.raises(OutOfMemory, match=f"about {3 << 40} MiB, {tmp_path.parent} has"):
        check_room(tmp_path, Footprint(Counter({1 << 60: 3}), own=0, peak=0))


def test_what_a_program_will_take_is_said_before(repository: Repository) -> None:
    told: list[int] = []
    program = Executor(threads=1).compile(spec_of(repository), lambda step: told.append(step.total))
    step = program.step
    taken = sum(array.nbytes for array in step.weights) + step.own_bytes + step.peak_bytes
    assert told[0] == pytest.approx(taken, rel=0.5)


@pytest.mark.parametrize("threads", [1, 3])
def test_all_sessions_have_one_pool_of_threads(threads: int, model_directory: Path) -> None:
    """Counted in a process of its own: the pool of this one is there already."""
    counting = f"""
import os
from pathlib import Path
from unitscope.engine.executor import Executor
from unitscope.engine.plan import resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.sharing import share_threads

repository = Repository(Path({str(model_directory)!r}))
share_threads({threads})
executor = Executor()
counts = []
for layer in ("", "relu_out", "features.conv"):
    request = MaximizeRequest(unit=0, model="small", layer=layer)
    program = executor.compile(resolve(request, repository.get("small")).stages[-1].spec)
    counts.append(len(os.listdir("/proc/self/task")))
assert len(set(counts)) == 1, counts
print(counts[0])
"""
    fewer, more = (
        int(subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout)
        for code in (counting.replace(f"share_threads({threads})", "share_threads(1)"), counting)
    )
    assert more - fewer == threads - 1
