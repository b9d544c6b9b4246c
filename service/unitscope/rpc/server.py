"""The server: opens the doors, and closes them without losing a request.

A drain: say NOT_SERVING, keep taking requests until load balancers have noticed, take no more,
let running ones finish, end what is left with UNAVAILABLE so that clients try another replica.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import grpc
from grpc_health.v1 import health, health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from unitscope._gen.unitscope.v1 import unitscope_service_pb2
from unitscope._gen.unitscope.v1.unitscope_service_pb2_grpc import (
    add_UnitscopeServiceServicer_to_server,
)
from unitscope.config import Settings, read_settings
from unitscope.engine.device import find_device
from unitscope.engine.engine import EngineSettings
from unitscope.engine.isolation import IsolationSettings, open_service
from unitscope.engine.polling import polling
from unitscope.engine.remembering import CacheSettings, Remembering
from unitscope.engine.service import Service
from unitscope.engine.sharing import share_threads
from unitscope.engine.warm_up import warm_up
from unitscope.errors import InvalidRequest
from unitscope.rpc.interceptor import Interceptor
from unitscope.rpc.metrics import ServerMetrics
from unitscope.rpc.servicer import Servicer
from unitscope.web.server import HttpServer

_log = logging.getLogger(__name__)

_SERVICE = unitscope_service_pb2.DESCRIPTOR.services_by_name["UnitscopeService"]
SERVICE_NAME: str = _SERVICE.full_name
METHODS = tuple(_SERVICE.methods_by_name)
_WAITING_THREADS = 256
"""Calls that wait for a model to load have one each, so that they keep no other model waiting."""
_FLUSH_SECONDS = 5.0
"""Time for the last answers to reach slow readers, once the engine has closed."""


class Server:
    """The service over gRPC, with health, reflection and the HTTP side door.

    `grpc_port`, `http_port`: the bound ones, once started. Make it inside the event loop.
    """

    def __init__(self, service: Service, metrics: ServerMetrics, settings: Settings) -> None:
        self.grpc_port = 0
        self.http_port = 0
        self._service = service
        self._settings = settings
        self._serving = False
        self._interceptor = Interceptor(SERVICE_NAME, metrics)
        self._health = health.aio.HealthServicer()
        self._http = HttpServer(metrics.registry, lambda: self._serving)
        self._grpc = grpc.aio.server(
            interceptors=[self._interceptor],
            options=[
                ("grpc.max_receive_message_length", settings.max_request_bytes),
                ("grpc.so_reuseport", 0),  # otherwise two servers could share a port unnoticed
            ],
        )
        servicer = Servicer(service, may_control_models=settings.model_control_mode == "explicit")
        add_UnitscopeServiceServicer_to_server(  # type: ignore[no-untyped-call]  # generated
            servicer, self._grpc
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._grpc)
        names = (SERVICE_NAME, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._grpc)

    async def start(self) -> None:
        """Open both doors; raises InvalidRequest naming the setting if one cannot be opened."""
        settings = self._settings
        waiting = ThreadPoolExecutor(_WAITING_THREADS, thread_name_prefix="unitscope-wait")
        asyncio.get_running_loop().set_default_executor(waiting)
        try:
            await self._bind()
        except InvalidRequest:
            await self._grpc.stop(None)
            raise
        await self._health.set(SERVICE_NAME, health_pb2.HealthCheckResponse.SERVING)
        await self._grpc.start()
        self._serving = True
        _log.info(
            "serving gRPC on %s and HTTP on %s",
            _address(settings.host, self.grpc_port),
            _address(settings.host, self.http_port),
        )

    async def _bind(self) -> None:
        host = self._settings.host
        grpc_port, http_port = self._settings.grpc_port, self._settings.http_port
        try:
            self.grpc_port = self._grpc.add_insecure_port(_address(host, grpc_port))
        except RuntimeError:
            raise InvalidRequest("grpc_port", grpc_port, f"a free port of {host}") from None
        try:
            self.http_port = await self._http.start(host, http_port)
        except OSError:
            raise InvalidRequest("http_port", http_port, f"a free port of {host}") from None

    async def drain(self, *, announce_seconds: float = 0.0) -> None:
        """Close the doors as the module says; the service is closed with them."""
        self._serving = False
        await self._health.enter_graceful_shutdown()
        _log.info("draining: not serving")
        await asyncio.sleep(announce_seconds)
        grace = self._settings.drain_grace_seconds
        stopping = asyncio.create_task(self._grpc.stop(grace + _FLUSH_SECONDS))
        await asyncio.to_thread(self._service.close, grace)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._interceptor.idle(), _FLUSH_SECONDS)
        await self._grpc.stop(None)
        await stopping
        await self._http.close()
        _log.info("stopped")


def serve(
    settings: Settings | None = None,
    engine_settings: EngineSettings | None = None,
    isolation: IsolationSettings | None = None,
    cache: CacheSettings | None = None,
) -> None:
    """Serve until SIGTERM or SIGINT, then drain; a second signal ends the process at once.

    Settings that are not given are read from the environment.
    """
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s %(message)s")
    settings = settings or read_settings(Settings)
    engine_settings = engine_settings or read_settings(EngineSettings)
    isolation = isolation or read_settings(IsolationSettings)
    share_threads(engine_settings.threads)
    cache = cache or read_settings(CacheSettings)
    metrics = ServerMetrics(METHODS)
    device = find_device(engine_settings.device, engine_settings.precision)
    climbing = open_service(settings.models, engine_settings, isolation, metrics)
    service = Remembering(climbing, engine_settings.limits, cache, metrics, device)
    with contextlib.closing(service), polling(service.models, settings.models_poll_seconds):
        metrics.watch(service)
        warm_up(climbing, settings.warm_up)  # a result that is kept compiles nothing
        asyncio.run(_serve(service, metrics, settings))


async def _serve(service: Service, metrics: ServerMetrics, settings: Settings) -> None:
    server = Server(service, metrics, settings)
    await server.start()
    received = await _first_signal(signal.SIGTERM, signal.SIGINT)
    terminated = received is signal.SIGTERM
    await server.drain(announce_seconds=settings.drain_announce_seconds if terminated else 0.0)


async def _first_signal(*awaited: signal.Signals) -> signal.Signals:
    """Wait for one of the signals; afterwards they act as before."""
    loop = asyncio.get_running_loop()
    received: asyncio.Future[signal.Signals] = loop.create_future()
    for number in awaited:
        loop.add_signal_handler(number, partial(_set_once, received, number))
    try:
        return await received
    finally:
        for number in awaited:
            loop.remove_signal_handler(number)


def _set_once(future: asyncio.Future[signal.Signals], value: signal.Signals) -> None:
    if not future.done():
        future.set_result(value)


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
