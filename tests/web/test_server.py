"""The side door, spoken to byte by byte."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from prometheus_client import CollectorRegistry, Counter
from prometheus_client.parser import text_string_to_metric_families

from unitscope.web.server import MAX_HEAD_BYTES, HttpServer


def talk(sent: bytes, *, serving: bool = True) -> bytes:
    """What a server with one counter answers to `sent`."""
    registry = CollectorRegistry()
    Counter("drops_total", "Drops.", registry=registry).inc(3)
    return asyncio.run(_with_server(HttpServer(registry, lambda: serving), _asking(sent)))


def _asking(sent: bytes) -> Callable[[int], Awaitable[bytes]]:
    async def ask(port: int) -> bytes:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(sent)
        answer = await reader.read()
        writer.close()
        return answer

    return ask


async def _with_server(server: HttpServer, ask: Callable[[int], Awaitable[bytes]]) -> bytes:
    port = await server.start("127.0.0.1", 0)
    try:
        return await ask(port)
    finally:
        await server.close()


def request(path: str, method: str = "GET") -> bytes:
    return f"{method} {path} HTTP/1.1\r\nHost: here\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("serving", "status", "body"),
    [(True, b"200 OK", b"SERVING\n"), (False, b"503 Service Unavailable", b"NOT_SERVING\n")],
)
def test_healthz(serving: bool, status: bytes, body: bytes) -> None:
    answer = talk(request("/healthz?verbose=1"), serving=serving)
    assert answer.startswith(b"HTTP/1.1 " + status + b"\r\n")
    assert answer.endswith(b"\r\n\r\n" + body)


def test_metrics_can_be_parsed() -> None:
    head, _, body = talk(request("/metrics")).partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head
    samples = {
        sample.name: sample.value
        for family in text_string_to_metric_families(body.decode())
        for sample in family.samples
    }
    assert samples["drops_total"] == 3


def test_metrics_come_in_the_format_that_is_asked_for() -> None:
    accept = b"GET /metrics HTTP/1.1\r\nAccept: application/openmetrics-text\r\n\r\n"
    answer = talk(accept)
    assert b"Content-Type: application/openmetrics-text" in answer
    assert answer.endswith(b"# EOF\n")


def test_head_has_no_body() -> None:
    assert talk(request("/healthz", "HEAD")).endswith(b"\r\n\r\n")


def test_other_methods_are_refused() -> None:
    answer = talk(request("/metrics", "POST"))
    assert answer.startswith(b"HTTP/1.1 405 ")
    assert b"\r\nAllow: GET, HEAD\r\n" in answer


def test_other_paths_are_not_found() -> None:
    assert talk(request("/../secret")).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("sent", [b"GET /" + b"x" * MAX_HEAD_BYTES * 2, b"\x00\xff\r\n\r\n"])
def test_noise_does_not_stop_the_server(sent: bytes) -> None:
    async def noise_first(port: int) -> bytes:
        await _asking(sent)(port)
        return await _asking(request("/healthz"))(port)

    server = HttpServer(CollectorRegistry(), lambda: True)
    assert b"200 OK" in asyncio.run(_with_server(server, noise_first))
