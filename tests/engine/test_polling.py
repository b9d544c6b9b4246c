"""Models are looked for again and again, also after it went wrong, until the block is left."""

from __future__ import annotations

import logging
import threading
from pathlib import Path

import onnx
import pytest

from tests.models import small_classifier
from unitscope.engine.polling import polling
from unitscope.engine.repository import Repository

SECONDS = 0.001


class Watched(Repository):
    """Says when it has been refreshed; the first time after its start goes wrong."""

    def __init__(self, directory: Path) -> None:
        self.refreshed = threading.Semaphore(0)
        self.failures = 0
        super().__init__(directory)

    def refresh(self) -> None:
        self.failures += 1
        self.refreshed.release()
        if self.failures == 2:
            raise OSError("the store is away")
        super().refresh()


def test_a_new_model_is_found(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    models = Watched(tmp_path)
    with caplog.at_level(logging.WARNING), polling(models, SECONDS):
        onnx.save(small_classifier(), tmp_path / "small.onnx")
        for _ in range(4):  # its own, the one that fails, one that may have begun, a whole one
            assert models.refreshed.acquire(timeout=60)
    assert "small" in models.names()
    assert caplog.messages == ["cannot look for models: the store is away"]


def test_it_ends_with_the_block(tmp_path: Path) -> None:
    with polling(Repository(tmp_path), SECONDS):
        assert "unitscope-poll" in {thread.name for thread in threading.enumerate()}
    assert "unitscope-poll" not in {thread.name for thread in threading.enumerate()}


def test_zero_seconds_mean_never(tmp_path: Path) -> None:
    with polling(Repository(tmp_path), 0):
        assert "unitscope-poll" not in {thread.name for thread in threading.enumerate()}
