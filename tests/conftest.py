"""Small models in a repository, engines on them, and one server that tests leave as it was."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest

from tests.models import CARD, perceptron, small_classifier
from tests.rpc.live import LiveServer, live_server
from tests.services import Models
from unitscope.client import Client
from unitscope.engine.engine import Engine
from unitscope.engine.repository import Repository


@pytest.fixture(scope="session")
def model_directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`small` with a card, others without, `dead`, one half `blocked`, and two broken files."""
    directory = tmp_path_factory.mktemp("models")
    onnx.save(small_classifier(), directory / "small.onnx")
    (directory / "small.toml").write_text(CARD)
    onnx.save(small_classifier(seed=1), directory / "bare.onnx")
    onnx.save(small_classifier(channels=1), directory / "grey.onnx")
    onnx.save(small_classifier(layout="NHWC", batch=1), directory / "nhwc.onnx")
    onnx.save(small_classifier(channels=13), directory / "bands.onnx")
    onnx.save(perceptron(), directory / "perceptron.onnx")
    onnx.save(small_classifier(relus="asleep"), directory / "asleep.onnx")
    onnx.save(small_classifier(relus="dead"), directory / "dead.onnx")
    (directory / "text.onnx").write_text("not a model")
    blocked = small_classifier()
    blocked.graph.node[1].op_type = "Floor"
    onnx.save(blocked, directory / "blocked.onnx")
    blocked.graph.node[0].CopyFrom(onnx.helper.make_node("Floor", ["image"], ["conv_out"], "flat"))
    blocked.graph.node[4].CopyFrom(onnx.helper.make_node("Identity", ["flat"], ["logits"]))
    onnx.save(blocked, directory / "stopped.onnx")
    return directory


@pytest.fixture(scope="session")
def repository(model_directory: Path) -> Repository:
    return Repository(model_directory)


@pytest.fixture
def engine(repository: Repository) -> Iterator[Engine]:
    with Engine(repository) as engine:
        yield engine


@pytest.fixture(scope="session", params=["in_process", "isolated"])
def models(request: pytest.FixtureRequest, repository: Repository, model_directory: Path) -> Models:
    """The small models, in this process and in workers."""
    return repository if request.param == "in_process" else model_directory


@pytest.fixture(scope="session")
def live(models: Models) -> Iterator[LiveServer]:
    with live_server(models) as live:
        yield live


@pytest.fixture(scope="session")
def client(live: LiveServer) -> Iterator[Client]:
    with live.client() as client:
        yield client
