"""One server for all tests that leave it as they found it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.engine.conftest import model_directory, repository  # noqa: F401  fixtures
from tests.rpc.live import LiveServer, live_server
from unitscope.client import Client
from unitscope.engine.repository import Repository


@pytest.fixture(scope="session")
def live(repository: Repository) -> Iterator[LiveServer]:  # noqa: F811  the fixture above
    with live_server(repository) as live:
        yield live


@pytest.fixture(scope="session")
def client(live: LiveServer) -> Iterator[Client]:
    with live.client() as client:
        yield client
