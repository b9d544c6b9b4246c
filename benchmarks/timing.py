"""Timing that survives a noisy machine: tasks take turns, and only ratios of one run count."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping

import onnxruntime as ort

Task = Callable[[], object]
_WARM_UPS = 2


def interleaved(tasks: Mapping[str, Task], rounds: int) -> dict[str, list[float]]:
    """Milliseconds of each task in each round; each is run twice, the second time counts.

    The first run finds the caches as the other tasks left them, and their threads still spinning.
    """
    times: dict[str, list[float]] = {name: [] for name in tasks}
    for turn in range(rounds + _WARM_UPS):
        for name, task in tasks.items():
            task()
            begun = time.perf_counter()
            task()
            if turn >= _WARM_UPS:
                times[name].append((time.perf_counter() - begun) * 1e3)
    return times


def summary(times: list[float]) -> dict[str, float]:
    """Median, quartiles and minimum in milliseconds."""
    low, middle, high = statistics.quantiles(times, n=4)
    return {
        "median_ms": round(middle, 2),
        "quartile_low_ms": round(low, 2),
        "quartile_high_ms": round(high, 2),
        "minimum_ms": round(min(times), 2),
    }


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
