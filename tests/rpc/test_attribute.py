"""Attribution as a caller sees it: the answer, its errors, and what happens when callers leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from queue import Queue
from typing import Any

import grpc
import pytest

from tests.engine.test_attributor import GatedRepository
from tests.images import encoded, random_pixels
from tests.rpc.live import LiveServer, live_server, service_of
from tests.rpc.test_server import details, refused
from unitscope._gen.unitscope.v1 import attribute_pb2 as pb
from unitscope.ascent.attribution import METHODS
from unitscope.client import Client
from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.attributor import MAX_WAITING, Attributor
from unitscope.engine.repository import Repository

IMAGE = encoded(random_pixels())


@pytest.fixture
def service(live: LiveServer) -> Iterator[Any]:
    with live.channel() as channel:
        yield service_of(channel)


def request_of(**changes: Any) -> pb.AttributeRequest:
    asked: dict[str, Any] = {"model": "small", "unit": 1, "image": IMAGE, "method": "gradient"}
    return pb.AttributeRequest(**(asked | changes))


@pytest.mark.parametrize("method", METHODS)
def test_the_wire_changes_nothing(method: str, client: Client, repository: Repository) -> None:
    asked: dict[str, Any] = {"unit": "cat", "model": "small", "method": method}
    far = client.attribute(IMAGE, **asked)
    with Attributor(repository) as attributor:
        near = attributor.submit(AttributeRequest(image=IMAGE, **asked)).result()
    assert far == replace(near, running_seconds=far.running_seconds)
    assert far.running_seconds > 0


def test_what_is_absent_is_the_default(service: Any) -> None:
    response = service.Attribute(request_of(method=""))
    assert (response.method, response.samples, response.baseline) == ("integrated_gradients", 64, 0)
    assert response.HasField("baseline") and not response.HasField("noise")
    assert response.completeness.HasField("relative_gap")
    assert not service.Attribute(request_of()).HasField("completeness")


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"image": b""}, "image"),
        ({"image": IMAGE[:50]}, "image"),
        ({"model": "bands"}, "image"),
        ({"method": "magic"}, "method"),
        ({"samples": 9}, "samples"),
        ({"samples": 0, "method": "smoothgrad"}, "samples"),
        ({"samples": 257, "method": "smoothgrad"}, "samples"),
        ({"noise": float("nan"), "method": "smoothgrad"}, "noise"),
        ({"seed": -1, "method": "smoothgrad"}, "seed"),
        ({"baseline": 2.0, "method": "integrated_gradients"}, "baseline"),
        ({"position": {"x": 1}}, "position"),
        ({"unit": None}, "unit"),
    ],
)
def test_a_bad_value_names_its_field(service: Any, changes: dict[str, Any], field: str) -> None:
    found = refused(service.Attribute, request_of(**changes), grpc.StatusCode.INVALID_ARGUMENT)
    assert found["ErrorInfo"].reason == "INVALID_REQUEST"
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


@pytest.mark.parametrize(
    ("changes", "nearest"),
    [
        ({"model": "smal"}, "small"),
        ({"layer": "features.con"}, "features.conv"),
        ({"label": "catt"}, "cat"),
        ({"unit": 5}, "0..4"),
    ],
)
def test_an_unknown_name_is_answered_with_known_ones(
    service: Any, changes: dict[str, Any], nearest: str
) -> None:
    found = refused(service.Attribute, request_of(**changes), grpc.StatusCode.NOT_FOUND)
    assert f'"{nearest}"' in found["ErrorInfo"].metadata["nearest"]


@pytest.mark.parametrize(
    ("model", "reason"),
    [("text", "MODEL_REJECTED"), ("blocked", "MODEL_REJECTED"), ("dead", "DEAD_GRADIENT")],
)
def test_what_has_no_gradient_has_its_reason(service: Any, model: str, reason: str) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    found = refused(service.Attribute, request_of(model=model), code)
    assert found["ErrorInfo"].reason == reason


def test_an_image_of_megabytes_is_taken(client: Client) -> None:
    heavy = IMAGE + bytes(16 << 20)[: (16 << 20) - len(IMAGE)]
    assert client.attribute(heavy, 1, model="small", method="gradient").unit == 1


def test_a_full_queue_says_when_to_try_again(model_directory: Path) -> None:
    repository = GatedRepository(model_directory)
    ended: Queue[Any] = Queue()
    with live_server(repository) as live, live.channel() as channel:
        service = service_of(channel)
        calls = [service.Attribute.future(request_of()) for _ in range(2 + MAX_WAITING)]
        for call in calls:
            call.add_done_callback(ended.put)
        turned_away = ended.get(timeout=60)
        assert turned_away.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        found = details(turned_away.exception())
        assert found["ErrorInfo"].reason == "QUEUE_FULL"
        assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
        repository.gate.set()
        assert [call.result(60).unit for call in calls if call is not turned_away]


@pytest.mark.parametrize("code", ["CANCELLED", "DEADLINE_EXCEEDED"])
def test_a_caller_that_leaves_frees_its_place(
    code: str, model_directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repository = GatedRepository(model_directory)
    counted = threading.Event()

    def end(method: str, ended_with: grpc.StatusCode, seconds: float) -> None:
        assert (method, ended_with.name) == ("Attribute", code)
        counted.set()

    with live_server(repository) as live, live.channel() as channel:
        service = service_of(channel)
        with monkeypatch.context() as patched:
            patched.setattr(live.metrics, "end", end)
            timeout = 0.2 if code == "DEADLINE_EXCEEDED" else 60
            leaver = service.Attribute.future(request_of(), timeout=timeout)
            if code == "CANCELLED":
                assert repository.entered.acquire(timeout=60)
                leaver.cancel()
            assert counted.wait(60)
        others = [service.Attribute.future(request_of()) for _ in range(1 + MAX_WAITING)]
        repository.gate.set()
        assert {other.result(60).unit for other in others} == {1}
        assert leaver.code().name == code


def test_a_drain_lets_an_attribution_finish(model_directory: Path) -> None:
    repository = GatedRepository(model_directory)
    with live_server(repository) as live, live.channel() as channel:
        running = service_of(channel).Attribute.future(request_of())
        assert repository.entered.acquire(timeout=60)
        drain = live.drain()
        repository.gate.set()
        drain.result(60)
        assert running.result(60).unit == 1
