"""Models from a store: copied, followed, and refused by name where the extra is missing."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from pathlib import Path

import fsspec
import onnx
import pytest

from tests.models import small_classifier
from unitscope.engine.mirror import Mirror
from unitscope.engine.repository import Repository
from unitscope.errors import InvalidRequest, ModelRejected, NotFound

URL = "memory://store/models"


class Store:
    """What is under URL, by relative path."""

    def __init__(self) -> None:
        self.files = fsspec.filesystem("memory")

    def __setitem__(self, name: str, content: bytes) -> None:
        self.files.pipe_file(f"/store/models/{name}", content)

    def __delitem__(self, name: str) -> None:
        self.files.rm_file(f"/store/models/{name}")


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store()
    yield store
    store.files.store.clear()


def copied(mirror: Mirror) -> dict[str, bytes]:
    files = (path for path in mirror.directory.rglob("*") if path.is_file())
    return {str(path.relative_to(mirror.directory)): path.read_bytes() for path in files}


def test_the_copy_follows_the_store(store: Store) -> None:
    store["eyes/1/model.onnx"] = b"one"
    store["eyes/2/model.onnx"] = b"two"
    store["flat.onnx"] = b"flat"
    store.files.pipe_file("/store/models-of-others/secret.onnx", b"secret")
    mirror = Mirror(URL)
    mirror.update()
    first = {"eyes/1/model.onnx": b"one", "eyes/2/model.onnx": b"two", "flat.onnx": b"flat"}
    assert copied(mirror) == first
    kept = (mirror.directory / "eyes" / "1" / "model.onnx").stat()
    store["flat.onnx"] = b"flatter"
    del store["eyes/2/model.onnx"]
    mirror.update()
    assert copied(mirror) == {"eyes/1/model.onnx": b"one", "flat.onnx": b"flatter"}
    assert not (mirror.directory / "eyes" / "2").exists()
    assert (mirror.directory / "eyes" / "1" / "model.onnx").stat() == kept


def test_a_file_that_became_a_directory_is_followed(store: Store) -> None:
    store["eyes/1/model.onnx"] = b"one"
    mirror = Mirror(URL)
    mirror.update()
    del store["eyes/1/model.onnx"]
    store["eyes/1/model.onnx/model.onnx"] = b"one"
    store["eyes/1/model.onnx/weights"] = b"weights"
    mirror.update()
    assert set(copied(mirror)) == {"eyes/1/model.onnx/model.onnx", "eyes/1/model.onnx/weights"}


def test_what_cannot_be_fetched_leaves_the_copy_as_it_was(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fetch_two(remote: str, local: str) -> None:
        if len(fetched) == 2:
            raise OSError("the line is cut")
        fetched.append(remote)
        Path(local).write_bytes(b"new")

    fetched: list[str] = []
    for name in ("a.onnx", "b.onnx", "c.onnx"):
        store[name] = b"old"
    mirror = Mirror(URL)
    mirror.update()
    for name in ("a.onnx", "b.onnx", "c.onnx"):
        store[name] = b"new"
    with monkeypatch.context() as patched:
        patched.setattr(store.files, "get_file", fetch_two)
        with pytest.raises(ModelRejected, match="cannot fetch the models: the line is cut"):
            mirror.update()
    served = {path.name: path.read_bytes() for path in mirror.directory.glob("*.onnx")}
    assert served == dict.fromkeys(("a.onnx", "b.onnx", "c.onnx"), b"old")
    mirror.update()
    assert set(copied(mirror).values()) == {b"new"}


def test_a_store_without_a_file_is_no_store_and_removes_nothing(store: Store) -> None:
    with pytest.raises(NotFound, match="unknown model directory 'memory://store/nothing'"):
        Repository("memory://store/nothing")
    store["flat.onnx"] = b"flat"
    mirror = Mirror(URL)
    mirror.update()
    del store["flat.onnx"]
    with pytest.raises(NotFound):
        mirror.update()
    assert set(copied(mirror)) == {"flat.onnx"}


def test_names_that_leave_the_directory_are_passed_over(tmp_path: Path, store: Store) -> None:
    store["flat.onnx"] = b"flat"
    store["../escaped.onnx"] = b"secret"
    mirror = Mirror(URL)
    mirror.update()
    assert set(copied(mirror)) == {"flat.onnx"}


def test_models_are_served_from_a_store_and_follow_it(store: Store) -> None:
    store["eyes/1/model.onnx"] = small_classifier(seed=1).SerializeToString()
    models = Repository(URL)
    assert models.get("eyes").info.version == "1"
    store["eyes/2/model.onnx"] = small_classifier(seed=2).SerializeToString()
    assert models.load("eyes").version == models.get("eyes").info.version == "2"


def test_a_directory_has_an_url_too(tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "small.onnx")
    assert Repository(f"file://{tmp_path}").get("small").info.class_count == 5


def test_the_copy_goes_with_the_mirror(store: Store) -> None:
    store["flat.onnx"] = b"flat"
    mirror = Mirror(URL)
    mirror.update()
    directory = mirror.directory
    assert directory.is_dir()
    del mirror
    gc.collect()
    assert not directory.exists()


def test_without_the_extra_the_advice_is_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "fsspec.core", None)
    advice = r"models: got 's3://bucket/models', .* pip install 'unitscope\[fsspec\]'"
    with pytest.raises(InvalidRequest, match=advice):
        Repository("s3://bucket/models")


def test_a_kind_of_store_that_nobody_knows_is_named() -> None:
    with pytest.raises(InvalidRequest, match="Protocol not known: nowhere"):
        Repository("nowhere://models")
