"""Start a server, ask it over gRPC for four pictures, leave them in ./demo/, stop the server."""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn
from rich.table import Table

from unitscope import Client, Maximization
from unitscope.cli.sheet import save_sheet

OUT = Path("demo")
STEPS = 192
UNITS: list[tuple[str, int | str]] = [
    ("", "zebra"),
    ("", "goldfish"),
    ("", "golden retriever"),
    ("fire8_concat", 3),
]
_ADDRESS = re.compile(r"serving gRPC on (\S+) and HTTP on (\S+)")
_screen = Console()


def main() -> None:
    """Everything, in order."""
    OUT.mkdir(exist_ok=True)
    with running_server() as addresses, Client(addresses.grpc) as client:
        _screen.print(f"server on {addresses.grpc}, pictures go to {OUT}/")
        results = ask_for_pictures(client)
    (OUT / "metrics.json").write_text(
        json.dumps([result.to_dict() for result in results], indent=2)
    )
    save_sheet([path_of(layer, unit) for layer, unit in UNITS], OUT / "contact_sheet.png")
    _screen.print(table(results))


@dataclass(frozen=True, slots=True)
class Addresses:
    """Where a server listens, and its process."""

    grpc: str
    http: str
    pid: int


@contextlib.contextmanager
def running_server(*words: str) -> Iterator[Addresses]:
    """A server on free ports, started with further `words`; it is stopped at the end."""
    command = [sys.executable, "-m", "unitscope", "serve", "--grpc-port", "0", "--http-port", "0"]
    command += words
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said = []
        try:
            for line in process.stderr:
                said.append(line)
                if found := _ADDRESS.search(line):
                    yield Addresses(found[1], found[2], process.pid)
                    return
            raise SystemExit(f"the server did not start:\n{''.join(said)}")
        finally:
            process.send_signal(2)  # SIGINT: nobody watches its health, so it need not announce
            process.communicate()


def ask_for_pictures(client: Client) -> list[Maximization]:
    """The pictures of all units, with a bar for each."""
    columns = (
        TextColumn("{task.description:>24}"),
        BarColumn(),
        TextColumn(
            "step {task.completed:>3}/{task.total}  activation {task.fields[activation]:7.2f}"
        ),
    )
    results = []
    with Progress(*columns, console=_screen) as bar:
        for layer, unit in UNITS:
            task = bar.add_task(f"{layer or 'logits'} {unit}", total=STEPS, activation=0.0)
            result = climb(client, layer, unit, bar, task)
            result.save(path_of(layer, unit))
            results.append(result)
    return results


def path_of(layer: str, unit: int | str) -> Path:
    """Where the picture of a unit is left."""
    return OUT / f"{layer or 'logits'}_{unit}.png".replace(" ", "_")


def climb(client: Client, layer: str, unit: int | str, bar: Progress, task: TaskID) -> Maximization:
    """One picture; the bar follows it."""
    return client.maximize(
        unit,
        layer=layer,
        steps=STEPS,
        on_progress=lambda at: bar.update(task, completed=at.step, activation=at.activation),
    )


def table(results: list[Maximization]) -> Table:
    """What was measured."""
    columns = ("unit", "label", "activation start → end", "model's top-1", "steps/s", "seconds")
    rows = Table(*columns)
    for result in results:
        metrics = result.metrics
        best = metrics.top_classes[0]
        rows.add_row(
            f"{metrics.tensor} {metrics.unit}",
            metrics.label,
            f"{metrics.activation_start:.2f} → {metrics.activation_end:.2f}",
            f"{best.label} {best.probability:.3f}",
            f"{metrics.steps_per_second:.1f}",
            f"{metrics.running_seconds:.1f}",
        )
    return rows


if __name__ == "__main__":
    main()
