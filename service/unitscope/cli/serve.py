"""Serve, and ask a server whether it does."""

from __future__ import annotations

import logging
from typing import Annotated

import typer

from unitscope.cli.options import MODELS_HELP, RunningServerOption
from unitscope.client import Client
from unitscope.config import Settings, read_settings
from unitscope.rpc.server import serve as serve_until_told


def serve(
    host: Annotated[
        str | None, typer.Option(help="Address to listen on. Default: loopback.")
    ] = None,
    grpc_port: Annotated[int | None, typer.Option(help="Default: 8001; 0 = any free port.")] = None,
    http_port: Annotated[
        int | None, typer.Option(help="/metrics and /healthz. Default: 8000.")
    ] = None,
    models: Annotated[str | None, typer.Option(help=MODELS_HELP)] = None,
) -> None:
    """Serve over gRPC until SIGTERM; without a flag, UNITSCOPE_HOST and the like count."""
    logging.basicConfig(
        level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    serve_until_told(
        read_settings(Settings, host=host, grpc_port=grpc_port, http_port=http_port, models=models)
    )


def health(
    server: RunningServerOption = "127.0.0.1:8001",
) -> None:
    """Exit with status 0 if the server is serving."""
    with Client(server) as client:
        status = client.health()
    typer.echo(status)
    raise typer.Exit(status != "SERVING")
