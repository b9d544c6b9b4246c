"""The command line: make pictures, look into models, serve."""

from __future__ import annotations

import contextlib
import json
import logging
import sys
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from importlib.metadata import version as unitscope_version
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from unitscope import command_options as given
from unitscope.animation import collecting, frame_every_steps, save_animation
from unitscope.api import ProgressListener, attribute, maximize, open_model
from unitscope.ascent.attribution import METHODS
from unitscope.ascent.objectives import OBJECTIVES
from unitscope.ascent.optimizers import OPTIMIZERS, SCHEDULES
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.presets import PRESETS
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.transforms import TRANSFORMS
from unitscope.autodiff.gradient_model import save_gradient_model
from unitscope.client import Client
from unitscope.config import Settings, read_settings
from unitscope.engine.attribution import Attribution, Completeness
from unitscope.engine.checkup import check_model
from unitscope.engine.record import beside
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization
from unitscope.errors import UnitscopeError
from unitscope.replay import replay as make_again
from unitscope.report import print_checkup
from unitscope.rpc import server
from unitscope.sheet import save_sheet

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_screen = Console(stderr=True)
_MISTAKE = 2


def _known(names: Iterable[str]) -> str:
    return ", ".join(names)


ModelOption = Annotated[
    str, typer.Option(help="Name of a model, or path of an ONNX file. Default: SqueezeNet 1.1.")
]
ServerOption = Annotated[
    str,
    typer.Option(help="HOST:PORT of a running server; without it, work is done in this process."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]


@app.callback()
def common(
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
) -> None:
    """The picture that a unit of any ONNX classifier prefers."""
    if version:
        typer.echo(unitscope_version("unitscope"))
        raise typer.Exit


@app.command("maximize")
def maximize_command(
    out: Annotated[Path, typer.Option(help="File to write: .png, .jpg, .webp or .npy.")],
    unit: Annotated[str, typer.Option(help="Index of the unit, or label of a class.")] = "",
    model: ModelOption = "",
    layer: Annotated[
        str, typer.Option(help="Tensor name or friendly name. Default: the logits.")
    ] = "",
    preset: Annotated[
        str, typer.Option(help=f"{_known(PRESETS)}: what other options change.")
    ] = "unitscope",
    steps: Annotated[
        int | None, typer.Option(help="Steps of gradient ascent. Default: the preset's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    position: Annotated[
        str, typer.Option(help="X,Y in the layer's map: one neuron, not the channel.")
    ] = "",
    objective: Annotated[str, typer.Option(help=f"{_known(OBJECTIVES)}.")] = "",
    reference: Annotated[
        Path | None, typer.Option(help="Image, for caricature and inversion.")
    ] = None,
    weight: Annotated[float, typer.Option(help="Below 0: bring the unit down.")] = 1.0,
    term: Annotated[
        list[str] | None,
        typer.Option(help="Add a term, such as unit=5,layer=relu1,weight=-1; may be repeated."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Activation to reach and stop at.")] = None,
    start: Annotated[Path | None, typer.Option(help="Image to begin with.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Shorter side in pixels. Default: the model's.")
    ] = None,
    octaves: Annotated[int | None, typer.Option(help="Sizes to climb at, small to large.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: the optimizer's.")] = None,
    schedule: Annotated[str | None, typer.Option(help=f"{_known(SCHEDULES)}.")] = None,
    parameterization: Annotated[
        str | None, typer.Option(help=f"{_known(PARAMETERIZATIONS)}.")
    ] = None,
    decorrelated: Annotated[
        bool | None, typer.Option(help="Mix colours from ImageNet's decorrelated ones.")
    ] = None,
    transforms: Annotated[
        str | None,
        typer.Option(help=f'NAME[:LOW[:HIGH]],… of {_known(TRANSFORMS)}; "" for none.'),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Random looks in every step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"{_known(OPTIMIZERS)}.")] = None,
    penalties: Annotated[
        str | None, typer.Option(help=f'NAME:STRENGTH,… of {_known(PENALTIES)}; "" for none.')
    ] = None,
    constraints: Annotated[
        str | None,
        typer.Option(help=f'NAME:STRENGTH[:STEPS],… of {_known(CONSTRAINTS)}; "" for none.'),
    ] = None,
    animation: Annotated[
        Path | None, typer.Option(help="Also write the ascent to this file: .webp or .gif.")
    ] = None,
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the picture that a unit prefers."""
    options: dict[str, Any] = {
        "layer": layer,
        "preset": preset,
        "steps": steps,
        "seed": seed,
        "position": given.position(position),
        "objective": objective,
        "reference": given.content("reference", reference),
        "weight": weight,
        "terms": given.terms(term or ()),
        "target": target,
        "start_image": given.content("start_image", start),
        "image_size_px": image_size,
        "octaves": octaves,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "parameterization": parameterization,
        "decorrelated": decorrelated,
        "transforms": given.transforms(transforms),
        "views": views,
        "optimizer": optimizer,
        "penalties": given.regularizers("penalties", penalties),
        "constraints": given.regularizers("constraints", constraints),
        "image_format": given.image_format(out),
        "preview_every_steps": frame_every_steps(animation, steps or PRESETS[preset].steps),
    }
    frames: list[bytes] = []
    with _progress_bar(unit or objective) as bar:
        listener = collecting(frames, bar)
        if server:
            with Client(server) as client:
                result = client.maximize(
                    given.unit(unit), model=model, on_progress=listener, **options
                )
        else:
            result = maximize(given.unit(unit), model=model, on_progress=listener, **options)
    _write(result, out)
    if animation is not None:
        save_animation(frames if out.suffix == ".npy" else [*frames, result.image], animation)
    if as_json:
        typer.echo(json.dumps(result.to_dict() | {"path": str(out)}, indent=2))
    else:
        _screen.print(escape(_summary(result, out)))


@app.command("attribute")
def attribute_command(
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
    layer: Annotated[
        str, typer.Option(help="Tensor name or friendly name. Default: the logits.")
    ] = "",
    position: Annotated[
        str, typer.Option(help="X,Y in the layer's map: one neuron, not the channel.")
    ] = "",
    method: Annotated[str, typer.Option(help=_known(METHODS))] = "integrated_gradients",
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
        result = attribute(*asked, **options)
    for path, content in (
        (out, result.overlay), (heat_map, result.heat_map), (values, result.values_npy),
    ):  # fmt: skip
        if path is not None:
            path.write_bytes(content)
    if as_json:
        typer.echo(json.dumps(result.to_dict() | {"path": str(out)}, indent=2))
    else:
        _screen.print(escape(_attribution_summary(result, out)))


@app.command()
def replay(
    picture: Annotated[Path, typer.Argument(help="A picture that unitscope made.")],
    model: Annotated[
        str, typer.Option(help="Its model: a name, or the path of the file. Default: as recorded.")
    ] = "",
    server: ServerOption = "",
    out: Annotated[Path | None, typer.Option(help="File to write the new picture to.")] = None,
) -> None:
    """Make a picture again from its record; exit with status 0 if it is the same byte for byte."""
    with _progress_bar(picture.name) as listener:
        again = make_again(picture, model=model, server=server, on_progress=listener)
    if out is not None:
        _write(again.result, out)
    for difference in again.differences:
        typer.echo(difference)
    typer.echo("the bytes differ" if again.differences else "same bytes")
    raise typer.Exit(bool(again.differences))


@app.command()
def sheet(
    pictures: Annotated[list[Path], typer.Argument(help="Pictures that unitscope made.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="File to write: .png, .jpg or .webp.")],
) -> None:
    """Put pictures side by side, each under what its record says it is."""
    save_sheet(pictures, out)
    _screen.print(f"wrote {out}")


@app.command()
def layers(model: ModelOption = "", server: ServerOption = "", as_json: JsonOption = False) -> None:
    """List the layers of a model, how many units each has, and which cannot be climbed."""
    if server:
        with Client(server) as client:
            found = list(client.layers(model))
    else:
        repository = Repository()
        found = list(repository.get(open_model(repository, model)).layers)
    columns = ("name", "tensor", "operator", "kind", "shape", "unit_count", "refusal")
    rows = ({"unit_count": layer.unit_count} | asdict(layer) for layer in found)
    _print_rows(columns, rows, as_json)


@app.command()
def models(
    server: ServerOption = "",
    directory: Annotated[
        Path | None, typer.Option("--models", help="Directory of ONNX files.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models at hand."""
    if server:
        with Client(server) as client:
            found = list(client.models())
    else:
        repository = Repository(directory)
        found = [repository.info(name) for name in repository.names()]
    columns = ("name", "title", "class_count", "layer_count", "license", "error")
    rows = (
        asdict(info) if as_json else {key: getattr(info, key) for key in columns} for info in found
    )
    _print_rows(columns, rows, as_json)


@app.command()
def check(
    model: Annotated[Path, typer.Argument(help="An ONNX classifier.")],
    layer: Annotated[
        str, typer.Option(help="Tensor name or friendly name. Default: the logits.")
    ] = "",
    images: Annotated[
        Path | None,
        typer.Option(help="Directory of images, or of a folder per class: try preprocessings."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Prove the gradient of a new model; exit with status 0 if it is proven.

    Loads and lowers the file, compares the result with the file's own, and a projection of the
    gradient with central differences, all through ONNX Runtime.
    """
    checkup = check_model(model, layer, images)
    if as_json:
        typer.echo(json.dumps(asdict(checkup), indent=2))
    else:
        print_checkup(checkup, Console())
    raise typer.Exit(checkup.verdict != "proven")


@app.command("export-gradient")
def export_gradient(
    model: Annotated[Path, typer.Argument(help="An ONNX classifier.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The ONNX file to write.")],
    layer: Annotated[
        str | None, typer.Option(help="Tensor name or friendly name. Default: the logits.")
    ] = None,
    image: Annotated[
        str, typer.Option(help="Input to differentiate by, of a model with several.")
    ] = "",
) -> None:
    """Write the gradient of a layer with respect to the image as a plain ONNX model.

    Its inputs are those of the model and `cotangent`, its outputs the layer and `image_gradient`.
    Weights beyond 2 GB in all go to a second file beside it.
    """
    save_gradient_model(out, model, layer, image=image)
    _screen.print(f"wrote {out}")


@app.command()
def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: loopback.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Default: 8001; 0 = any free port.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="/metrics and /healthz. Default: 8000.")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="Directory of ONNX files.")] = None,
) -> None:
    """Serve over gRPC until SIGTERM; without a flag, UNITSCOPE_HOST and the like count."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    server.serve(
        read_settings(Settings, host=host, grpc_port=grpc_port, http_port=http_port, models=models)
    )


@app.command()
def health(
    server: Annotated[str, typer.Option(help="HOST:PORT of the server.")] = "127.0.0.1:8001",
) -> None:
    """Exit with status 0 if the server is serving."""
    with Client(server) as client:
        status = client.health()
    typer.echo(status)
    raise typer.Exit(status != "SERVING")


def main() -> None:
    """Run the command line; what unitscope refuses is one sentence, not a traceback."""
    try:
        app()
    except UnitscopeError as error:
        _screen.print(f"[red]error:[/] {escape(str(error))}", highlight=False)
        sys.exit(_MISTAKE)


@contextlib.contextmanager
def _progress_bar(title: str) -> Iterator[ProgressListener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}  activation {task.fields[activation]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_screen, transient=True) as bar:
        task = bar.add_task(title, total=None, activation=0.0)
        yield lambda at: bar.update(
            task, completed=at.step, total=at.steps, activation=at.activation
        )


def _write(result: Maximization, out: Path) -> None:
    """Write the picture; an array cannot hold its record, which then lies beside it."""
    result.save(out)
    if result.image_format == "npy":
        beside(out).write_text(result.record)


def _print_rows(columns: tuple[str, ...], rows: Iterable[dict[str, Any]], as_json: bool) -> None:
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


def _summary(result: Maximization, out: Path) -> str:
    metrics = result.metrics
    best = metrics.top_classes[0]
    unit = "" if metrics.unit is None else f"unit {metrics.unit} {metrics.label} of "
    rank = "" if metrics.rank is None else f"rank {metrics.rank} of {metrics.unit_count}; "
    return (
        f"{out}: {unit}{metrics.tensor} on {metrics.model}: "
        f"activation {metrics.activation_start:.2f} → {metrics.activation_end:.2f}, {rank}"
        f"the model sees {best.label or best.index} ({best.probability:.3f}); "
        f"{metrics.steps_per_second:.1f} steps/s, {metrics.running_seconds:.1f} s"
    )


def _attribution_summary(result: Attribution, out: Path) -> str:
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
