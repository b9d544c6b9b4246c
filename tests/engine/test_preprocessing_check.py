"""What speaks for and against a preprocessing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper
from PIL import Image

from tests.engine.test_loading import pixels_in, saved
from tests.models import CARD, CLASSES, SIZE, model_of
from unitscope.engine.loading import load_model
from unitscope.engine.preprocessing_check import PreprocessingCheck, check_preprocessing
from unitscope.errors import InvalidRequest

COLOURS = {"ant": (255, 0, 0), "bee": (0, 255, 0), "cat": (0, 0, 255)}


def colour_classifier(order: str) -> onnx.ModelProto:
    """Tells pure colours apart: class i answers to the i-th channel of RGB, as 0..255."""
    matrix = np.zeros((CLASSES, 3, 1, 1), np.float32)
    for unit, letter in enumerate("RGB"):
        matrix[unit, order.index(letter)] = 0.05
    nodes = [
        helper.make_node("Conv", ["image", "matrix"], ["mapped"]),
        helper.make_node("GlobalAveragePool", ["mapped"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["output"]),
    ]
    return model_of(nodes, {"matrix": matrix})


def photographed(directory: Path) -> Path:
    for label, colour in COLOURS.items():
        folder = directory / "photographs" / label
        folder.mkdir(parents=True)
        Image.new("RGB", (30, 20), colour).save(folder / "one.png")
    return directory / "photographs"


def checked(
    model: onnx.ModelProto, directory: Path, card: str = "", photographs: Path | None = None
) -> PreprocessingCheck:
    path = saved(model, directory, card)
    return check_preprocessing(path, load_model(path), photographs)


def test_photographs_tell_the_channel_order(tmp_path: Path) -> None:
    check = checked(colour_classifier("BGR"), tmp_path, CARD, photographed(tmp_path))
    best = check.candidates[0]
    assert best.preprocessing.startswith("BGR") and best.top1 == best.top5 == 1.0
    in_use = next(c for c in check.candidates if c.preprocessing == check.preprocessing)
    assert in_use.top1 == pytest.approx(1 / 3)
    assert any("does better with BGR" in remark for remark in check.remarks)


def test_the_right_card_is_left_alone(tmp_path: Path) -> None:
    check = checked(colour_classifier("RGB"), tmp_path, CARD, photographed(tmp_path))
    assert check.stated and check.remarks == ()


def test_photographs_without_labels_give_confidence_only(tmp_path: Path) -> None:
    Image.new("L", (SIZE, SIZE), 77).save(tmp_path / "grey.png")
    check = checked(colour_classifier("RGB"), tmp_path, CARD, tmp_path)
    assert {(c.top1, c.top5) for c in check.candidates} == {(None, None)}
    assert all(1 / CLASSES <= c.confidence <= 1 for c in check.candidates)


@pytest.mark.parametrize(
    ("name", "message"), [("fox", "folders called by a label or 0..4"), ("7", "folders called by")]
)
def test_a_folder_that_is_no_class_is_refused(name: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "photographs" / name).mkdir(parents=True)
    with pytest.raises(InvalidRequest, match=message):
        checked(colour_classifier("RGB"), tmp_path, CARD, tmp_path / "photographs")


def test_what_is_no_image_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "photographs"
    for missing in (folder, tmp_path):
        with pytest.raises(InvalidRequest, match=r"images: got .*expected"):
            checked(colour_classifier("RGB"), tmp_path, CARD, missing)
    folder.mkdir()
    (folder / "text.png").write_text("not an image")
    with pytest.raises(InvalidRequest, match=r"'text\.png', expected an image"):
        checked(colour_classifier("RGB"), tmp_path, CARD, folder)


def test_own_normalization_is_seen_and_a_card_against_it_is_remarked(tmp_path: Path) -> None:
    inferred = checked(pixels_in(), tmp_path)
    assert inferred.own_scale == pytest.approx((1 / 255,)) and not inferred.stated
    assert inferred.remarks == ("nobody stated the preprocessing, it is inferred: write a card",)
    card = CARD.replace("NCHW", "NHWC")
    check = checked(pixels_in(), tmp_path, card)
    assert any("itself normalizes pictures in 0..255" in remark for remark in check.remarks)


@pytest.mark.parametrize(("variance", "plausible"), [(0.05, True), (0.05 * 255**2, False)])
def test_a_first_layer_knows_what_it_was_trained_on(
    variance: float, plausible: bool, tmp_path: Path
) -> None:
    model = colour_classifier("RGB")
    weights = {"matrix": np.ones((CLASSES, 3, 1, 1), np.float32) / 3}
    weights |= {name: np.ones(CLASSES, np.float32) for name in ("scale", "bias", "mean")}
    weights["var"] = np.full(CLASSES, variance, np.float32)
    norm = helper.make_node(
        "BatchNormalization", ["mapped", "scale", "bias", "mean", "var"], ["normal"]
    )
    model.graph.node[1].input[0] = "normal"
    nodes = [model.graph.node[0], norm, *model.graph.node[1:]]
    check = checked(model_of(nodes, weights), tmp_path, CARD)
    assert check.first_layer_factor is not None
    assert any("first layer" in remark for remark in check.remarks) != plausible
