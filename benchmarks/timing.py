"""Timing that survives a noisy machine: tasks take turns, and only ratios of one run count."""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import onnxruntime as ort

Task = Callable[[], object]
Turn = Callable[[], float]
"""Runs a task for a while and says how many milliseconds one run took."""
_WARM_UPS = 2
_REST_SECONDS = 0.1
"""Threads of the task before spin on for half of it."""
_TURN_SECONDS = 0.1
_LONG_SECONDS = 1.0
_LEAST_ROUNDS = 3


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


def turn(task: Task) -> float:
    """Milliseconds of a run: the median of what a tenth of a second has room for.

    The first run warms the caches and does not count, unless it is long.
    """
    time.sleep(_REST_SECONDS)
    first = _seconds(task)
    if first > _LONG_SECONDS:
        return first * 1e3
    times, begun = [_seconds(task)], time.perf_counter()
    while time.perf_counter() - begun < _TURN_SECONDS:
        times.append(_seconds(task))
    return statistics.median(times) * 1e3


def take_turns(turns: Mapping[str, Turn], seconds: float) -> dict[str, list[float]]:
    """Milliseconds of each task in each round, for `seconds` or a few rounds, if that is longer.

    A first round warms up and does not count.
    """
    times: dict[str, list[float]] = {name: [] for name in turns}
    begun, rounds = time.perf_counter(), 0
    while rounds <= _LEAST_ROUNDS or time.perf_counter() - begun < seconds:
        for name, one in turns.items():
            times[name].append(one())
        rounds += 1
    return {name: found[1:] for name, found in times.items()}


def _seconds(task: Task) -> float:
    begun = time.perf_counter()
    task()
    return time.perf_counter() - begun


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
        "device": processor(),
    }


def processor() -> str:
    """What the processor calls itself, and whether it has AVX-512."""
    described = Path("/proc/cpuinfo")
    lines = described.read_text().split("\n") if described.is_file() else []
    said = {name.strip(): value.strip() for name, _, value in (x.partition(":") for x in lines)}
    name = said.get("model name") or platform.processor()
    return f"{name}, AVX-512" if "avx512f" in said.get("flags", "").split() else name
