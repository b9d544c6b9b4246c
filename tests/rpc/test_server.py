"""The service as a caller sees it: every RPC, its errors, and what happens when callers leave."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from tests.rpc.live import ENDLESS, LIMITS, LiveServer, health_of, live_server, service_of
from tests.services import Models
from unitscope._gen.unitscope.v1 import maximize_pb2, model_pb2
from unitscope.client import Client
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.repository import Repository
from unitscope.engine.request import Accepted, Maximization, MaximizeRequest, Progress
from unitscope.errors import DeadlineExceeded, QueueFull
from unitscope.rpc.server import METHODS, SERVICE_NAME

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.fixture
def channel(live: LiveServer) -> Iterator[grpc.Channel]:
    with live.channel() as channel:
        yield channel


@pytest.fixture
def service(channel: grpc.Channel) -> Any:
    return service_of(channel)


@pytest.fixture
def narrow(models: Models) -> Iterator[LiveServer]:
    """One request takes turns, one more may wait."""
    settings = EngineSettings(limits=LIMITS, max_active=1, max_requests=2)
    with live_server(models, settings) as live:
        yield live


def without_times(result: Maximization) -> dict[str, Any]:
    """What two runs of one request have in common."""
    plain = result.to_dict()
    del plain["request_id"]
    plain["metrics"] = {
        name: value for name, value in plain["metrics"].items() if "second" not in name
    }
    return plain


# Maximize


@pytest.mark.parametrize(("model", "unit"), [("small", "cat"), ("", "zebra")])
def test_the_wire_changes_nothing(
    client: Client, repository: Repository, model: str, unit: str
) -> None:
    asked: dict[str, Any] = {"model": model, "unit": unit, "steps": 3, "seed": 3}
    far = client.maximize(**asked)
    with Engine(repository) as engine:
        near = engine.submit(MaximizeRequest(**asked)).result()
    assert far.image == near.image
    assert without_times(far) == without_times(near)


def test_a_request_id_is_echoed_or_made(client: Client) -> None:
    given = "0b0e4d2e-6a44-4b8c-9d4e-111111111111"
    asked: dict[str, Any] = {"model": "small", "unit": 1, "steps": 1}
    assert client.maximize(**asked, request_id=given).request_id == given
    made = {client.maximize(**asked).request_id for _ in range(2)}
    assert len(made) == 2


def test_a_stream_begins_with_the_plan_and_ends_with_the_result(client: Client) -> None:
    events = list(client.stream("cat", model="small", steps=7))
    first, *between, last = events
    assert isinstance(first, Accepted)
    assert (first.model, first.unit, first.label, first.steps) == ("small", 2, "cat", 7)
    assert isinstance(last, Maximization)
    assert last.request_id == first.request_id
    steps = [event.step for event in between if isinstance(event, Progress)]
    assert len(steps) == len(between)
    assert steps == sorted(set(steps))
    assert steps[-1] == 7


def test_previews_come_at_the_asked_cadence(client: Client) -> None:
    asked: dict[str, Any] = {"unit": 1, "model": "small", "steps": 9, "image_format": "webp"}
    events = list(client.stream(**asked, preview_every_steps=4, progress_every_steps=100))
    previews = {
        event.step: event.preview
        for event in events
        if isinstance(event, Progress) and event.preview is not None
    }
    assert sorted(previews) == [4, 8]
    assert {preview[8:12] for preview in previews.values()} == {b"WEBP"}


def test_progress_comes_no_more_often_than_asked(client: Client) -> None:
    events = list(client.stream(1, model="small", steps=40, progress_every_steps=15))
    steps = [event.step for event in events if isinstance(event, Progress)]
    assert steps[-1] == 40
    assert len(steps) <= 3


# The catalogue


def test_models_are_listed_with_what_is_known_of_them(client: Client) -> None:
    known = {name: client.model(name) for name in ("small", "bare", "text")}
    infos = {info.name: info for info in client.models()}
    assert {"squeezenet1_1", *known} <= set(infos)
    assert known.items() <= infos.items()
    assert infos["text"].error
    assert infos["small"].class_count == 5
    assert infos["bare"].preprocessing is not None
    assert infos["bare"].preprocessing.inferred


def test_one_model_is_as_the_repository_knows_it(client: Client, repository: Repository) -> None:
    assert client.model("small") == repository.info("small")
    assert client.model("text") == repository.info("text")


def test_layers_come_in_pages(service: Any, repository: Repository) -> None:
    names, request = [], model_pb2.ListLayersRequest(model="small", page_size=2)
    while True:
        response = service.ListLayers(request)
        assert len(response.layers) <= 2
        names += [layer.name for layer in response.layers]
        request.page_token = response.next_page_token
        if not request.page_token:
            break
    assert names == [layer.name for layer in repository.get("small").layers]


def test_all_layers_are_as_the_repository_knows_them(
    client: Client, repository: Repository
) -> None:
    assert client.layers("small") == repository.get("small").layers


# Errors


def details(error: Any) -> dict[str, Any]:
    """The google.rpc details of a failed call, by the names of their types."""
    trailers: dict[str, bytes] = dict(error.trailing_metadata())
    status = status_pb2.Status.FromString(trailers["grpc-status-details-bin"])
    assert status.message == error.details()
    found = {}
    for any_ in status.details:
        name = any_.TypeName().rpartition(".")[2]
        found[name] = getattr(error_details_pb2, name)()
        any_.Unpack(found[name])
    return found


def refused(method: Any, request: Any, code: grpc.StatusCode) -> dict[str, Any]:
    """The details with which a call is refused."""
    with pytest.raises(grpc.RpcError) as caught:
        method(request)
    assert caught.value.code() is code
    return details(caught.value)


def request_of(**changes: Any) -> maximize_pb2.MaximizeRequest:
    options = maximize_pb2.MaximizeOptions(**changes.pop("options", {}))
    base: dict[str, Any] = {"model": "small", "unit": 1}
    return maximize_pb2.MaximizeRequest(**(base | changes), options=options)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": -3}, "steps"),
        ({"steps": ENDLESS + 1}, "steps"),
        ({"request_id": "x"}, "request_id"),
        ({"options": {"image_size_px": 10**6}}, "options.image_size_px"),
        ({"options": {"learning_rate": float("nan")}}, "options.learning_rate"),
        ({"options": {"learning_rate": float("inf")}}, "options.learning_rate"),
        ({"options": {"learning_rate": 0.0}}, "options.learning_rate"),
        ({"options": {"seed": -1}}, "options.seed"),
        ({"options": {"optimizer": "magic"}}, "options.optimizer"),
        ({"options": {"parameterization": "magic"}}, "options.parameterization"),
        ({"options": {"transforms": {"items": [{"name": "magic"}]}}}, "options.transforms"),
        ({"options": {"penalties": {"items": [{"name": "magic"}]}}}, "options.penalties"),
        ({"options": {"preset": "magic"}}, "options.preset"),
        ({"options": {"start_image": b"?"}}, "options.start_image"),
        ({"terms": [{"unit": 1}] * 8}, "terms"),
        ({"options": {"position": {"x": 1}}}, "options.position"),
        ({"options": {"image_format": 99}}, "options.image_format"),
    ],
)
def test_a_bad_value_names_its_field(service: Any, changes: dict[str, Any], field: str) -> None:
    found = refused(service.Maximize, request_of(**changes), grpc.StatusCode.INVALID_ARGUMENT)
    assert found["ErrorInfo"].reason == "INVALID_REQUEST"
    assert [violation.field for violation in found["BadRequest"].field_violations] == [field]


def test_a_bad_value_in_a_stream_names_its_path(channel: grpc.Channel) -> None:
    stream = service_of(channel)
    request = maximize_pb2.StreamMaximizeRequest(maximize=request_of(steps=0))
    found = refused(
        lambda asked: list(stream.StreamMaximize(asked)),
        request,
        grpc.StatusCode.INVALID_ARGUMENT,
    )
    assert found["BadRequest"].field_violations[0].field == "maximize.steps"


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
    found = refused(service.Maximize, request_of(**changes), grpc.StatusCode.NOT_FOUND)
    assert found["ErrorInfo"].reason == "NOT_FOUND"
    assert f'"{nearest}"' in found["ErrorInfo"].metadata["nearest"]
    name = str(next(iter(changes.values())))
    assert found["ResourceInfo"].resource_name == name


def test_a_long_name_does_not_break_the_answer(service: Any) -> None:
    found = refused(service.Maximize, request_of(model="🦓" * 99999), grpc.StatusCode.NOT_FOUND)
    assert found["ResourceInfo"].resource_name.endswith("🦓…")


def test_a_broken_model_is_refused(service: Any) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    found = refused(service.Maximize, request_of(model="text"), code)
    assert found["ErrorInfo"].reason == "MODEL_REJECTED"
    assert found["PreconditionFailure"].violations[0].type == "MODEL_REJECTED"
    refused(service.ListLayers, model_pb2.ListLayersRequest(model="text"), code)


def test_a_dead_gradient_has_its_reason(service: Any) -> None:
    code = grpc.StatusCode.FAILED_PRECONDITION
    found = refused(service.Maximize, request_of(model="dead", steps=64), code)
    assert found["ErrorInfo"].reason == "DEAD_GRADIENT"


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListLayers", model_pb2.ListLayersRequest(model="small", page_token="x")),
        ("ListModels", model_pb2.ListModelsRequest(page_token="x")),
    ],
)
def test_a_made_up_page_token_is_refused(service: Any, method: str, request_: Any) -> None:
    found = refused(getattr(service, method), request_, grpc.StatusCode.INVALID_ARGUMENT)
    assert found["BadRequest"].field_violations[0].field == "page_token"


def test_an_unexpected_failure_tells_nothing_of_the_inside(
    service: Any,
    live: LiveServer,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setattr(live.service.models, "info", lambda *_: 1 / 0)
    found = refused(service.GetModel, model_pb2.GetModelRequest(), grpc.StatusCode.INTERNAL)
    assert found["ErrorInfo"].reason == "INTERNAL"
    assert not found["ErrorInfo"].metadata
    assert "ZeroDivisionError" in caplog.text


def test_a_full_queue_tells_when_to_try_again(narrow: LiveServer) -> None:
    with narrow.client() as client, narrow.channel() as channel:
        running = [client.stream(1, model="small", steps=ENDLESS) for _ in range(2)]
        for stream in running:
            assert isinstance(next(stream), Accepted)
        with pytest.raises(QueueFull) as caught:
            client.maximize(1, model="small")
        assert caught.value.retry_after_seconds > 0
        service = service_of(channel)
        found = refused(service.Maximize, request_of(), grpc.StatusCode.RESOURCE_EXHAUSTED)
        assert found["RetryInfo"].retry_delay.ToTimedelta().total_seconds() > 0
        assert int(found["ErrorInfo"].metadata["waiting"]) >= 1


# Callers that leave


def test_a_cancelled_stream_frees_its_place(narrow: LiveServer) -> None:
    with narrow.client() as client:
        running = client.stream(1, model="small", steps=ENDLESS)
        assert isinstance(next(running), Accepted)
        assert isinstance(next(running), Progress)
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(client.maximize, 1, model="small", steps=3)
            running.close()
            assert waiting.result(60).metrics.steps == 3


def test_a_passed_deadline_frees_the_place(narrow: LiveServer) -> None:
    with narrow.client() as client:
        with pytest.raises(DeadlineExceeded):
            client.maximize(1, model="small", steps=ENDLESS, timeout_seconds=0.2)
        assert client.maximize(1, model="small", steps=3).metrics.steps == 3


def test_of_sixteen_one_leaves_and_hurts_nobody(models: Models) -> None:
    def ask(seed: int) -> bytes:
        return client.maximize(seed % 5, model="small", steps=30, seed=seed).image

    with live_server(models) as live, live.client() as client:
        leaver = client.stream(1, model="small", steps=ENDLESS)
        assert isinstance(next(leaver), Accepted)
        with ThreadPoolExecutor(15) as pool:
            others = [pool.submit(ask, seed) for seed in range(15)]
            leaver.close()
            together = [other.result(60) for other in others]
        assert len(set(together)) == 15
        assert together[:2] == [ask(0), ask(1)]
        live.drain().result(60)
        assert live.service.stats().active == 0


class GatedRepository(Repository):
    """All models but one take as long to load as the test wants."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        self.entered = threading.Event()
        self.gate = threading.Event()

    def get(self, name: str = "", version: str = "") -> LoadedModel:
        if name != "bare":
            self.entered.set()
            self.gate.wait(60)
        return super().get(name, version)


def test_a_model_that_loads_slowly_keeps_no_other_waiting(model_directory: Path) -> None:
    repository = GatedRepository(model_directory)
    with live_server(repository) as live, live.client() as client, live.channel() as channel:
        service = service_of(channel)
        waiting = [service.Maximize.future(request_of(steps=1)) for _ in range(64)]
        assert repository.entered.wait(60)
        assert client.maximize(1, model="bare", steps=3).metrics.steps == 3
        assert not any(call.done() for call in waiting)
        repository.gate.set()
        assert {call.result(60).metrics.steps for call in waiting} == {1}


def test_a_caller_that_leaves_while_the_model_loads_is_not_forgotten(model_directory: Path) -> None:
    repository = GatedRepository(model_directory)
    settings = EngineSettings(limits=LIMITS, max_active=1, max_requests=2)
    with live_server(repository, settings) as live, live.client() as client:
        with live.channel() as channel:
            service = service_of(channel)
            call = service.Maximize.future(request_of(steps=ENDLESS))
            assert repository.entered.wait(60)
            call.cancel()
        repository.gate.set()
        assert client.maximize(1, model="small", steps=3).metrics.steps == 3


# Health, reflection, drain


@pytest.mark.parametrize("name", ["", SERVICE_NAME])
def test_health_is_serving(channel: grpc.Channel, name: str) -> None:
    response = health_of(channel).Check(health_pb2.HealthCheckRequest(service=name))
    assert response.status == SERVING


def test_health_of_an_unknown_service_is_not_found(channel: grpc.Channel) -> None:
    with pytest.raises(grpc.RpcError) as caught:
        health_of(channel).Check(health_pb2.HealthCheckRequest(service="other"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_reflection_lists_the_service_and_its_methods(channel: grpc.Channel) -> None:
    asked = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol=SERVICE_NAME),
    ]
    reflection: Any = ServerReflectionStub(channel)
    listed, described = reflection.ServerReflectionInfo(iter(asked))
    assert SERVICE_NAME in {entry.name for entry in listed.list_services_response.service}
    (file,) = described.file_descriptor_response.file_descriptor_proto[:1]
    assert all(method.encode() in file for method in METHODS)


@pytest.mark.parametrize("name", ["", SERVICE_NAME])
def test_a_watcher_sees_the_drain_and_does_not_hold_it_up(
    repository: Repository, name: str
) -> None:
    with live_server(repository) as live, live.channel() as channel:
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest(service=name))
        assert next(watch).status == SERVING
        drain = live.drain()
        assert next(watch).status == NOT_SERVING
        drain.result(60)


def test_while_the_drain_is_announced_requests_are_still_taken(repository: Repository) -> None:
    with live_server(repository) as live, live.client() as client, live.channel() as channel:
        watch = health_of(channel).Watch(health_pb2.HealthCheckRequest())
        assert next(watch).status == SERVING
        assert live.get("/healthz") == (200, "SERVING\n")
        drain = live.drain(announce_seconds=3600)
        assert next(watch).status == NOT_SERVING
        assert live.get("/healthz") == (503, "NOT_SERVING\n")
        assert client.maximize(1, model="small", steps=3).metrics.steps == 3
        drain.cancel()


def test_what_a_drain_cannot_finish_ends_with_unavailable(models: Models) -> None:
    with live_server(models) as live, live.client() as client, live.channel() as channel:
        service = service_of(channel)
        asked = maximize_pb2.StreamMaximizeRequest(maximize=request_of(steps=ENDLESS))
        stream = service.StreamMaximize(asked)
        assert next(stream).WhichOneof("event") == "accepted"
        live.service.close()
        with pytest.raises(grpc.RpcError) as caught:
            list(stream)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details(caught.value)["ErrorInfo"].reason == "SHUTTING_DOWN"
        assert client.health() == "SERVING"
