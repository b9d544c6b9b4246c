"""A model in a file."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.models import small_classifier


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "small.onnx"
    onnx.save(small_classifier(), path)
    return path
