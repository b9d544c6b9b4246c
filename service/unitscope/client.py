"""The service from afar, with the nouns of the engine: `Client` waits, `AsyncClient` is awaited.

Both raise what the engine would raise, and `CallFailed` when the service could not be asked.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator
from contextlib import contextmanager
from functools import partial
from types import TracebackType
from typing import Any, Self

import grpc
from grpc_health.v1 import health_pb2
from grpc_health.v1.health_pb2_grpc import HealthStub

from unitscope._gen.unitscope.v1 import maximize_pb2, model_pb2
from unitscope._gen.unitscope.v1.unitscope_service_pb2_grpc import UnitscopeServiceStub
from unitscope.api import ProgressListener, follow, several
from unitscope.engine.attribution import AttributeRequest, Attribution
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.request import Caller, Event, Maximization, MaximizeRequest
from unitscope.graph.layers import Layer
from unitscope.rpc import convert_attribute
from unitscope.rpc.caller import to_metadata
from unitscope.rpc.convert import from_event, from_maximization, to_request, to_stream_request
from unitscope.rpc.convert_model import from_layer, from_model
from unitscope.rpc.status import from_call

MAX_RESPONSE_BYTES = 64 << 20
"""Far above the largest picture that a server makes within its usual limits."""

_CHANNEL_OPTIONS = [("grpc.max_receive_message_length", MAX_RESPONSE_BYTES)]


class Client:
    """Asks the server at `target` ("host:port"); usable as a context manager.

    `timeout_seconds`: for every call that does not bring its own; None waits as long as it takes.
    `name`: clients share a server's time equally; "" for that of this address. `priority`: "low",
    "normal" or "high", how large a share its requests have.
    """

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float | None = None,
        name: str = "",
        priority: str = "normal",
    ) -> None:
        self._channel = grpc.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._service: Any = UnitscopeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._timeout = timeout_seconds
        self._metadata = to_metadata(Caller(name, priority))

    def maximize(
        self,
        unit: int | str | None = None,
        *,
        on_progress: ProgressListener | None = None,
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> Maximization:
        """The picture that a unit prefers; `options` are the fields of `MaximizeRequest`.

        `on_progress`: told of every step that the connection is quick enough for.
        """
        if on_progress is not None:
            return follow(
                self.stream(unit, timeout_seconds=timeout_seconds, **options), on_progress
            )
        request = to_request(MaximizeRequest(unit=unit, **options))
        return from_maximization(self._call(self._service.Maximize, request, timeout_seconds))

    def maximize_several(
        self, unit: int | str | None = None, *, pictures: int, **options: Any
    ) -> Iterator[Maximization]:
        """So many `pictures` of one unit that differ: each is made from the next seed, `unlike`
        those before it. `options` are those of `maximize`.
        """
        return several(partial(self.maximize, unit), pictures, **options)

    def stream(
        self,
        unit: int | str | None = None,
        *,
        progress_every_steps: int = 1,
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> Generator[Event, None, None]:
        """Accepted, then Progress, last Maximization. Closing the generator cancels the request."""
        request = _stream_request(unit, progress_every_steps, options)
        timeout = _first(timeout_seconds, self._timeout)
        call = self._service.StreamMaximize(request, timeout=timeout, metadata=self._metadata)
        with _typed_errors():
            try:
                yield from map(from_event, call)
            finally:
                call.cancel()

    def attribute(
        self, image: bytes, unit: int | str, *, timeout_seconds: float | None = None, **options: Any
    ) -> Attribution:
        """Which pixels of an encoded `image` the activation of a unit depends on.

        `options` are the other fields of `AttributeRequest`.
        """
        request = convert_attribute.to_request(AttributeRequest(image=image, unit=unit, **options))
        response = self._call(self._service.Attribute, request, timeout_seconds)
        return convert_attribute.from_response(response)

    def models(self) -> tuple[ModelInfo, ...]:
        """All models of the server."""
        pages = self._pages(self._service.ListModels, model_pb2.ListModelsRequest())
        return tuple(from_model(model) for page in pages for model in page.models)

    def model(self, name: str = "", version: str = "") -> ModelInfo:
        """One model ("" for the default) in the latest version, or the one that is named."""
        request = model_pb2.GetModelRequest(model=name, model_version=version)
        return from_model(self._call(self._service.GetModel, request).model)

    def load_model(self, name: str = "", version: str = "") -> ModelInfo:
        """Have the server load a model, or load it anew if its files changed."""
        request = model_pb2.LoadModelRequest(model=name, model_version=version)
        return from_model(self._call(self._service.LoadModel, request).model)

    def unload_model(self, name: str = "", version: str = "") -> None:
        """Have the server serve a model no more: one version, or all of them."""
        request = model_pb2.UnloadModelRequest(model=name, model_version=version)
        self._call(self._service.UnloadModel, request)

    def layers(self, model: str = "", version: str = "") -> tuple[Layer, ...]:
        """All layers of a model ("" for the default)."""
        request = model_pb2.ListLayersRequest(model=model, model_version=version)
        pages = self._pages(self._service.ListLayers, request)
        return tuple(from_layer(layer) for page in pages for layer in page.layers)

    def health(self) -> str:
        """What the server says of itself: "SERVING" or "NOT_SERVING"."""
        health: Any = HealthStub(self._channel)
        return _serving_status(self._call(health.Check, health_pb2.HealthCheckRequest()))

    def close(self) -> None:
        """Hang up; calls under way are cancelled."""
        self._channel.close()

    def _pages(self, method: Any, request: Any) -> Iterator[Any]:
        while True:
            response = self._call(method, request)
            yield response
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    def _call(self, method: Any, request: Any, timeout_seconds: float | None = None) -> Any:
        with _typed_errors():
            timeout = _first(timeout_seconds, self._timeout)
            return method(request, timeout=timeout, metadata=self._metadata)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


class AsyncClient:
    """`Client` for asyncio; make and use it inside one event loop."""

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float | None = None,
        name: str = "",
        priority: str = "normal",
    ) -> None:
        self._channel = grpc.aio.insecure_channel(target, options=_CHANNEL_OPTIONS)
        self._service: Any = UnitscopeServiceStub(self._channel)  # type: ignore[no-untyped-call]
        self._timeout = timeout_seconds
        self._metadata = to_metadata(Caller(name, priority))

    async def maximize(
        self,
        unit: int | str | None = None,
        *,
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> Maximization:
        """The picture that a unit prefers; `options` are the fields of `MaximizeRequest`."""
        request = to_request(MaximizeRequest(unit=unit, **options))
        return from_maximization(await self._call(self._service.Maximize, request, timeout_seconds))

    async def maximize_several(
        self,
        unit: int | str | None = None,
        *,
        pictures: int,
        seed: int = 0,
        attempts: int = 1,
        unlike: tuple[bytes, ...] = (),
        **options: Any,
    ) -> AsyncGenerator[Maximization, None]:
        """So many `pictures` of one unit that differ: each is made from the next seed, `unlike`
        those before it. `options` are those of `maximize`.
        """
        for index in range(pictures):
            options |= {"seed": seed + index * attempts, "attempts": attempts, "unlike": unlike}
            result = await self.maximize(unit, **options)
            yield result
            unlike = (*unlike, result.image)

    async def stream(
        self,
        unit: int | str | None = None,
        *,
        progress_every_steps: int = 1,
        timeout_seconds: float | None = None,
        **options: Any,
    ) -> AsyncGenerator[Event, None]:
        """Accepted, then Progress, last Maximization. Closing the generator cancels the request."""
        request = _stream_request(unit, progress_every_steps, options)
        timeout = _first(timeout_seconds, self._timeout)
        call = self._service.StreamMaximize(request, timeout=timeout, metadata=self._metadata)
        with _typed_errors():
            try:
                async for message in call:
                    yield from_event(message)
            finally:
                call.cancel()

    async def attribute(
        self, image: bytes, unit: int | str, *, timeout_seconds: float | None = None, **options: Any
    ) -> Attribution:
        """Which pixels of an encoded `image` the activation of a unit depends on.

        `options` are the other fields of `AttributeRequest`.
        """
        request = convert_attribute.to_request(AttributeRequest(image=image, unit=unit, **options))
        response = await self._call(self._service.Attribute, request, timeout_seconds)
        return convert_attribute.from_response(response)

    async def models(self) -> tuple[ModelInfo, ...]:
        """All models of the server."""
        pages = self._pages(self._service.ListModels, model_pb2.ListModelsRequest())
        return tuple([from_model(model) async for page in pages for model in page.models])

    async def model(self, name: str = "", version: str = "") -> ModelInfo:
        """One model ("" for the default) in the latest version, or the one that is named."""
        request = model_pb2.GetModelRequest(model=name, model_version=version)
        return from_model((await self._call(self._service.GetModel, request)).model)

    async def load_model(self, name: str = "", version: str = "") -> ModelInfo:
        """Have the server load a model, or load it anew if its files changed."""
        request = model_pb2.LoadModelRequest(model=name, model_version=version)
        return from_model((await self._call(self._service.LoadModel, request)).model)

    async def unload_model(self, name: str = "", version: str = "") -> None:
        """Have the server serve a model no more: one version, or all of them."""
        request = model_pb2.UnloadModelRequest(model=name, model_version=version)
        await self._call(self._service.UnloadModel, request)

    async def layers(self, model: str = "", version: str = "") -> tuple[Layer, ...]:
        """All layers of a model ("" for the default)."""
        request = model_pb2.ListLayersRequest(model=model, model_version=version)
        pages = self._pages(self._service.ListLayers, request)
        return tuple([from_layer(layer) async for page in pages for layer in page.layers])

    async def health(self) -> str:
        """What the server says of itself: "SERVING" or "NOT_SERVING"."""
        health: Any = HealthStub(self._channel)
        return _serving_status(await self._call(health.Check, health_pb2.HealthCheckRequest()))

    async def close(self) -> None:
        """Hang up; calls under way are cancelled."""
        await self._channel.close()

    async def _pages(self, method: Any, request: Any) -> AsyncIterator[Any]:
        while True:
            response = await self._call(method, request)
            yield response
            request.page_token = response.next_page_token
            if not request.page_token:
                return

    async def _call(self, method: Any, request: Any, timeout_seconds: float | None = None) -> Any:
        with _typed_errors():
            timeout = _first(timeout_seconds, self._timeout)
            return await method(request, timeout=timeout, metadata=self._metadata)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.close()


@contextmanager
def _typed_errors() -> Iterator[None]:
    """Raise the error that a failed call tells of."""
    try:
        yield
    except grpc.RpcError as error:
        raise from_call(error) from None  # type: ignore[arg-type]  # a failed call is a grpc.Call


def _first(own: float | None, usual: float | None) -> float | None:
    return usual if own is None else own


def _stream_request(
    unit: int | str | None, progress_every_steps: int, options: dict[str, Any]
) -> maximize_pb2.StreamMaximizeRequest:
    request = MaximizeRequest(unit=unit, **options)
    return to_stream_request(request, progress_every_steps=progress_every_steps)


def _serving_status(response: health_pb2.HealthCheckResponse) -> str:
    return health_pb2.HealthCheckResponse.ServingStatus.Name(response.status)
