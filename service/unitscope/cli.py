"""The command line: serve, maximize, layers, models, check, export-gradient, health."""

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

from unitscope.api import ProgressListener, maximize, open_model
from unitscope.autodiff.gradient_model import save_gradient_model
from unitscope.client import Client
from unitscope.config import Settings, read_settings
from unitscope.engine.checkup import check_model
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization
from unitscope.errors import InvalidRequest, UnitscopeError
from unitscope.report import print_checkup
from unitscope.rpc import server

app = typer.Typer(
    invoke_without_command=True,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
_screen = Console(stderr=True)
_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp"}
_MISTAKE = 2

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
    unit: Annotated[str, typer.Option(help="Index of the unit, or label of a class.")],
    out: Annotated[Path, typer.Option(help="File to write: .png, .jpg or .webp.")],
    model: ModelOption = "",
    layer: Annotated[
        str, typer.Option(help="Tensor name or friendly name. Default: the logits.")
    ] = "",
    steps: Annotated[int, typer.Option(help="Steps of gradient ascent.")] = 256,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    position: Annotated[
        str, typer.Option(help="X,Y in the layer's map: one neuron, not the channel.")
    ] = "",
    image_size: Annotated[
        int | None, typer.Option(help="Shorter side in pixels. Default: the model's.")
    ] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: the optimizer's.")] = None,
    parameterization: Annotated[str, typer.Option(help="fourier or pixel.")] = "fourier",
    transforms: Annotated[
        str, typer.Option(help='Comma-separated, in order; "" for none.')
    ] = "pad,jitter,scale,rotate",
    optimizer: Annotated[str, typer.Option(help="adam or gradient_ascent.")] = "adam",
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the picture that a unit prefers."""
    options: dict[str, Any] = {
        "layer": layer,
        "steps": steps,
        "seed": seed,
        "position": _position(position),
        "image_size_px": image_size,
        "learning_rate": learning_rate,
        "parameterization": parameterization,
        "transforms": tuple(name.strip() for name in transforms.split(",") if name.strip()),
        "optimizer": optimizer,
        "image_format": _image_format(out),
    }
    wanted: int | str = int(unit) if unit.isdecimal() else unit
    with _progress_bar(unit, steps) as listener:
        if server:
            with Client(server) as client:
                result = client.maximize(wanted, model=model, on_progress=listener, **options)
        else:
            result = maximize(wanted, model=model, on_progress=listener, **options)
    result.save(out)
    if as_json:
        typer.echo(json.dumps(result.to_dict() | {"path": str(out)}, indent=2))
    else:
        _screen.print(escape(_summary(result, out)))


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
def _progress_bar(title: str, steps: int) -> Iterator[ProgressListener]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn("step {task.completed}/{task.total}  activation {task.fields[activation]:.2f}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=_screen, transient=True) as bar:
        task = bar.add_task(title, total=steps, activation=0.0)
        yield lambda at: bar.update(task, completed=at.step, activation=at.activation)


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
    return (
        f"{out}: unit {metrics.unit} {metrics.label} of {metrics.tensor} on {metrics.model}: "
        f"activation {metrics.activation_start:.2f} → {metrics.activation_end:.2f}, "
        f"rank {metrics.rank} of {metrics.unit_count}; "
        f"the model sees {best.label or best.index} ({best.probability:.3f}); "
        f"{metrics.steps_per_second:.1f} steps/s, {metrics.running_seconds:.1f} s"
    )


def _position(text: str) -> tuple[int, int] | None:
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise InvalidRequest("position", text, "two whole numbers X,Y")
    return int(parts[0]), int(parts[1])


def _image_format(out: Path) -> str:
    if out.suffix.lower() not in _FORMATS:
        raise InvalidRequest("out", out.name, f"a name ending in {', '.join(_FORMATS)}")
    return _FORMATS[out.suffix.lower()]
