"""Look into models: list them and their layers, prove a gradient, write it down."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from unitscope.api import open_model
from unitscope.autodiff.gradient_model import save_gradient_model
from unitscope.cli.options import (
    MODELS_HELP,
    JsonOption,
    LayerOption,
    ModelOption,
    RunningServerOption,
    ServerOption,
    VersionOption,
)
from unitscope.cli.output import print_rows, screen
from unitscope.cli.report import print_checkup
from unitscope.client import Client
from unitscope.engine.checkup import check_model
from unitscope.engine.repository import Repository


def layers(
    model: ModelOption = "",
    model_version: VersionOption = "",
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """List the layers of a model, how many units each has, and which cannot be climbed."""
    if server:
        with Client(server) as client:
            found = list(client.layers(model, model_version))
    else:
        repository = Repository()
        found = list(repository.get(open_model(repository, model), model_version).layers)
    columns = ("name", "tensor", "operator", "kind", "shape", "unit_count", "refusal")
    rows = ({"unit_count": layer.unit_count} | asdict(layer) for layer in found)
    print_rows(columns, rows, as_json)


def models(
    server: ServerOption = "",
    directory: Annotated[str | None, typer.Option("--models", help=MODELS_HELP)] = None,
    as_json: JsonOption = False,
) -> None:
    """List the models at hand."""
    if server:
        with Client(server) as client:
            found = list(client.models())
    else:
        repository = Repository(directory)
        found = [repository.info(name) for name in repository.names()]
    columns = ("name", "version", "state", "class_count", "layer_count", "license", "error")
    rows = (
        asdict(info) if as_json else {key: getattr(info, key) for key in columns} for info in found
    )
    print_rows(columns, rows, as_json)


def load(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    model_version: Annotated[str, typer.Option(help="Default: the latest there is.")] = "",
    server: RunningServerOption = "127.0.0.1:8001",
) -> None:
    """Have a server load a model, or load it anew if its files changed."""
    with Client(server) as client:
        info = client.load_model(model, model_version)
    screen.print(f"loaded version {info.version} of {info.name}")


def unload(
    model: Annotated[str, typer.Argument(help="Name of a model.")],
    model_version: Annotated[str, typer.Option(help="Default: all of them.")] = "",
    server: RunningServerOption = "127.0.0.1:8001",
) -> None:
    """Have a server serve a model no more, until it is told to load it."""
    with Client(server) as client:
        client.unload_model(model, model_version)


def check(
    model: Annotated[Path, typer.Argument(help="An ONNX classifier.")],
    layer: LayerOption = "",
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
    screen.print(f"wrote {out}")
