"""Compare the gradients of many models with PyTorch's and write the table `docs/coverage.md`.

Run by `make coverage-models`: every classification architecture of torchvision, by both exporters,
logits and an inner layer, and the smallest member of every family of timm, logits. Takes hours;
may be interrupted: what is done is kept, and the table is made from that. Names given are run
again, such as `timm/resnet18`. Every core has a model of its own.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import subprocess
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
WORKER = "scripts.compare_gradients"
DOCUMENT = ROOT / "docs" / "coverage.md"
TIME_LIMIT_S = 2400
LIBRARIES = ("torch", "torchvision", "timm", "onnxscript", "onnx", "onnxruntime")
ORDER = ("disagrees", "fails", "refused", "stopped", "not exported", "agrees")
"""What became of a comparison, most interesting first."""

HEAD = """# Coverage

Gradients of whole models against PyTorch autograd: cotangentᵀ · ∂layer/∂image of the graph that
`unitscope.gradient_model` makes of the exported file, run by ONNX Runtime, with a random cotangent.
A comparison *agrees* if the largest difference is at most 10⁻³ of the largest gradient. Weights
are random, and what an author initialises to a constant is drawn too. `make coverage-models` writes
this; `scripts/compare_gradients.py` says how kinks are told from errors.

"""
COLUMNS = "| model | exporter | size | batch | layer | largest error | |\n" + "|---" * 7 + "|\n"

Row = dict[str, Any]


def main() -> None:
    """Run what has not been run, and write the table after every model."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("models", nargs="*", help="library/name of models to run again")
    parser.add_argument("--results", type=Path, default=ROOT / ".venv" / "coverage.jsonl")
    arguments = parser.parse_args()
    results: Path = arguments.results
    results.touch()
    done = {row["model"] for row in rows_in(results)}
    models = arguments.models or [model for model in queue(results) if model not in done]
    waiting = deque(models)
    cores = sorted(os.sched_getaffinity(0))
    takes = [waiting.pop, *[waiting.popleft] * (len(cores) - 1)]  # one large model at a time
    with ThreadPoolExecutor(len(cores)) as pool:
        writing = threading.Lock()
        list(pool.map(lambda core, take: run(core, take, results, writing), cores, takes))
    DOCUMENT.write_text(document(rows_in(results)))


def run(core: int, take: Callable[[], str], results: Path, writing: threading.Lock) -> None:
    """Compare models on one core until none is left."""
    while True:
        try:
            model = take()
        except IndexError:
            return
        rows = compared(model, core)
        print(model, *sorted({row["status"] for row in rows}), flush=True)
        with writing:
            with results.open("a") as file:
                file.writelines(json.dumps(row) + "\n" for row in rows)
            DOCUMENT.write_text(document(rows_in(results)))


def compared(model: str, core: int) -> list[Row]:
    """The comparisons of one model, made in a process of its own."""
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", WORKER, model]
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT_S, cwd=ROOT
        )
        output, status = done.stdout, done.returncode
        last = (done.stderr.strip().splitlines() or ["?"])[-1]
        says = f"exit status {status}: {last[:200]}" if status else ""
    except subprocess.TimeoutExpired as timeout:
        output = timeout.stdout.decode() if isinstance(timeout.stdout, bytes) else ""
        says = f"not done in {TIME_LIMIT_S} s"
    rows = [json.loads(line) for line in output.splitlines() if line.startswith("{")]
    if says:
        rows.append({"model": model, "status": "stopped", "says": says})
    return rows


def rows_in(results: Path) -> list[Row]:
    """All comparisons; where a model was run several times, those of the last run."""
    latest: dict[str, list[Row]] = {}
    previous = ""
    for line in results.read_text().splitlines():
        row = json.loads(line)
        if row["model"] != previous:
            latest[row["model"]] = []
        previous = row["model"]
        latest[row["model"]].append(row)
    return [row for rows in latest.values() for row in rows]


def queue(results: Path) -> list[str]:
    """The models: one small member of every family first, then the others, small ones first."""
    sizes = results.with_suffix(".sizes.json")
    if not sizes.exists():
        sizes.write_text(json.dumps(sorted(measured())))
    models = [
        (library, family, size, name)
        for size, library, family, name in json.loads(sizes.read_text())
    ]
    first: dict[tuple[str, str], str] = {}
    for library, family, _, name in models:
        first.setdefault((library, family), name)
    small = [f"{library}/{name}" for (library, _), name in first.items()]
    rest = [f"{library}/{name}" for library, _, _, name in models if library == "torchvision"]
    return list(dict.fromkeys(small + rest))


def measured() -> Iterator[tuple[int, str, str, str]]:
    """Number of parameters, library, family and name of every model, without its weights."""
    torch: Any = importlib.import_module("torch")
    models: Any = importlib.import_module("torchvision.models")
    timm: Any = importlib.import_module("timm")
    for name in models.list_models(module=models):
        family = models.get_model_builder(name).__module__
        size = models.get_model_weights(name).DEFAULT.meta["num_params"]
        yield size, "torchvision", family, name
    for family in timm.list_modules():
        for name in timm.list_models(module=family):
            with torch.device("meta"):
                weights = timm.create_model(name).parameters()
            yield sum(weight.numel() for weight in weights), "timm", family, name


def document(rows: Iterable[Row]) -> str:
    """The table in Markdown."""
    by_model: dict[str, list[Row]] = defaultdict(list)
    for row in rows:
        by_model[row["model"]].append(row)
    lines = [line for model in sorted(by_model) for line in lines_of(model, by_model[model])]
    versions = ", ".join(f"{name} {importlib.metadata.version(name)}" for name in LIBRARIES)
    return f"{HEAD}{versions}.\n\n{summary(by_model)}\n\n{COLUMNS}" + "".join(lines)


def summary(by_model: dict[str, list[Row]]) -> str:
    """How many models and comparisons there are of each outcome."""
    said = []
    for library in ("torchvision", "timm"):
        models = [rows for name, rows in by_model.items() if name.startswith(library + "/")]
        tried = [[row for row in rows if row["status"] != "not exported"] for rows in models]
        exported = [rows for rows in tried if rows]
        agree = sum(all(row["status"] == "agrees" for row in rows) for rows in exported)
        counts = defaultdict[str, int](int)
        for row in (row for rows in models for row in rows):
            counts[row["status"]] += 1
        each = ", ".join(f"{status} {counts[status]}" for status in ORDER if counts[status])
        said.append(
            f"**{library}**: of {len(models)} models {len(exported)} were exported, and {agree} of "
            f"these agree in everything (comparisons: {each})."
        )
    return "\n".join(said)


def lines_of(model: str, rows: list[Row]) -> Iterator[str]:
    """A line for each outcome: one where all agrees."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in rows:
        groups[row["status"], row.get("says", "")].append(row)
    for (status, says), group in sorted(groups.items(), key=lambda item: ORDER.index(item[0][0])):
        yield "| " + " | ".join([model, *cells(group), f"{status} {says}".strip()]) + " |\n"


def cells(group: list[Row]) -> Iterator[str]:
    """Exporters, sizes, batches, layers and largest error of comparisons that ended alike."""
    for key in ("exporter", "size", "batch"):
        yield listed(str(row[key]) for row in group if key in row)
    layers = (row["layer"] for row in group if "layer" in row)
    yield listed("logits" if layer == "logits" else "inner" for layer in layers)
    errors = [row["error"] for row in group if "error" in row]
    yield f"{max(errors):.1e}" if errors else ""


def listed(words: Iterable[str]) -> str:
    """The different words, in order."""
    return ", ".join(dict.fromkeys(words))


if __name__ == "__main__":
    main()
