"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

import typer

MODELS_HELP = "Directory of models, as ONNX files or in Triton's layout, or its URL."

ModelOption = Annotated[
    str, typer.Option(help="Name of a model, or path of an ONNX file. Default: SqueezeNet 1.1.")
]
VersionOption = Annotated[
    str, typer.Option(help="Version of the model. Default: the latest that can be used.")
]
RunningServerOption = Annotated[str, typer.Option(help="HOST:PORT of the server.")]
ServerOption = Annotated[
    str,
    typer.Option(help="HOST:PORT of a running server; without it, work is done in this process."),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
LayerOption = Annotated[
    str, typer.Option(help="Tensor name or friendly name. Default: the logits.")
]
PositionOption = Annotated[
    str, typer.Option(help="X,Y in the layer's map: one neuron, not the channel.")
]


def known(names: Iterable[str]) -> str:
    """The choices of an option, for its help."""
    return ", ".join(names)
