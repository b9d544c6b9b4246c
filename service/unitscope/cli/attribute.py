"""Show which pixels of an image a unit's activation depends on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from unitscope import api
from unitscope.ascent.attribution import METHODS
from unitscope.cli import values as given
from unitscope.cli.options import (
    JsonOption,
    LayerOption,
    ModelOption,
    PositionOption,
    ServerOption,
    VersionOption,
    known,
)
from unitscope.cli.output import screen
from unitscope.client import Client
from unitscope.engine.attribution import Attribution, Completeness


def attribute(
    image: Annotated[Path, typer.Argument(help="A PNG, JPEG or WebP.")],
    unit: Annotated[str, typer.Option(help="Index of the unit, or label of a class.")],
    out: Annotated[Path, typer.Option(help="PNG to write: the heat map over the image.")],
    heat_map: Annotated[
        Path | None, typer.Option(help="PNG to write: how much counts where, in grey.")
    ] = None,
    values: Annotated[
        Path | None, typer.Option(help=".npy to write: signed, channels × height × width.")
    ] = None,
    model: ModelOption = "",
    model_version: VersionOption = "",
    layer: LayerOption = "",
    position: PositionOption = "",
    method: Annotated[str, typer.Option(help=known(METHODS))] = "integrated_gradients",
    samples: Annotated[
        int | None, typer.Option(help="Gradients to take. Default: the method's.")
    ] = None,
    noise: Annotated[
        float | None, typer.Option(help="Of smoothgrad: share of the image's range.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of smoothgrad.")] = None,
    baseline: Annotated[
        float | None, typer.Option(help="Of integrated_gradients: 0 is black, 1 white.")
    ] = None,
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Show which pixels of an image a unit's activation depends on."""
    options: dict[str, Any] = {
        "model": model,
        "model_version": model_version,
        "layer": layer,
        "position": given.position(position),
        "method": method,
        "samples": samples,
        "noise": noise,
        "seed": seed,
        "baseline": baseline,
    }
    asked = given.content("image", image), int(unit) if unit.isdecimal() else unit
    if server:
        with Client(server) as client:
            result = client.attribute(*asked, **options)
    else:
        result = api.attribute(*asked, **options)
    for path, content in (
        (out, result.overlay), (heat_map, result.heat_map), (values, result.values_npy),
    ):  # fmt: skip
        if path is not None:
            path.write_bytes(content)
    if as_json:
        typer.echo(json.dumps(result.to_dict() | {"path": str(out)}, indent=2))
    else:
        screen.print(escape(_summary(result, out)))


def _summary(result: Attribution, out: Path) -> str:
    best = result.top_classes[0]
    return (
        f"{out}: {result.method} of unit {result.unit} {result.label} of {result.tensor} on "
        f"{result.model}: activation {result.activation:.2f}, {_gap(result.completeness)}"
        f"the model sees {best.label or best.index} ({best.probability:.3f}); "
        f"{result.running_seconds:.1f} s"
    )


def _gap(complete: Completeness | None) -> str:
    if complete is None:
        return ""
    share = "" if complete.relative_gap is None else f" ({complete.relative_gap:.1%})"
    return f"completeness gap {complete.gap:.3g}{share}; "
