"""What can be done with pictures that unitscope made: make them again, show them together."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unitscope.cli import values as given
from unitscope.cli.options import ServerOption
from unitscope.cli.output import progress_bar, screen, write_picture
from unitscope.cli.replay import replay as make_again
from unitscope.cli.sheet import save_sheet


def replay(
    picture: Annotated[Path, typer.Argument(help="A picture that unitscope made.")],
    model: Annotated[
        str, typer.Option(help="Its model: a name, or the path of the file. Default: as recorded.")
    ] = "",
    images: Annotated[
        Path | None, typer.Option(help="Directory with the images that were given with --images.")
    ] = None,
    server: ServerOption = "",
    out: Annotated[Path | None, typer.Option(help="File to write the new picture to.")] = None,
) -> None:
    """Make a picture again from its record; exit with status 0 if it is the same byte for byte."""
    with progress_bar(picture.name) as listener:
        again = make_again(
            picture,
            model=model,
            server=server,
            images=given.images(images),
            on_progress=listener,
        )
    if out is not None:
        write_picture(again.result, out)
    for difference in again.differences:
        typer.echo(difference)
    kept = ", which the server had kept" if again.result.cached else ""
    typer.echo(("the bytes differ" if again.differences else "same bytes") + kept)
    raise typer.Exit(bool(again.differences))


def sheet(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures that unitscope made.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .jpg or .webp.")],
) -> None:
    """Put pictures side by side, each under what its record says it is."""
    save_sheet(pictures, out)
    screen.print(f"wrote {out}")
