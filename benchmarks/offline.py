"""How long a gradient takes, without a server, beside others: JSON lines, then two tables.

For each model, taking turns in one run: a forward pass of the file in ONNX Runtime (the
yardstick), the gradient of the logits and of a layer in the middle, whole ascent steps, and what
others take for the same (benchmarks/peers). Ratios travel between machines, milliseconds do not.

    python -m benchmarks.offline [MODEL …] [--batch 1 8] [--seconds 30]
    python -m benchmarks.offline --all    # every model, and what is asked of ResNet-50 alone

MODEL is a file or a name in benchmarks/zoo.py (needs PyTorch); without any, SqueezeNet 1.1. What
fails is named in the results and stops nothing else.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from benchmarks import fresh, zoo
from benchmarks.measuring import Result, measure
from benchmarks.report import report
from benchmarks.timing import environment
from unitscope.engine.cores import usable_cores
from unitscope.engine.loading import embedded_model

CACHE = Path(__file__).resolve().parent.parent / ".venv" / "models"
BUILT = "resnet50"
"""Whose programs are built from cold, and kept in memory, in processes of their own."""
_COLD_STARTS = 3


def main() -> None:
    """Measure everything that was named, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", nargs="*")
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--batch", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--seconds", type=float, default=30.0, help="of turns, for each model")
    options = parser.parse_args()
    named = [*zoo.MODELS] if options.all else options.models or [str(embedded_model())]
    about = environment() | {"threads": usable_cores()}
    results = []
    for result in _results(named, options.batch, options.seconds, whole=options.all):
        results.append(result | about)
        print(json.dumps(results[-1]), flush=True)
    print(f"\n{report(results)}")


def _results(
    named: list[str], batches: list[int], seconds: float, *, whole: bool
) -> Iterator[Result]:
    if whole:
        yield _tried(f"building {BUILT}", building)
        yield _tried(f"memory of {BUILT}", memory)
    for name in named:
        yield _tried(name, partial(_measured, name, batches, seconds))


def _tried(what: str, found: Callable[[], Result]) -> Result:
    """What was found, or why it was not: a run of half an hour does not end with one model."""
    try:
        return found()
    except Exception as error:
        return {"kind": "failed", "what": what, "reason": f"{type(error).__name__}: {error}"}


def _measured(name: str, batches: list[int], seconds: float) -> Result:
    return measure(name, _file(name), batches, seconds)


def building() -> Result:
    """The median of several processes."""
    path = _file(BUILT)
    answers = [fresh.ask("building", path) for _ in range(_COLD_STARTS)]
    medians = {key: statistics.median(answer[key] for answer in answers) for key in answers[0]}
    return {"kind": "building", "model": BUILT} | medians


def memory() -> Result:
    """Of twenty layers' programs."""
    return {"kind": "memory", "model": BUILT} | fresh.ask("memory", _file(BUILT))


def _file(name: str) -> Path:
    return zoo.exported(name, CACHE) if name in zoo.MODELS else Path(name)


if __name__ == "__main__":
    main()
