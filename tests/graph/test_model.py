"""Reading files: what is a model, what is not, and where its data may lie."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx.numpy_helper import to_array

from tests.models import small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.model import digest, load


def test_a_model_is_the_same_from_path_bytes_and_memory(tmp_path: Path) -> None:
    model = small_classifier()
    path = tmp_path / "small.onnx"
    onnx.save(model, path)
    content = path.read_bytes()
    for source in (path, content, model):
        loaded = load(source)
        assert list(loaded.graph.node) == list(load(model).graph.node)
        for tensor in model.graph.initializer:
            np.testing.assert_array_equal(loaded.weights[tensor.name], to_array(tensor))
    assert digest(path) == digest(content)


@pytest.mark.parametrize("content", [b"", b"this is not a model", b"\x08\x08"])
def test_anything_else_is_refused(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "broken.onnx"
    path.write_bytes(content)
    for source in (path, content):
        with pytest.raises(ModelRejected, match="not an ONNX"):
            load(source)


def assert_same_weights(path: Path) -> None:
    loaded = load(path)
    for tensor in small_classifier().graph.initializer:
        np.testing.assert_array_equal(loaded.weights[tensor.name], to_array(tensor))


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=r"absent\.onnx"):
        load(tmp_path / "absent.onnx")


def test_external_data_is_read_beside_the_model_and_nowhere_else(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    path = tmp_path / "inside" / "small.onnx"
    onnx.save(
        small_classifier(), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    assert_same_weights(path)
    before = digest(path)
    with (path.parent / "weights").open("r+b") as file:
        file.write(b"\1")
    assert digest(path) != before

    stray = onnx.load(path, load_external_data=False)
    (path.parent / "weights").rename(tmp_path / "weights")
    for tensor in stray.graph.initializer:
        for entry in tensor.external_data:
            if entry.key == "location":
                entry.value = "../weights"
    path.write_bytes(stray.SerializeToString())
    with pytest.raises(ModelRejected, match=r"cannot read the tensor 'features\.conv\.weight'"):
        load(path)
    with pytest.raises(ModelRejected, match="give the path of the model"):
        load(path.read_bytes())
