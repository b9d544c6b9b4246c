"""Where models lie: flat files and Triton's layout, versions, cards, labels, and what changes."""

from __future__ import annotations

import itertools
import os
import pickle
from pathlib import Path

import pytest

from unitscope.engine.layout import ModelFiles, files_at, scan
from unitscope.errors import NotFound


def touched(*paths: Path) -> Path:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return paths[0]


def found(directory: Path) -> dict[str, dict[str, str]]:
    """The file of each version of each model, or why there is none."""
    return {
        name: {
            files.version: files.problem or str(files.path.relative_to(directory))
            for files in versions
        }
        for name, versions in scan(directory).items()
    }


def test_files_and_directories_with_versions_are_models(tmp_path: Path) -> None:
    touched(tmp_path / "flat.onnx", tmp_path / "flat.toml", tmp_path / "README.md")
    touched(tmp_path / "eyes" / "1" / "model.onnx", tmp_path / "eyes" / "10" / "model.onnx")
    touched(tmp_path / "eyes" / "2" / "model.onnx" / "model.onnx")
    touched(tmp_path / "eyes" / "012" / "model.onnx", tmp_path / "eyes" / "old" / "model.onnx")
    touched(tmp_path / "photographs" / "cat.jpg", tmp_path / ".git" / "1" / "model.onnx")
    assert found(tmp_path) == {
        "flat": {"1": "flat.onnx"},
        "eyes": {
            "10": "eyes/10/model.onnx",
            "2": "eyes/2/model.onnx/model.onnx",
            "1": "eyes/1/model.onnx",
        },
    }
    assert [files.version for files in scan(tmp_path)["eyes"]] == ["10", "2", "1"]


def test_a_directory_hides_a_file_of_its_name(tmp_path: Path) -> None:
    touched(tmp_path / "eyes.onnx", tmp_path / "eyes" / "3" / "model.onnx")
    assert found(tmp_path) == {"eyes": {"3": "eyes/3/model.onnx"}}


def test_a_model_of_another_kind_is_listed_with_what_is_wrong(tmp_path: Path) -> None:
    touched(tmp_path / "plan" / "1" / "model.plan", tmp_path / "broken" / "1" / "model.onnx")
    touched(tmp_path / "torch" / "1" / "model.pt")
    (tmp_path / "plan" / "config.pbtxt").write_text('platform: "tensorrt_plan"')
    (tmp_path / "broken" / "config.pbtxt").write_text("input [")
    problems = {name: versions["1"] for name, versions in found(tmp_path).items()}
    assert problems["plan"] == "its backend is 'tensorrt_plan'; only ONNX files are served"
    assert problems["torch"] == "there is no 1/model.onnx"
    assert problems["broken"].startswith("cannot read config.pbtxt: ")


def test_the_configuration_names_the_file_and_the_versions(tmp_path: Path) -> None:
    home = tmp_path / "eyes"
    touched(*(home / number / "eyes.onnx" for number in "123"))
    text = 'default_model_filename: "eyes.onnx" version_policy { specific { versions: [ 2, 4 ] } }'
    (home / "config.pbtxt").write_text(text)
    assert found(tmp_path)["eyes"] == {"4": "there is no 4/eyes.onnx", "2": "eyes/2/eyes.onnx"}


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        scan(tmp_path / "absent")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_directory_closed_to_us_is_passed_over(tmp_path: Path) -> None:
    touched(tmp_path / "lost+found" / "1" / "model.onnx").parent.parent.chmod(0)
    assert found(tmp_path) == {}


def test_a_path_is_the_version_it_lies_in(tmp_path: Path) -> None:
    large = touched(tmp_path / "eyes" / "2" / "model.onnx" / "model.onnx")
    small = touched(tmp_path / "eyes" / "1" / "model.onnx")
    versions = scan(tmp_path)["eyes"]
    assert (files_at(large), files_at(small)) == versions
    flat = files_at(touched(tmp_path / "eyes" / "2" / "other.onnx"))
    assert (flat.name, flat.version, flat.config) == ("other", "1", None)
    assert pickle.loads(pickle.dumps(versions)) == versions


def test_the_card_is_the_nearest_one(tmp_path: Path) -> None:
    home = tmp_path / "eyes"
    path = touched(home / "1" / "model.onnx" / "model.onnx")
    touched(home / "config.toml", tmp_path / "model.toml")
    files = files_at(path)
    assert files.card() is None
    for card in (home / "model.toml", home / "1" / "model.toml", path.with_suffix(".toml")):
        touched(card)
        assert files.card() == card


def test_labels_are_looked_for_where_the_configuration_says_and_then_nearby(tmp_path: Path) -> None:
    home = tmp_path / "eyes"
    touched(home / "1" / "model.onnx")
    (home / "config.pbtxt").write_text('output [ { label_filename: "words.txt" } ]')
    (files,) = scan(tmp_path)["eyes"]
    assert files.label_files() == (
        home / "words.txt",
        home / "1" / "model.labels.txt",
        home / "1" / "labels.txt",
        home / "model.labels.txt",
        home / "labels.txt",
    )


CHANGES = ["1/model.onnx", "1/weights.bin", "1/sub/more.bin", "model.toml", "config.pbtxt"]


@pytest.mark.parametrize("name", CHANGES)
def test_the_stamp_of_a_version_shows_every_change(tmp_path: Path, name: str) -> None:
    files = files_at(touched(tmp_path / "eyes" / "1" / "model.onnx"))
    touched(tmp_path / "eyes" / "2" / "model.onnx")
    assert_shown(files, tmp_path / "eyes" / name)


@pytest.mark.parametrize("name", ["a[1].onnx", "a[1].onnx.data", "a[1].toml", "labels.txt"])
def test_the_stamp_of_a_flat_file_shows_what_belongs_to_it(tmp_path: Path, name: str) -> None:
    files = files_at(touched(tmp_path / "a[1].onnx"))
    assert_shown(files, tmp_path / name)
    before = files.stamp()
    touched(tmp_path / "other.onnx")
    assert files.stamp() == before


def assert_shown(files: ModelFiles, path: Path) -> None:
    stamps = [files.stamp()]
    touched(path).write_text("larger")
    stamps.append(files.stamp())
    os.utime(path, ns=(0, 0))  # another time
    stamps.append(files.stamp())
    aside = path.with_name("aside.tmp")  # another file of the same size and time
    aside.write_text("larges")
    os.utime(aside, ns=(0, 0))
    aside.replace(path)
    stamps.append(files.stamp())
    path.unlink()
    stamps.append(files.stamp())
    assert all(one != other for one, other in itertools.pairwise(stamps))
    assert files.stamp() == files.stamp()
