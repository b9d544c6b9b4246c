"""Versions of models: which one a request has, and what loading, changing and unloading does."""

from __future__ import annotations

import gc
import threading
import weakref
from pathlib import Path
from typing import Any

import onnx
import pytest

from tests.models import CARD, small_classifier
from unitscope.engine import loading, version
from unitscope.engine.layout import ModelFiles
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import DEFAULT_MODEL
from unitscope.engine.plan import resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.errors import ModelRejected, ModelUnloaded, NotFound
from unitscope.graph import model


def put(directory: Path, number: str, content: onnx.ModelProto | bytes) -> Path:
    """A version of the model `eyes`, put in place in one go."""
    path = directory / "eyes" / number / "model.onnx"
    path.parent.mkdir(parents=True, exist_ok=True)
    incoming = path.with_suffix(".part")
    if isinstance(content, bytes):
        incoming.write_bytes(content)
    else:
        onnx.save(content, incoming)
    return incoming.replace(path)


@pytest.fixture
def two(tmp_path: Path) -> Repository:
    """The versions 1 and 2 of `eyes`."""
    put(tmp_path, "1", small_classifier(seed=1))
    put(tmp_path, "2", small_classifier(seed=2))
    return Repository(tmp_path)


def states(models: Repository, name: str = "eyes") -> dict[str, str]:
    (info,) = (info for info in models.catalogue() if info.name == name)
    return {known.version: known.state for known in info.versions}


# What there is


def test_the_catalogue_says_what_there_is_and_loads_nothing(two: Repository) -> None:
    default, eyes = two.catalogue()
    assert (default.name, default.version, default.state) == (DEFAULT_MODEL, "1", "not_loaded")
    assert (eyes.name, eyes.version, eyes.state, eyes.sha256) == ("eyes", "2", "not_loaded", "")
    assert states(two) == {"2": "not_loaded", "1": "not_loaded"}
    assert two.loaded_count() == 0


def test_a_request_has_the_version_it_names_or_the_latest(two: Repository, tmp_path: Path) -> None:
    latest = two.get("eyes")
    assert latest.info.version == "2" and two.get("eyes", "2") is latest
    assert two.get("eyes", "1").info.sha256 != latest.info.sha256
    assert two.info("eyes", "1").version == "1"
    assert states(two) == {"2": "ready", "1": "ready"}
    with pytest.raises(NotFound, match=r"unknown version of model 'eyes' '3'; did you mean: 2, 1"):
        two.get("eyes", "3")


def test_without_a_good_latest_version_the_one_before_is_served(
    two: Repository, tmp_path: Path
) -> None:
    put(tmp_path, "3", b"not a model")
    two.refresh()
    assert two.get("eyes").info.version == "2"
    info = two.info("eyes")
    assert (info.version, info.error) == ("2", "")
    assert [known.state for known in info.versions] == ["unavailable", "ready", "not_loaded"]
    assert "not an ONNX file" in info.versions[0].error
    with pytest.raises(ModelRejected, match="not an ONNX file"):
        two.get("eyes", "3")


def test_labels_sizes_and_layout_come_from_tritons_configuration(tmp_path: Path) -> None:
    proto = small_classifier(layout="NHWC")
    for axis in (1, 2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side_{axis}"
    put(tmp_path, "1", proto)
    home = tmp_path / "eyes"
    (home / "config.pbtxt").write_text(
        'name: "eyes" platform: "onnxruntime_onnx" max_batch_size: 8\n'
        'input [ { name: "image" data_type: TYPE_FP32 format: FORMAT_NHWC dims: [ 12, 14, 3 ] } ]\n'
        'output [ { name: "output" data_type: TYPE_FP32 dims: [ 5 ] label_filename: "of.txt" } ]\n'
        "instance_group [ { kind: KIND_CPU } ]\n"
    )
    (home / "of.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    eyes = Repository(tmp_path).get("eyes")
    assert eyes.labels == ("ant", "bee", "cat", "dog", "eel")
    found = eyes.info.preprocessing
    assert found is not None and found.inferred
    assert (found.layout, found.channels, found.height_px, found.width_px) == (
        "NHWC",
        "RGB",
        12,
        14,
    )


def test_a_card_in_the_models_directory_is_that_of_all_versions(
    two: Repository, tmp_path: Path
) -> None:
    (tmp_path / "eyes" / "model.toml").write_text(CARD)
    assert {two.info("eyes", number).title for number in "12"} == {"Small"}


def test_weights_in_other_files_are_found_and_named_by_the_digest(tmp_path: Path) -> None:
    path = put(tmp_path, "1", b"")
    onnx.save(
        small_classifier(), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    models = Repository(tmp_path)
    before = models.get("eyes").info.sha256
    weights = bytearray(path.with_name("weights").read_bytes())
    weights[0] ^= 1
    path.with_name("weights").write_bytes(weights)
    models.refresh()
    assert models.get("eyes").info.sha256 != before


def test_a_path_given_by_hand_is_the_model_the_repository_has(
    two: Repository, tmp_path: Path
) -> None:
    models = Repository()
    added = models.add(tmp_path / "eyes" / "2" / "model.onnx")
    assert added.info == two.get("eyes").info
    assert models.names() == (DEFAULT_MODEL, "eyes")
    with pytest.raises(NotFound):
        models.get("eyes", "1")


# Changes


def test_a_changed_file_is_taken_over_by_loading_anew(two: Repository, tmp_path: Path) -> None:
    before = two.get("eyes")
    put(tmp_path, "2", small_classifier(seed=3))
    assert two.get("eyes") is before
    assert two.load("eyes").sha256 == two.get("eyes").info.sha256 != before.info.sha256


def test_a_broken_change_leaves_the_version_as_it_was_and_says_so(
    two: Repository, tmp_path: Path
) -> None:
    before = two.get("eyes")
    path = put(tmp_path, "2", b"not a model")
    with pytest.raises(ModelRejected, match="not an ONNX file"):
        two.load("eyes")
    two.refresh()
    info = two.info("eyes")
    assert two.get("eyes") is before
    assert (info.state, info.sha256) == ("ready", before.info.sha256)
    assert "not an ONNX file" in info.error == info.versions[0].error
    onnx.save(small_classifier(seed=2), path)
    assert (two.load("eyes").error, two.get("eyes")) == ("", before)


def test_a_mended_file_is_loaded_by_the_next_request(tmp_path: Path) -> None:
    put(tmp_path, "1", b"not a model")
    models = Repository(tmp_path)
    with pytest.raises(ModelRejected):
        models.get("eyes")
    put(tmp_path, "1", small_classifier())
    assert models.get("eyes").info.version == "1"


def test_files_that_are_the_same_again_leave_the_model(two: Repository, tmp_path: Path) -> None:
    before = two.get("eyes")
    put(tmp_path, "2", small_classifier(seed=2))
    two.refresh()
    assert two.get("eyes") is before
    (tmp_path / "eyes" / "labels.txt").write_text("ant\nbee\ncat\ndog\neel\n")
    two.refresh()
    assert two.get("eyes").labels == ("ant", "bee", "cat", "dog", "eel")


def test_a_new_version_is_loaded_before_it_is_given_and_the_old_ones_leave(
    two: Repository, tmp_path: Path
) -> None:
    two.get("eyes")
    put(tmp_path, "3", small_classifier(seed=3))
    two.refresh()
    assert states(two) == {"3": "ready", "2": "not_loaded", "1": "not_loaded"}
    assert two.get("eyes").info.version == "3"


def test_a_new_version_of_a_model_nobody_asked_for_is_not_loaded(
    two: Repository, tmp_path: Path
) -> None:
    put(tmp_path, "3", small_classifier(seed=3))
    two.refresh()
    assert states(two)["3"] == "not_loaded" and two.loaded_count() == 0


def test_a_policy_lets_the_old_version_go_only_for_a_good_one(tmp_path: Path) -> None:
    put(tmp_path, "1", small_classifier(seed=1))
    (tmp_path / "eyes" / "config.pbtxt").write_text("version_policy { latest { } }")
    models = Repository(tmp_path)
    models.get("eyes")
    put(tmp_path, "2", b"not a model")
    models.refresh()
    assert states(models) == {"2": "unavailable", "1": "ready"}
    assert models.get("eyes").info.version == "1"
    put(tmp_path, "2", small_classifier(seed=2))
    models.refresh()
    assert states(models) == {"2": "ready"}


def test_models_come_and_go_with_their_files(two: Repository, tmp_path: Path) -> None:
    two.get("eyes")
    onnx.save(small_classifier(), tmp_path / "flat.onnx")
    for number in "12":
        (tmp_path / "eyes" / number / "model.onnx").unlink()
        (tmp_path / "eyes" / number).rmdir()
    two.refresh()
    assert two.names() == (DEFAULT_MODEL, "flat")
    with pytest.raises(NotFound, match="unknown model 'eyes'"):
        two.get("eyes")
    assert two.load("flat").class_count == 5


def test_loading_finds_a_model_that_came_since(two: Repository, tmp_path: Path) -> None:
    onnx.save(small_classifier(), tmp_path / "flat.onnx")
    with pytest.raises(NotFound):
        two.get("flat")
    assert two.load("flat").state == "ready"
    with pytest.raises(NotFound, match="unknown model 'other'"):
        two.load("other")
    with pytest.raises(NotFound, match="unknown version of model 'eyes'"):
        two.load("eyes", "7")


def test_files_that_change_while_they_are_read_are_not_served(
    two: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def digest(*arguments: Any) -> str:
        put(tmp_path, "2", small_classifier(seed=3))
        monkeypatch.setattr(loading, "digest", model.digest)
        return model.digest(*arguments)

    monkeypatch.setattr(loading, "digest", digest)
    with pytest.raises(ModelRejected, match="the files of 'eyes' changed while they were read"):
        two.get("eyes", "2")
    assert two.get("eyes", "2").info.version == "2"


def test_requests_are_served_while_a_version_is_loaded_anew(
    two: Repository, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, gate = threading.Event(), threading.Event()

    def load_slowly(files: ModelFiles) -> LoadedModel:
        entered.set()
        assert gate.wait(60)
        return loading.load_model(files)

    before = two.get("eyes")
    put(tmp_path, "2", small_classifier(seed=3))
    monkeypatch.setattr(version, "load_model", load_slowly)
    refreshing = threading.Thread(target=two.refresh)
    refreshing.start()
    assert entered.wait(60)
    assert two.get("eyes") is before
    assert two.info("eyes").state == "ready"
    assert two.catalogue()[1].sha256 == before.info.sha256
    gate.set()
    refreshing.join(60)
    assert two.get("eyes").info.sha256 != before.info.sha256


# Unloading


def test_what_was_unloaded_is_given_to_nobody_until_it_is_loaded(
    two: Repository, tmp_path: Path
) -> None:
    two.get("eyes")
    two.unload("eyes")
    for number in ("", "1", "2"):
        with pytest.raises(ModelUnloaded, match="of model 'eyes' was unloaded; load it to use it"):
            two.get("eyes", number)
    put(tmp_path, "3", small_classifier(seed=3))
    two.refresh()
    info = two.info("eyes")
    assert (info.state, info.error) == ("unavailable", "it was unloaded")
    assert (states(two), two.loaded_count()) == (dict.fromkeys("321", "unavailable"), 0)
    assert two.load("eyes").version == "3"
    assert states(two) == {"3": "ready", "2": "not_loaded", "1": "not_loaded"}


def test_one_version_is_unloaded_and_loaded(two: Repository) -> None:
    two.unload("eyes", "2")
    assert two.get("eyes").info.version == "1"
    assert two.load("eyes", "2").version == two.get("eyes").info.version == "2"
    with pytest.raises(NotFound):
        two.unload("eyes", "3")
    with pytest.raises(NotFound):
        two.unload("other")


def test_the_memory_is_free_when_the_last_user_is_gone(tmp_path: Path) -> None:
    proto = small_classifier()
    for axis in (2, 3):
        proto.graph.input[0].type.tensor_type.shape.dim[axis].dim_param = f"side_{axis}"
    put(tmp_path, "1", proto)
    models = Repository(tmp_path)
    plan = resolve(MaximizeRequest(unit=0, image_size_px=20), models.get("eyes"))
    watched = weakref.ref(plan.model.subject.model.weights["features.conv.weight"])
    models.unload("eyes")
    gc.collect()
    assert watched() is not None
    del plan
    gc.collect()
    assert watched() is None
