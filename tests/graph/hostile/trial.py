"""What a server does with a file, in a process that may die of it.

``python -m tests.graph.hostile.trial FIRST LAST`` tries the cases of these numbers and prints a
JSON line before and after each.
"""

from __future__ import annotations

import json
import re
import resource
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.graph.hostile.cases import CASES
from unitscope.autodiff.gradient_model import gradient_model
from unitscope.engine.executor import Executor
from unitscope.engine.loading import load_model
from unitscope.engine.plan import resolve
from unitscope.engine.request import MaximizeRequest
from unitscope.errors import UnitscopeError

SECONDS = 10
MEMORY_BYTES = 6 << 30


def limit() -> None:
    """From here on more memory fails, and what a file makes onnx warn of is not shown."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES, MEMORY_BYTES))
    warnings.simplefilter("ignore")


def attempt(path: Path) -> str:
    """Why the model at `path` is refused, "" if it is not; ends the process if that takes long."""
    signal.setitimer(signal.ITIMER_REAL, SECONDS)
    try:
        return _refusal(gradient_model, path) or _refusal(_compile, path)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)


def _refusal(use: Callable[[Path], object], path: Path) -> str:
    try:
        use(path)
    except UnitscopeError as error:
        return str(error) or "without a word"
    return ""


def _compile(path: Path) -> None:
    plan = resolve(MaximizeRequest(unit=0), load_model(path))
    Executor(threads=1).compile(plan.stages[-1].spec)


def report(path: Path) -> dict[str, object]:
    """What came of the model at `path`."""
    start = time.monotonic()
    refusal = fault = ""
    try:
        refusal = attempt(path)
    except Exception:  # what a test of robustness looks for
        fault = traceback.format_exc()
    return {
        "refusal": refusal,
        "fault": fault,
        "seconds": time.monotonic() - start,
        "peak_mib": peak_mib(),
    }


def peak_mib() -> int:
    """The most this process has had in memory; `ru_maxrss` begins with what its parent had."""
    status = Path("/proc/self/status").read_text()
    return int(re.findall(r"VmHWM:\s+(\d+) kB", status)[0]) >> 10


def main(first: int, last: int) -> None:
    limit()
    for number in range(first, last):
        with TemporaryDirectory() as directory:
            path = Path(directory) / "models" / "model.onnx"
            path.parent.mkdir()
            name = CASES[number](path)
            print(json.dumps({"number": number, "name": name}), flush=True)
            print(json.dumps(report(path)), flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]))
