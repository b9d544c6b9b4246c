"""Every noun of a request survives JSON; what does not fit its annotations is refused by path."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pytest

from unitscope.engine.plain import brief, from_plain, to_plain
from unitscope.engine.request import MaximizeRequest
from unitscope.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Part:
    name: str
    share: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    key: int | str
    kind: Literal["a", "b"] = "a"
    size: float | None = None
    place: tuple[int, int] | None = None
    parts: tuple[Part, ...] = ()
    raw: bytes = b""
    more: Part = field(default_factory=lambda: Part("more"))
    is_open: bool = False


WHOLE = Whole(
    key="k", kind="b", size=0.1, place=(1, 2), parts=(Part("p"), Part("é", 2)), raw=b"\xff\0"
)


@pytest.mark.parametrize("noun", [WHOLE, Whole(key=1), MaximizeRequest(unit=1)], ids=repr)
def test_a_noun_survives(noun: Any) -> None:
    written = json.loads(json.dumps(to_plain(noun)))
    assert from_plain(type(noun), written, "noun") == noun


def test_numbers_become_what_the_field_says() -> None:
    read = from_plain(Whole, to_plain(Whole(key=np.int64(3), size=2)), "noun")  # type: ignore[arg-type]  # as callers do
    assert (read.key, repr(read.size)) == (3, "2.0")
    assert to_plain(float("nan")) is None


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"key": 1.5}, "noun.key: got 1.5, expected a whole number or a text"),
        ({"key": True}, "noun.key: got True"),
        ({"kind": "c"}, "noun.kind: got 'c', expected one of a, b"),
        ({"size": "2"}, "noun.size: got '2', expected a number"),
        ({"place": [1, 2, 3]}, r"noun.place: got '\[1, 2, 3\]', expected a list of 2"),
        ({"place": [1, "2"]}, r"noun.place\[1\]: got '2', expected a whole number"),
        ({"parts": {}}, "noun.parts: got '{}', expected a list"),
        ({"parts": [{}]}, r"noun.parts\[0\].name: got None, expected a text"),
        ({"parts": [[]]}, r"noun.parts\[0\]: got '\[\]', expected an object"),
        ({"raw": "ü"}, "noun.raw: got 'ü', expected bytes in base64"),
        ({"is_open": 1}, "noun.is_open: got 1, expected true or false"),
        ({"colour": 1}, "noun: got 'colour', expected only key, kind"),
        ({"kind": "c" * 1000}, "noun.kind: got 'c{80}…'"),
    ],
    ids=str,
)
def test_what_does_not_fit_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidRequest, match=f"^{message}"):
        from_plain(Whole, {"key": 1} | change, "noun")


def test_a_sentence_holds_no_control_characters() -> None:
    assert brief("a\x1b[2J\n\ud800") == "a·[2J··"
    assert [brief(value) for value in ("é x", 3, 0.5, None, True)] == ["é x", 3, 0.5, None, True]


@pytest.mark.parametrize("value", [[[[[[[[0]]]]]]] * 99, {"a": "b" * 999}, 10**999, "c" * 999])
def test_a_sentence_holds_little(value: Any) -> None:
    assert len(str(brief(value))) < 100
