"""What only a process of its own can tell of a model. One JSON line.

python -m benchmarks.fresh building MODEL.onnx   # from the file to the first step, and again
python -m benchmarks.fresh memory MODEL.onnx     # resident memory of twenty layers' programs
python -m benchmarks.fresh digest MODEL.onnx     # what a few steps lead to
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.memory import resident_mib
from benchmarks.tasks import climbing
from benchmarks.timing import turn
from unitscope.engine.executor import Executor
from unitscope.engine.loading import load_model
from unitscope.engine.programs import Programs

LAYERS = 20
_MEMORY_BYTES = 4 << 30


def ask(what: str, path: Path) -> dict[str, Any]:
    """The answer of a new process; raises CalledProcessError where it fails."""
    command = [sys.executable, "-m", "benchmarks.fresh", what, str(path.resolve())]
    root = Path(__file__).resolve().parent.parent
    done = subprocess.run(command, cwd=root, stdout=subprocess.PIPE, check=True)
    answer: dict[str, Any] = json.loads(done.stdout)
    return answer


def building(path: Path) -> dict[str, float]:
    """Seconds from the file to the end of the first step; then for a program that is at hand.

    `again`: until its first step can begin.
    """
    executor = Executor()
    programs = _programs(executor)
    begun = time.perf_counter()
    model = load_model(path)
    loaded = time.perf_counter()
    climb = climbing(model, executor)
    program = programs.get(climb.plan.stages[-1].spec)
    ascent = climb.begun(program)
    built = time.perf_counter()
    climb.step(program, [ascent])
    stepped = time.perf_counter()
    again = climbing(model, executor)
    ascent = again.begun(programs.get(again.plan.stages[-1].spec))
    found = time.perf_counter()
    return {
        "cold_seconds": round(stepped - begun, 3),
        "load_seconds": round(loaded - begun, 3),
        "program_seconds": round(built - loaded, 3),
        "first_step_seconds": round(stepped - built, 3),
        "again_seconds": round(found - stepped, 5),
        "step_seconds": round(turn(lambda: again.step(program, [ascent])) / 1e3, 4),
    }


def memory(path: Path) -> dict[str, float]:
    """MiB that the model takes, with programs of twenty of its layers, and once all have run."""
    empty = resident_mib()
    model = load_model(path)
    loaded = resident_mib()
    layers = [layer for layer in model.layers if not layer.refusal]
    chosen = [layers[round(index)] for index in np.linspace(len(layers) - 1, 0, LAYERS)]
    executor = Executor()
    programs = _programs(executor)
    climbs = [climbing(model, executor, layer.tensor) for layer in chosen]
    compiled = [programs.get(climb.plan.stages[-1].spec) for climb in climbs]
    built = resident_mib()
    for climb, program in zip(climbs, compiled, strict=True):
        climb.step(program, [climb.begun(program)])
    run, weights = resident_mib(), path.stat().st_size / 2**20
    return {
        "programs": len(compiled),
        "weights_mib": round(weights, 1),
        "model_mib": round(loaded - empty, 1),
        "compiled_mib": round(built - empty, 1),
        "run_mib": round(run - empty, 1),
        "times_weights": round((run - empty) / weights, 2),
    }


def digest(path: Path) -> dict[str, str]:
    """See `Climbing.digest`."""
    climb = climbing(load_model(path), Executor())
    return {"digest": climb.digest(climb.program(rows=1))}


def _programs(executor: Executor) -> Programs:
    return Programs(executor, memory_bytes=_MEMORY_BYTES, compiled=lambda _: None)


if __name__ == "__main__":
    answers = {"building": building, "memory": memory, "digest": digest}
    print(json.dumps(answers[sys.argv[1]](Path(sys.argv[2]))))
