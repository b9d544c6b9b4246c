"""HTTP for machines that watch: `/metrics` for Prometheus, `/healthz` for probes.

It answers GET and HEAD, one request per connection, on the event loop of the service: when that
loop hangs, the probe notices. The standard library has no asyncio HTTP server, and these two
answers are not worth a dependency.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from prometheus_client import CollectorRegistry
from prometheus_client.exposition import choose_encoder

MAX_HEAD_BYTES = 8192
CONNECTION_SECONDS = 5.0

_HANG_UP = (
    asyncio.IncompleteReadError,
    asyncio.LimitOverrunError,
    ConnectionError,
    TimeoutError,
)
"""Not a request, or nobody there any more."""

_TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True, slots=True)
class Answer:
    """What is sent back."""

    status: HTTPStatus
    body: bytes
    content_type: str = _TEXT


class HttpServer:
    """Serves until closed."""

    def __init__(self, registry: CollectorRegistry, is_serving: Callable[[], bool]) -> None:
        self._registry = registry
        self._is_serving = is_serving
        self._server: asyncio.Server | None = None

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the bound port; 0 lets the system choose. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, host, port, limit=MAX_HEAD_BYTES)
        return int(self._server.sockets[0].getsockname()[1])

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    def answer(self, method: str, path: str, accept: str) -> Answer:
        """The answer to one request."""
        if path not in ("/metrics", "/healthz"):
            return Answer(HTTPStatus.NOT_FOUND, b"try /metrics or /healthz\n")
        if method not in ("GET", "HEAD"):
            return Answer(HTTPStatus.METHOD_NOT_ALLOWED, b"only GET and HEAD\n")
        if path == "/metrics":
            encode, content_type = choose_encoder(accept)
            return Answer(HTTPStatus.OK, encode(self._registry), content_type)
        if self._is_serving():
            return Answer(HTTPStatus.OK, b"SERVING\n")
        return Answer(HTTPStatus.SERVICE_UNAVAILABLE, b"NOT_SERVING\n")

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(CONNECTION_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
                writer.write(self._reply(head))
                await writer.drain()
        except _HANG_UP:
            writer.transport.abort()
        finally:
            writer.close()

    def _reply(self, head: bytes) -> bytes:
        request, *lines = head.decode("latin-1").split("\r\n")
        method, _, rest = request.partition(" ")
        path = rest.partition(" ")[0].partition("?")[0]
        fields = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
        answer = self.answer(method, path, fields.get("accept", ""))
        return _encode(answer, with_body=method != "HEAD")


def _encode(answer: Answer, *, with_body: bool) -> bytes:
    lines = [
        f"HTTP/1.1 {answer.status.value} {answer.status.phrase}",
        f"Content-Type: {answer.content_type}",
        f"Content-Length: {len(answer.body)}",
        "Connection: close",
    ]
    if answer.status is HTTPStatus.METHOD_NOT_ALLOWED:
        lines.append("Allow: GET, HEAD")
    head = "\r\n".join(lines) + "\r\n\r\n"
    return head.encode("latin-1") + (answer.body if with_body else b"")
