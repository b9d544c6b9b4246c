"""Cards that lie are refused in a sentence that names the key, whatever the file holds."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.models import CARD
from unitscope.errors import ModelRejected
from unitscope.graph.card import load_card

UNLABELLED = CARD.split("[labels]")[0]
SIDE, MEAN = "height_px = 12", "mean = [0.5, 0.5, 0.5]"


@pytest.mark.parametrize(
    ("card", "sentence"),
    [
        *((CARD.replace(SIDE, f"height_px = {v}"), "height_px") for v in ("12.0", "true", "10**9")),
        *((CARD.replace(SIDE, f"height_px = {v}"), "height_px") for v in ("nan", 10**9, '"x"')),
        *((CARD.replace(MEAN, f"mean = {v}"), "mean") for v in ("0.5", "[nan, 0, 0]", '["a"]')),
        (CARD.replace(MEAN, f"{MEAN}\nlow = {10**400}"), "finite"),
        (CARD.replace('"RGB"', '["R", "G", "B"]'), "channels"),
        ("input = 3", r"\[input\]"),
        (f"model = [1]\n{UNLABELLED.replace('[model]', '[other]')}", r"\[model\]"),
        (f"{UNLABELLED}[labels]\nnames = [[1], 2]", "labels.names"),
        ("a = " + "[" * 5000, "cannot read the card"),
        ("[[[", "cannot read the card"),
    ],
)
def test_of_another_kind_than_the_key_wants(card: str, sentence: str, tmp_path: Path) -> None:
    path = tmp_path / "model.toml"
    path.write_text(card.replace("10**9", "1_000_000_000"))
    with pytest.raises(ModelRejected, match=sentence):
        load_card(path)


@pytest.mark.parametrize(
    "file", ["../secret", "/etc/passwd", "link", "pipe", ".", "latin", "a\\u0000b", "absent"]
)
def test_labels_are_read_beside_the_card_and_nowhere_else(file: str, tmp_path: Path) -> None:
    directory = tmp_path / "models"
    directory.mkdir()
    (tmp_path / "secret").write_text("a\nb\nc\nd\ne\n")
    (directory / "link").symlink_to("/dev/zero")
    (directory / "latin").write_bytes(b"\xff\n")
    os.mkfifo(directory / "pipe")
    path = directory / "model.toml"
    path.write_text(f'{UNLABELLED}[labels]\nfile = "{file}"\n')
    with pytest.raises(ModelRejected, match="cannot read the labels"):
        load_card(path)
