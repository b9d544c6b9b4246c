"""What commands put out: progress on the screen, tables or JSON, pictures in files."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from unitscope.api import ProgressListener
from unitscope.engine.record import beside
from unitscope.engine.request import Maximization

screen = Console(stderr=True)
"""For people; what programs read goes to standard output."""


@contextlib.contextmanager
def progress_bar(title: str) -> Iterator[ProgressListener]:
    """A bar on the screen while the block runs; it listens to progress."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}  activation {task.fields[activation]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=screen, transient=True) as bar:
        task = bar.add_task(title, total=None, activation=0.0)
        yield lambda at: bar.update(
            task, completed=at.step, total=at.steps, activation=at.activation
        )


def write_picture(result: Maximization, out: Path) -> None:
    """Write the picture; an array cannot hold its record, which then lies beside it."""
    result.save(out)
    if result.image_format == "npy":
        beside(out).write_text(result.record)


def print_rows(columns: tuple[str, ...], rows: Iterable[dict[str, Any]], as_json: bool) -> None:
    """Print `rows` as a table without the columns that are empty throughout, or whole as JSON."""
    listed = list(rows)
    if as_json:
        typer.echo(json.dumps(listed, indent=2))
        return
    used = [column for column in columns if any(row[column] != "" for row in listed)]
    table = Table(*used, box=None)
    for row in listed:
        table.add_row(*(_cell(row[column]) for column in used))
    Console().print(table)


def _cell(value: object) -> str:
    return "×".join(map(str, value)) if isinstance(value, tuple) else escape(str(value))
