"""Words of the command line become nouns, or a sentence."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.cli import values as given
from unitscope.engine.request import Term
from unitscope.errors import InvalidRequest


def test_words_become_nouns(tmp_path: Path) -> None:
    assert (given.unit("7"), given.unit("zebra"), given.unit("")) == (7, "zebra", None)
    assert given.position("") is None and given.position("3, 4") == (3, 4)
    assert given.transforms(None) is None and given.transforms("") == ()
    assert given.transforms("pad, jitter:0.1,scale:0.5:2") == (
        Transform("pad"),
        Transform("jitter", 0.1, 0.1),
        Transform("scale", 0.5, 2.0),
    )
    assert given.regularizers("constraints", "blur:1:4,decay:1e-4") == (
        Regularizer("blur", 1.0, 4),
        Regularizer("decay", 1e-4),
    )
    (tmp_path / "cat.png").write_bytes(b"cat")
    assert given.terms([f"layer=conv1,objective=inversion,reference={tmp_path / 'cat.png'}"]) == (
        Term(layer="conv1", objective="inversion", reference=b"cat"),
    )
    assert given.terms(["unit=3,weight=-0.5"]) == (Term(unit=3, weight=-0.5),)


def test_the_images_of_a_directory_come_by_name(tmp_path: Path) -> None:
    for name in ("b.JPG", "a.webp", "notes.txt", "array.npy"):
        (tmp_path / name).write_bytes(name.encode())
    assert given.images(tmp_path) == (b"a.webp", b"b.JPG")
    assert given.images(None) == ()


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda: given.position("1"), "position: got '1', expected two whole numbers X,Y"),
        (lambda: given.transforms("pad:wide"), r"expected NAME\[:LOW\[:HIGH\]\]"),
        (lambda: given.transforms("pad:1:2:3"), r"expected NAME\[:LOW\[:HIGH\]\]"),
        (lambda: given.regularizers("penalties", "l1"), "penalties: got 'l1', expected NAME:"),
        (lambda: given.regularizers("constraints", "blur:1:2.5"), "constraints: got"),
        (lambda: given.terms(["unit=1,colour=red"]), "terms: got 'colour=red', expected unit="),
        (lambda: given.terms(["unit=1,weight=heavy"]), "expected a number as its weight"),
        (lambda: given.content("reference", Path("/nowhere")), "reference: got '/nowhere'"),
        (lambda: given.images(Path("/nowhere")), "images: got '/nowhere', expected a directory"),
        (lambda: given.images(Path(__file__).parent), "images: got .*, expected files ending in"),
        (lambda: given.image_format(Path("z.bmp")), "out: got 'z.bmp', expected a name ending in"),
    ],
)
def test_what_stands_for_nothing_is_a_sentence(call: object, expected: str) -> None:
    assert callable(call)
    with pytest.raises(InvalidRequest, match=expected):
        call()
