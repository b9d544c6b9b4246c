"""What every RPC of the service goes through: counted, and its errors turned into a status."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import status_pb2

from unitscope.errors import UnitscopeError
from unitscope.rpc.metrics import ServerMetrics
from unitscope.rpc.status import DETAILS_KEY, code_of, to_status

_log = logging.getLogger(__name__)

Context = grpc.aio.ServicerContext[Any, Any]


class Interceptor(grpc.aio.ServerInterceptor):
    """Wraps the handlers of one service; those of others pass."""

    def __init__(self, service: str, metrics: ServerMetrics) -> None:
        self._prefix = f"/{service}/"
        self._metrics = metrics
        self._running = 0
        self._idle = asyncio.Event()
        self._idle.set()

    async def idle(self) -> None:
        """Wait until no request of the service is being answered."""
        await self._idle.wait()

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """The handler of a call, wrapped."""
        handler: Any = await continuation(handler_call_details)
        path = handler_call_details.method
        if handler is None or not path.startswith(self._prefix):
            return handler  # type: ignore[no-any-return]  # the type stubs lack its fields
        method = path.removeprefix(self._prefix)
        coders = handler.request_deserializer, handler.response_serializer
        if handler.response_streaming:
            stream = self._stream(method, handler.unary_stream)
            return grpc.unary_stream_rpc_method_handler(stream, *coders)
        unary = self._unary(method, handler.unary_unary)
        return grpc.unary_unary_rpc_method_handler(unary, *coders)

    def _unary(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(request: Message, context: Context) -> Any:
            async with self._watched(method, request, context):
                return await behaviour(request, context)

        return answer

    def _stream(self, method: str, behaviour: Callable[..., Any]) -> Callable[..., Any]:
        async def answer(request: Message, context: Context) -> AsyncIterator[Any]:
            async with self._watched(method, request, context):
                async for response in behaviour(request, context):
                    yield response

        return answer

    @asynccontextmanager
    async def _watched(
        self, method: str, request: Message, context: Context
    ) -> AsyncIterator[None]:
        started = time.monotonic()
        self._enter(context)
        self._metrics.begin(method)
        code, status = grpc.StatusCode.OK, None
        try:
            yield
        except UnitscopeError as error:
            status = to_status(error, request)
            code = code_of(status)
        except Exception:
            _log.exception("%s failed", method)
            status = to_status(UnitscopeError("the server failed; its log says why"))
            code = grpc.StatusCode.INTERNAL
        except BaseException:  # the call was cancelled, or its generator closed
            code = _ended_early(context)
            raise
        finally:  # counted before the caller knows: a caller who then looks finds it
            self._metrics.end(method, code, time.monotonic() - started)
        if status is not None:
            await _abort(context, status)

    def _enter(self, context: Context) -> None:
        """The call counts as running until its answer is sent, which is after its handler."""
        self._running += 1
        self._idle.clear()
        context.add_done_callback(self._leave)  # type: ignore[arg-type]  # their stub names a class

    def _leave(self, _: Context) -> None:
        self._running -= 1
        if self._running == 0:
            self._idle.set()


def _ended_early(context: Context) -> grpc.StatusCode:
    passed = context.time_remaining() == 0
    return grpc.StatusCode.DEADLINE_EXCEEDED if passed else grpc.StatusCode.CANCELLED


async def _abort(context: Context, status: status_pb2.Status) -> None:
    trailers = ((DETAILS_KEY, status.SerializeToString()),)
    await context.abort(code_of(status), status.message, trailers)
