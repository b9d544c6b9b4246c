"""Reading files: what is a model, what is not, and where its data may lie."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from tests.models import small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.model import digest, load


def test_a_model_is_the_same_from_path_bytes_and_memory(tmp_path: Path) -> None:
    model = small_classifier()
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    content = path.read_bytes()
    assert load(path) == load(content) == load(model) == model
    assert digest(path) == digest(content)


@pytest.mark.parametrize("content", [b"", b"this is not a model", b"\x08\x08"])
def test_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ModelRejected, match="not an ONNX"):
            load(source)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=r"absent\.onnx"):
        load(tmp_path / "absent.onnx")


def test_external_data_is_read_beside_the_model_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "small.onnx"
    onnx.save(
        small_classifier(), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    assert load(path).graph.initializer[0].raw_data

    stray = onnx.load(path, load_external_data=False)
    (path.parent / "weights").rename(tmp_path / "weights")
    for tensor in stray.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights"
    path.write_bytes(stray.SerializeToString())
    with pytest.raises(ModelRejected, match=r"external data of 'features\.conv\.weight'"):
        load(path)
    with pytest.raises(ModelRejected, match="given as bytes"):
        load(path.read_bytes())
