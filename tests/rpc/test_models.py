"""Versions, loading and unloading over the wire, in this process and in workers."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import grpc
import onnx
import pytest

from tests.images import encoded, random_pixels
from tests.models import small_classifier
from tests.rpc.live import DOORS, ENDLESS, LiveServer, live_server, service_of
from unitscope._gen.unitscope.v1 import maximize_pb2, model_pb2
from unitscope.client import AsyncClient, Client
from unitscope.engine.repository import Repository
from unitscope.engine.request import Accepted, Maximization, Progress
from unitscope.errors import ModelControlOff, ModelRejected, ModelUnloaded, NotFound

STEPS = 200


def put(directory: Path, version: str, content: bytes) -> None:
    """A version of the model `eyes`, put in place in one go."""
    path = directory / "eyes" / version / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".part")
    incoming.write_bytes(content)
    incoming.replace(path)


def weights(seed: int) -> bytes:
    return small_classifier(seed=seed).SerializeToString()


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    put(tmp_path, "1", weights(1))
    put(tmp_path, "2", weights(2))
    return tmp_path


@pytest.fixture(params=["in_process", "isolated"])
def live(request: pytest.FixtureRequest, directory: Path) -> Iterator[LiveServer]:
    in_process = request.param == "in_process"
    with live_server(Repository(directory) if in_process else directory) as live:
        yield live


@pytest.fixture
def client(live: LiveServer) -> Iterator[Client]:
    with live.client() as client:
        yield client


def states(client: Client) -> dict[str, str]:
    (eyes,) = (info for info in client.models() if info.name == "eyes")
    return {known.version: known.state for known in eyes.versions}


def test_a_request_names_a_version_and_the_answer_says_it(client: Client) -> None:
    assert states(client) == {"2": "not_loaded", "1": "not_loaded"}
    latest = client.maximize(1, model="eyes", steps=3)
    older = client.maximize(1, model="eyes", model_version="1", steps=3)
    assert (latest.metrics.model_version, older.metrics.model_version) == ("2", "1")
    assert latest.image != older.image
    accepted = next(client.stream(1, model="eyes", model_version="1", steps=3))
    assert isinstance(accepted, Accepted) and accepted.model_version == "1"
    image = encoded(random_pixels())
    assert client.attribute(image, 1, model="eyes", model_version="1").model_version == "1"
    assert client.model("eyes", "1").sha256 == older.metrics.model_sha256
    assert {layer.name for layer in client.layers("eyes", "1")} >= {"fc"}
    assert states(client) == {"2": "ready", "1": "ready"}
    with pytest.raises(NotFound, match="unknown version of model 'eyes' '7'"):
        client.maximize(1, model="eyes", model_version="7", steps=3)


def test_a_broken_version_leaves_the_one_that_runs(client: Client, directory: Path) -> None:
    running = client.stream(1, model="eyes", steps=ENDLESS)
    assert isinstance(next(running), Accepted)
    put(directory, "3", b"not a model")
    with pytest.raises(ModelRejected, match="not an ONNX file"):
        client.load_model("eyes")
    assert isinstance(next(running), Progress)
    assert client.maximize(1, model="eyes", steps=3).metrics.model_version == "2"
    eyes = client.model("eyes")
    assert (eyes.version, eyes.state) == ("2", "ready")
    assert (eyes.versions[0].state, "not an ONNX" in eyes.versions[0].error) == (
        "unavailable",
        True,
    )
    running.close()
    put(directory, "3", weights(3))
    assert client.load_model("eyes").version == "3"
    assert client.maximize(1, model="eyes", steps=3).metrics.model_version == "3"


def test_requests_see_nothing_of_versions_that_break_and_are_mended(
    live: LiveServer, directory: Path
) -> None:
    def ask(seed: int) -> str:
        with live.client() as client:
            return client.maximize(1, model="eyes", steps=20, seed=seed).metrics.model_sha256

    with live.client() as client, ThreadPoolExecutor(3) as pool:
        good = {client.load_model("eyes").sha256}
        asked = [pool.submit(ask, seed) for seed in range(24)]
        for seed in range(3, 6):
            put(directory, "2", b"not a model")
            with pytest.raises(ModelRejected):
                client.load_model("eyes")
            assert client.model("eyes").state == "ready"
            put(directory, "2", weights(seed))
            good.add(client.load_model("eyes").sha256)
        assert {one.result(60) for one in asked} <= good
        assert ask(0) == client.model("eyes").sha256


def test_an_unloaded_model_finishes_what_it_has_and_takes_no_more(
    live: LiveServer, client: Client
) -> None:
    running = client.stream(1, model="eyes", steps=STEPS)
    assert isinstance(next(running), Accepted)
    client.unload_model("eyes")
    with pytest.raises(ModelUnloaded):
        client.maximize(1, model="eyes", steps=3)
    request = maximize_pb2.MaximizeRequest(model="eyes", unit=1, model_version="1")
    with live.channel() as channel, pytest.raises(grpc.RpcError) as caught:
        service_of(channel).Maximize(request)
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    *_, last = running
    assert isinstance(last, Maximization) and last.metrics.steps == STEPS
    assert states(client) == {"2": "unavailable", "1": "unavailable"}
    assert client.load_model("eyes").state == "ready"
    assert client.maximize(1, model="eyes", steps=3).metrics.steps == 3


def test_a_model_that_came_later_is_loaded_by_name(live: LiveServer, directory: Path) -> None:
    onnx.save(small_classifier(), directory / "late.onnx")
    with live.channel() as channel:
        service = service_of(channel)
        response = service.LoadModel(model_pb2.LoadModelRequest(model="late"))
        assert response.model.state == model_pb2.MODEL_STATE_READY
        assert [known.version for known in response.model.versions] == ["1"]
        listed = service.ListModels(model_pb2.ListModelsRequest()).models
        assert [model.name for model in listed] == ["squeezenet1_1", "eyes", "late"]
        with pytest.raises(grpc.RpcError) as caught:
            service.LoadModel(model_pb2.LoadModelRequest(model="never"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        with pytest.raises(grpc.RpcError) as caught:
            service.UnloadModel(model_pb2.UnloadModelRequest(model="eyes", model_version="7"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


def test_where_callers_may_not_control_models_nothing_changes(directory: Path) -> None:
    doors = replace(DOORS, model_control_mode="none")
    with live_server(directory, doors=doors) as live, live.client() as client:
        assert client.maximize(1, model="eyes", steps=3).metrics.model_version == "2"
        put(directory, "3", weights(3))
        for ask in (client.load_model, client.unload_model):
            with pytest.raises(ModelControlOff, match="UNITSCOPE_MODEL_CONTROL_MODE=explicit"):
                ask("eyes")
        assert client.maximize(1, model="eyes", steps=3).metrics.model_version == "2"


def test_the_asynchronous_client_loads_and_unloads_too(live: LiveServer, client: Client) -> None:
    async def change() -> str:
        async with AsyncClient(live.target, timeout_seconds=60) as client:
            await client.unload_model("eyes", "2")
            served = await client.model("eyes")
            loaded = await client.load_model("eyes", "2")
            return served.version + loaded.version

    assert asyncio.run(change()) == "12"
    assert client.model("eyes").version == "2"
