"""Every command by name, and what happens to a mistake."""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.metadata import version as unitscope_version
from typing import Annotated

import typer
from rich.markup import escape

from unitscope.cli.attribute import attribute
from unitscope.cli.maximize import maximize
from unitscope.cli.models import check, export_gradient, layers, load, models, unload
from unitscope.cli.output import screen
from unitscope.cli.pictures import replay, sheet
from unitscope.cli.serve import health, serve
from unitscope.errors import UnitscopeError

_COMMANDS: tuple[Callable[..., None], ...] = (
    maximize,
    attribute,
    replay,
    sheet,
    layers,
    models,
    check,
    export_gradient,
    serve,
    health,
    load,
    unload,
)
"""In the order in which `unitscope --help` lists them."""
_MISTAKE = 2


def main() -> None:
    """Run the command line; what unitscope refuses is one sentence, not a traceback."""
    try:
        _app()()
    except UnitscopeError as error:
        screen.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(_MISTAKE)


def _app() -> typer.Typer:
    app = typer.Typer(
        callback=_common,
        invoke_without_command=True,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    for command in _COMMANDS:
        app.command()(command)
    return app


def _common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """The picture that a unit of any ONNX classifier prefers."""
    if version:
        typer.echo(unitscope_version("unitscope"))
        raise typer.Exit
