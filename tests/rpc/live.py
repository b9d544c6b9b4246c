"""A real server on a thread with its own event loop, for tests that talk to it from outside."""

from __future__ import annotations

import asyncio
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from typing import Any

import grpc
from grpc_health.v1.health_pb2_grpc import HealthStub

from tests.services import Models, serving
from unitscope._gen.unitscope.v1.unitscope_service_pb2_grpc import UnitscopeServiceStub
from unitscope.client import Client
from unitscope.config import Settings
from unitscope.engine.engine import EngineSettings
from unitscope.engine.limits import Limits
from unitscope.engine.remembering import CacheSettings, Remembering
from unitscope.engine.service import Service
from unitscope.rpc.metrics import ServerMetrics
from unitscope.rpc.server import METHODS, Server

ENDLESS = 10**9
"""Steps of a request that ends only when somebody ends it."""

DOORS = Settings(grpc_port=0, http_port=0, model_control_mode="explicit")

LIMITS = Limits(max_steps=ENDLESS)


def service_of(channel: grpc.Channel) -> Any:
    """The bare stub of the service; generated, so without types."""
    return UnitscopeServiceStub(channel)  # type: ignore[no-untyped-call]


def health_of(channel: grpc.Channel) -> Any:
    """The bare stub of the health service."""
    return HealthStub(channel)


class LiveServer:
    """A started server and the service behind it."""

    def __init__(
        self,
        server: Server,
        service: Service,
        metrics: ServerMetrics,
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self.service = service
        self.metrics = metrics
        self.grpc_port = server.grpc_port
        self.http_port = server.http_port
        self.target = f"127.0.0.1:{server.grpc_port}"
        self._server = server
        self._loop = loop

    def client(self) -> Client:
        """A new client of this server."""
        return Client(self.target, timeout_seconds=60)

    def channel(self) -> grpc.Channel:
        """A new bare channel to this server."""
        return grpc.insecure_channel(self.target)

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of an HTTP GET."""
        url = f"http://127.0.0.1:{self.http_port}{path}"
        try:
            with urllib.request.urlopen(url, timeout=60) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    def drain(self, *, announce_seconds: float = 0.0) -> Future[None]:
        """Start to drain."""
        drain = self._server.drain(announce_seconds=announce_seconds)
        return asyncio.run_coroutine_threadsafe(drain, self._loop)


@contextmanager
def live_server(
    models: Models,
    settings: EngineSettings = EngineSettings(limits=LIMITS),  # noqa: B008  frozen
    cache: CacheSettings = CacheSettings(),  # noqa: B008  frozen
    doors: Settings = DOORS,
) -> Iterator[LiveServer]:
    """Serve `models` on free ports until the block is left."""
    metrics = ServerMetrics(METHODS)
    with event_loop() as loop, serving(models, settings, metrics) as climbing:
        service = Remembering(climbing, settings.limits, cache, metrics)
        metrics.watch(service)

        async def start() -> Server:
            server = Server(service, metrics, doors)
            await server.start()
            return server

        server = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        live = LiveServer(server, service, metrics, loop)
        try:
            yield live
        finally:
            service.close()
            live.drain().result(60)


@contextmanager
def event_loop() -> Iterator[asyncio.AbstractEventLoop]:
    """An event loop that runs on a thread of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield loop
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
