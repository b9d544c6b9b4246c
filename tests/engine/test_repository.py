"""The repository: what is there, what is known of it, why something is not served."""

from __future__ import annotations

import hashlib
import shutil
from importlib.resources import as_file, files
from pathlib import Path

import onnx
import pytest

from tests.models import CARD, small_classifier
from unitscope.engine.loading import DEFAULT_MODEL
from unitscope.engine.repository import Repository
from unitscope.errors import ModelRejected, NotFound


def test_the_embedded_model_is_squeezenet_with_its_card() -> None:
    model = Repository().get()
    assert model.info.name == DEFAULT_MODEL and model.info.class_count == 1000
    assert model.info.preprocessing is not None and not model.info.preprocessing.inferred
    logits = model.find_layer()
    assert (logits.kind, logits.tensor) == ("logits", model.info.logits_tensor)
    assert model.find_unit(logits, "zebra") == model.find_unit(logits, "Zebra") == 340
    assert model.label_of(logits, 340) == "zebra"
    assert len(set(model.labels)) == 1000


def test_a_directory_adds_its_models(repository: Repository, model_directory: Path) -> None:
    assert set(repository.names()) == {
        DEFAULT_MODEL,
        *(path.stem for path in model_directory.glob("*.onnx")),
    }
    info = repository.info("small")
    content = (model_directory / "small.onnx").read_bytes()
    assert (info.title, info.labels_known, info.sha256) == (
        "Small",
        True,
        hashlib.sha256(content).hexdigest(),
    )


def test_a_card_nobody_wrote_is_marked(repository: Repository) -> None:
    preprocessing = repository.info("grey").preprocessing
    assert preprocessing is not None and preprocessing.inferred and preprocessing.channels == "L"


def test_a_copy_of_the_embedded_model_keeps_its_card(tmp_path: Path) -> None:
    with as_file(files("unitscope") / "data" / f"{DEFAULT_MODEL}.onnx") as embedded:
        shutil.copy(embedded, tmp_path / "copy.onnx")
    assert Repository(tmp_path).get("copy").subject.card == Repository().get().subject.card


def test_a_request_for_the_probabilities_climbs_the_logits(repository: Repository) -> None:
    assert repository.get("small").find_layer("output").tensor == "logits"


@pytest.mark.parametrize(
    ("name", "message"),
    [("text", "not an ONNX file"), ("stopped", r"'flat' \(Floor\)")],
)
def test_a_broken_file_is_refused_each_time_and_described(
    repository: Repository, name: str, message: str
) -> None:
    for _ in range(2):
        with pytest.raises(ModelRejected, match=message):
            repository.get(name)
    info = repository.info(name)
    assert info.error and info.class_count == 0


def test_unknown_names_come_with_the_nearest(repository: Repository) -> None:
    with pytest.raises(NotFound, match=r"unknown model 'smal'; did you mean: small"):
        repository.get("smal")
    model = repository.get("small")
    with pytest.raises(NotFound, match=r"unknown label 'dogg'; did you mean: .*dog"):
        model.find_unit(model.find_layer(), "dogg")
    with pytest.raises(NotFound, match=r"unit of layer 'fc' 5; did you mean: 0\.\.4"):
        model.find_unit(model.find_layer(), 5)
    with pytest.raises(NotFound, match=r"label in layer 'features.conv' 'dog'"):
        model.find_unit(model.find_layer("features.conv"), "dog")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (
            "height_px = 12",
            "height_px = 13",
            r"an image is \[3, 13, 12\] \(NCHW\), the model takes \[3, 12, 12\]",
        ),
        (', "eel"', "", "4 labels for 5 classes"),
    ],
)
def test_a_card_that_does_not_fit_its_model_is_refused(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    onnx.save(small_classifier(), tmp_path / "small.onnx")
    assert old in CARD
    (tmp_path / "small.toml").write_text(CARD.replace(old, new))
    with pytest.raises(ModelRejected, match=message):
        Repository(tmp_path).get("small")


def test_a_directory_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="absent"):
        Repository(tmp_path / "absent")
