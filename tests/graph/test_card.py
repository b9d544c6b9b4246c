"""Cards: read, checked, inferred."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitscope.errors import ModelRejected
from unitscope.graph.card import infer_card, load_card

CARD = """
[model]
title = "Small"
[input]
layout = "NCHW"
channels = "BGR"
height_px = 12
width_px = 16
low = 0.0
high = 255.0
mean = [1.0, 2.0, 3.0]
std = [1.0, 1.0, 1.0]
[labels]
file = "labels.txt"
"""


def write(tmp_path: Path, card: str) -> Path:
    (tmp_path / "labels.txt").write_text("tench\nzebra\n")
    path = tmp_path / "small.toml"
    path.write_text(card)
    return path


def test_a_card_is_read_with_its_labels(tmp_path: Path) -> None:
    card = load_card(write(tmp_path, CARD))
    assert (card.title, card.channels, card.height_px, card.width_px) == ("Small", "BGR", 12, 16)
    assert card.labels == ("tench", "zebra") and card.mean == (1.0, 2.0, 3.0) and not card.inferred


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('layout = "NCHW"', 'layout = "HWC"', "one of NCHW, NHWC"),
        ("std = [1.0, 1.0, 1.0]", "std = [1.0, 0.0, 1.0]", "std ≠ 0"),
        ("mean = [1.0, 2.0, 3.0]", "mean = [1.0]", "3 numbers each"),
        ("height_px = 12\n", "", "height_px"),
        ("height_px = 12\n", "height_px = 12\ntall = 1\n", "tall"),
        ("height_px = 12", "height_px = 0", "sizes ≥ 1"),
        ('"labels.txt"', '"absent.txt"', "absent.txt"),
        ("[labels]", "[limits]\nrequests = -1\n[labels]", "limits.requests: got -1"),
        ("[model]", "[model", "cannot read the card small.toml"),
    ],
)
def test_a_wrong_card_is_refused_by_key(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in CARD
    with pytest.raises(ModelRejected, match=message):
        load_card(write(tmp_path, CARD.replace(old, new)))


@pytest.mark.parametrize(
    ("shape", "layout", "channels", "size"),
    [
        (("N", 3, 24, 32), "NCHW", "RGB", (24, 32)),
        ((1, 28, 28, 1), "NHWC", "L", (28, 28)),
        (("N", 1, "h", "w"), "NCHW", "L", (224, 224)),
        (("N", 13, 64, 64), "NCHW", "X" * 13, (64, 64)),
    ],
)
def test_a_card_is_inferred_and_says_so(
    shape: tuple[int | str, ...], layout: str, channels: str, size: tuple[int, int]
) -> None:
    card = infer_card(shape, class_count=10)
    assert (card.layout, card.channels, (card.height_px, card.width_px)) == (layout, channels, size)
    assert card.inferred and set(card.mean) == {0.0} and set(card.std) == {1.0}


def test_imagenet_is_recognised() -> None:
    assert infer_card(("N", 3, 224, 224), class_count=1000).mean == (
        0.485,
        0.456,
        0.406,
    )


@pytest.mark.parametrize(
    ("shape", "message"),
    [(("N", "d"), r"\[N, C, H, W\]"), (("N", "c", 8, 8), "number of channels")],
)
def test_what_is_no_image_is_refused(shape: tuple[int | str, ...], message: str) -> None:
    with pytest.raises(ModelRejected, match=message):
        infer_card(shape, class_count=10)
