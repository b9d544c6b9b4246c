"""How long a step takes, without a server: one JSON line per model, then a table.

For each model, interleaved in one run: a forward pass of the file in ONNX Runtime (the yardstick),
a bare gradient to the logits, and a whole ascent step with its transforms. Ratios travel between
machines, milliseconds do not.

    python benchmarks/offline.py [MODEL.onnx …] [--rounds 30]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime as ort

from unitscope import gradient_model
from unitscope.ascent.objectives import one_hot
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.transforms import TRANSFORMS, draw
from unitscope.engine.executor import Ascent, Executor
from unitscope.engine.loading import embedded_model
from unitscope.engine.plan import resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest


def main() -> None:
    """Measure every model named, or the embedded one."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--rounds", type=int, default=30)
    options = parser.parse_args()
    repository = Repository()
    paths = options.models or [embedded_model()]
    rows = [measure(repository, path, options.rounds) for path in paths]
    for row in rows:
        print(json.dumps(row | environment()))
    print(f"\n{'model':<32}{'forward ms':>12}{'gradient':>10}{'step':>8}   (÷ forward)")
    for row in rows:
        ratios = f"{row['gradient_ratio']:>9}×{row['step_ratio']:>7}×"
        print(f"{row['model']:<32}{row['forward_ms']:>12}{ratios}")


def measure(repository: Repository, path: Path, rounds: int) -> dict[str, str | float]:
    """Medians of interleaved rounds, and the spread of the forward pass."""
    model = repository.add(path)
    executor = Executor()
    plan = resolve(MaximizeRequest(unit=0), model)
    started = time.perf_counter()
    program = executor.compile(plan.spec)
    compile_seconds = time.perf_counter() - started
    parameters = PARAMETERIZATIONS[plan.spec.parameterization].initial(0, plan.spec.image)
    ascent = Ascent(program, parameters, one_hot(plan.layer, 0, None), plan.learning_rate)
    image = plan.spec.image
    matrices = draw(
        tuple(TRANSFORMS), seed=0, step=1, height_px=image.height_px, width_px=image.width_px
    )
    forward, gradient = bare_runs(path)
    tasks: dict[str, Callable[[], object]] = {
        "forward": forward,
        "gradient": gradient,
        "step": lambda: executor.step(program, ascent, 1, matrices),
    }
    times: dict[str, list[float]] = {key: [] for key in tasks}
    for _ in range(rounds + 3):
        for key, task in tasks.items():
            begun = time.perf_counter()
            task()
            times[key].append((time.perf_counter() - begun) * 1e3)
    medians = {key: statistics.median(values[3:]) for key, values in times.items()}
    quarters = statistics.quantiles(times["forward"][3:], n=4)
    return {
        "model": model.info.name,
        "forward_ms": round(medians["forward"], 2),
        "forward_quartiles_ms": f"{quarters[0]:.2f}..{quarters[2]:.2f}",
        "gradient_ratio": round(medians["gradient"] / medians["forward"], 2),
        "step_ratio": round(medians["step"] / medians["forward"], 2),
        "steps_per_second": round(1e3 / medians["step"], 1),
        "compile_seconds": round(compile_seconds, 2),
    }


def bare_runs(model: Path) -> tuple[Callable[[], object], Callable[[], object]]:
    """A forward pass of the model, and the gradient of its logits, at batch 1."""
    forward = ort.InferenceSession(str(model))
    gradient = ort.InferenceSession(gradient_model(model).SerializeToString())
    feeds = []
    for session in (forward, gradient):
        feed = {}
        for item in session.get_inputs():
            shape = [dim if isinstance(dim, int) else 1 for dim in item.shape]
            feed[item.name] = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
        feeds.append(feed)
    return lambda: forward.run(None, feeds[0]), lambda: gradient.run(None, feeds[1])


def environment() -> dict[str, str | int | None]:
    """What a figure means nothing without."""
    sha = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return {
        "git_sha": sha.stdout.strip(),
        "onnxruntime": ort.__version__,
        "providers": ",".join(ort.get_available_providers()),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "cores": os.cpu_count(),
    }


if __name__ == "__main__":
    main()
