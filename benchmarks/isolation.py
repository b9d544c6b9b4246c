"""What a worker process costs: per step, to start, and in memory. One JSON line.

    python -m benchmarks.isolation [--steps 64] [--rounds 10]

The embedded model is climbed by an engine in this process and by one in a worker, in turn.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.timing import environment, interleaved, summary
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.isolation import IsolationSettings, open_service
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.service import Service
from unitscope.engine.sharing import share_threads


def main() -> None:
    """Measure, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=10)
    options = parser.parse_args()
    print(json.dumps(environment() | measure(options.steps, options.rounds)))


def measure(steps: int, rounds: int) -> dict[str, Any]:
    """Seconds and MiB of a worker, and milliseconds per step here and there."""
    settings = EngineSettings()
    share_threads(settings.threads)  # as servers and workers do
    isolated = open_service(None, settings, IsolationSettings())
    with Engine(Repository(), settings) as engine, closing(isolated):
        begun = time.monotonic()
        isolated.models.info("")
        start_seconds = time.monotonic() - begun
        loaded_mib = _private_mib(_child())
        services: dict[str, Service] = {"in_process": engine, "isolated": isolated}
        tasks = {name: partial(_climb, service, steps) for name, service in services.items()}
        times = interleaved(tasks, rounds)
    ratios = [there / here for here, there in zip(*times.values(), strict=True)]
    return {
        "steps": steps,
        "start_and_load_seconds": round(start_seconds, 2),
        "worker_with_model_mib": loaded_mib,
        "isolated_per_in_process": round(statistics.median(ratios), 4),
        **{f"{name}_request": summary(found) for name, found in times.items()},
    }


def _climb(service: Service, steps: int) -> None:
    service.submit(MaximizeRequest(unit=340, steps=steps)).result()


def _child() -> int:
    tasks = Path("/proc/self/task").iterdir()
    (child,) = {pid for task in tasks for pid in (task / "children").read_text().split()}
    return int(child)


def _private_mib(pid: int) -> int:
    """Memory that the process shares with no other."""
    status = Path(f"/proc/{pid}/status").read_text()
    (anonymous,) = re.findall(r"RssAnon:\s+(\d+) kB", status)
    return int(anonymous) >> 10


if __name__ == "__main__":
    main()
