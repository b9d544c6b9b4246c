"""How long a gradient takes on a graphics processor: a JSON line per model and batch.

For each, taking turns in one run: a forward pass in float32, the gradient of the logits in both
precisions, its kernels launched one by one and captured (a CUDA graph), and whole ascent steps as
the engine takes them. What the device has no kernel for is named; everything stays in its memory.

    python -m benchmarks.gpu [MODEL …] [--device cuda:1] [--batch 1 8 32] [--rounds 20]

MODEL is a file; without any, SqueezeNet 1.1.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

from benchmarks.tasks import climbing
from benchmarks.timing import Task, environment, interleaved, summary
from unitscope.ascent.probe import build_probe
from unitscope.engine.device import Device, find_device
from unitscope.engine.executor import Executor
from unitscope.engine.loading import embedded_model, load_model
from unitscope.engine.session import compile_placed
from unitscope.engine.slot import run_options
from unitscope.errors import InvalidRequest
from unitscope.graph.ir import Parts

_TYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64}


class Bound:
    """A graph with inputs and outputs in the memory of its device."""

    def __init__(self, parts: Parts, device: Device, *, captured: bool) -> None:
        compiled = compile_placed(parts, device, threads=0, captured=captured)
        self._session, self.elsewhere = compiled.session, compiled.elsewhere
        self._binding = self._session.io_binding()
        self._options = run_options(1 if compiled.captured else -1)
        rng = np.random.default_rng(0)
        for x in self._session.get_inputs():
            content = rng.random(x.shape).astype(_TYPES[x.type])
            value = ort.OrtValue.ortvalue_from_numpy(content, device.kind, device.index)
            self._binding.bind_ortvalue_input(x.name, value)
        for y in self._session.get_outputs():
            self._binding.bind_ortvalue_output(
                y.name,
                ort.OrtValue.ortvalue_from_shape_and_type(
                    y.shape, _TYPES[y.type], device.kind, device.index
                ),
            )

    def run(self) -> None:
        """Once, to the end."""
        self._session.run_with_iobinding(self._binding, self._options)


def main() -> None:
    """Measure every model named; ends with a sentence where there is no device to do it on."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*", type=Path)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8, 32])
    parser.add_argument("--rounds", type=int, default=20)
    options = parser.parse_args()
    try:
        devices = {name: find_device(options.device, name) for name in ("float32", "float16")}
    except InvalidRequest as absent:
        raise SystemExit(f"nothing is measured: {absent}") from None
    about = environment() | {"graphics_processor": _name(devices["float32"])}
    for path in options.models or [embedded_model()]:
        for rows in options.batch:
            print(json.dumps(measure(path, rows, options.rounds, devices) | about), flush=True)


def measure(path: Path, rows: int, rounds: int, devices: Mapping[str, Device]) -> dict[str, Any]:
    """Times of all tasks, steps of a picture a second, and nodes left to the processor.

    `devices`: the same one, by precision.
    """
    model = load_model(path)
    logits = model.info.logits_tensor
    forward = build_probe(model.subject, logits, rows).forward
    bound = {"forward float32": Bound(forward, devices["float32"], captured=False)}
    tasks: dict[str, Task] = {}
    elsewhere: dict[str, list[str]] = {}
    for precision, device in devices.items():
        gradient = build_probe(model.subject, logits, rows, device.target).gradient
        for captured in (False, True):
            name = f"gradient {precision}{' captured' if captured else ''}"
            bound[name] = Bound(gradient, device, captured=captured)
        climb = climbing(model, Executor(device=device))
        program = climb.program(rows)
        tasks[f"step {precision}"] = climb.task(program)
        elsewhere[f"step {precision}"] = list(program.step.elsewhere)
    tasks |= {name: one.run for name, one in bound.items()}
    elsewhere |= {name: list(one.elsewhere) for name, one in bound.items()}
    found = {name: summary(times) for name, times in interleaved(tasks, rounds).items()}
    return {
        "model": path.stem,
        "batch": rows,
        "tasks": found,
        "steps_per_second": {
            name: round(rows * 1e3 / found[name]["median_ms"], 1)
            for name in found
            if name.startswith("step")
        },
        "elsewhere": {name: nodes for name, nodes in elsewhere.items() if nodes},
    }


def _name(device: Device) -> str:
    """What the device calls itself, and its driver."""
    asked = ["--query-gpu=name,driver_version", "--format=csv,noheader", f"--id={device.index}"]
    if (tool := shutil.which("nvidia-smi")) is None:
        return "unknown: nvidia-smi is missing"
    return subprocess.run([tool, *asked], capture_output=True, text=True, check=True).stdout.strip()


if __name__ == "__main__":
    main()
