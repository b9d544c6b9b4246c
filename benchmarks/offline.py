"""How long a gradient takes, without a server: one JSON line per model and batch, then a table.

For each model, taking turns in one run: a forward pass of the file in ONNX Runtime (the
yardstick), the gradient of the logits and of a layer in the middle, a whole ascent step, and
PyTorch's gradient where PyTorch is installed. Ratios travel between machines, milliseconds do not.

    python -m benchmarks.offline [MODEL …] [--batch 1 8] [--rounds 20]

MODEL is a file or a name in benchmarks/zoo.py (needs PyTorch); without any, SqueezeNet 1.1.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import time
from pathlib import Path
from typing import Any

from benchmarks import zoo
from benchmarks.report import table
from benchmarks.tasks import graph_tasks, step_task, torch_tasks
from benchmarks.timing import environment, interleaved, summary
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import embedded_model, load_model
from unitscope.graph.layers import Layer

CACHE = Path(__file__).resolve().parent.parent / ".venv" / "models"
_IN_THE_MIDDLE = ("convolution", "linear", "activation", "sum")


def main() -> None:
    """Measure every model named, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--batch", type=int, nargs="+", default=[1])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    results = []
    for name in options.models or [str(embedded_model())]:
        for rows in options.batch:
            results.append(measure(name, rows, options.rounds) | environment())
            print(json.dumps(results[-1]), flush=True)
    print(f"\n{table(results)}")


def measure(name: str, rows: int, rounds: int) -> dict[str, Any]:
    """Times of all tasks for one model and batch, and how long loading and compiling took."""
    path = zoo.exported(name, CACHE) if name in zoo.MODELS else Path(name)
    begun = time.perf_counter()
    model = load_model(path)
    loaded = time.perf_counter()
    logits, middle = model.find_layer(), middle_layer(model)
    tasks = graph_tasks(path, model, logits, rows)
    inner = graph_tasks(path, model, middle, rows)
    tasks |= {"middle_forward": inner["forward"], "middle_gradient": inner["gradient"]}
    compiled = time.perf_counter()
    if rows == 1:
        tasks["step"] = step_task(model)
    program = time.perf_counter()
    if name in zoo.MODELS and importlib.util.find_spec("torch"):
        tasks |= torch_tasks(*zoo.module_of(name), rows)
    times = interleaved(tasks, rounds)
    return {
        "model": path.stem,
        "batch": rows,
        "middle": middle.name,
        "load_seconds": round(loaded - begun, 2),
        "program_seconds": round(program - compiled, 2) if rows == 1 else None,
        "tasks": {task: summary(values) for task, values in times.items()},
    }


def middle_layer(model: LoadedModel) -> Layer:
    """The layer nearest the middle that people would climb."""
    layers = [x for x in model.layers if x.kind in _IN_THE_MIDDLE and not x.refusal]
    return layers[len(layers) // 2]


if __name__ == "__main__":
    main()
