"""Values on the command line: what a word stands for, or a sentence why it stands for nothing."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.request import Term
from unitscope.errors import InvalidRequest

_FORMATS = {".png": "png", ".jpg": "jpeg", ".jpeg": "jpeg", ".webp": "webp", ".npy": "npy"}
_IMAGES = tuple(ending for ending in _FORMATS if ending != ".npy")


def unit(text: str) -> int | str | None:
    """An index, a label, or none."""
    return int(text) if text.isdecimal() else text or None


def position(text: str) -> tuple[int, int] | None:
    """`X,Y`."""
    if not text:
        return None
    parts = text.split(",")
    if len(parts) != 2 or not all(part.strip().isdecimal() for part in parts):
        raise InvalidRequest("position", text, "two whole numbers X,Y")
    return int(parts[0]), int(parts[1])


def transforms(text: str | None) -> tuple[Transform, ...] | None:
    """`NAME[:LOW[:HIGH]],…`; one number is both ends of the range."""
    return None if text is None else tuple(_transform(word) for word in _words(text))


def regularizers(field: str, text: str | None) -> tuple[Regularizer, ...] | None:
    """`NAME:STRENGTH[:STEPS],…`."""
    return None if text is None else tuple(_regularizer(field, word) for word in _words(text))


def terms(texts: Sequence[str]) -> tuple[Term, ...]:
    """`FIELD=VALUE,…` each, the fields being unit, layer, weight, objective and reference."""
    return tuple(_term(text) for text in texts)


def image_format(out: Path) -> str:
    """By the ending of the file to write."""
    if out.suffix.lower() not in _FORMATS:
        raise InvalidRequest("out", out.name, f"a name ending in {', '.join(_FORMATS)}")
    return _FORMATS[out.suffix.lower()]


def content(field: str, path: Path | None) -> bytes:
    """What is in a file; nothing without one."""
    try:
        return b"" if path is None else path.read_bytes()
    except OSError as error:
        raise InvalidRequest(field, str(path), f"a readable file: {error.strerror}") from error


def images(directory: Path | None) -> tuple[bytes, ...]:
    """The images in a directory, by their names; none without one."""
    if directory is None:
        return ()
    if not directory.is_dir():
        raise InvalidRequest("images", str(directory), "a directory of images")
    found = [path for path in sorted(directory.iterdir()) if path.suffix.lower() in _IMAGES]
    if not found:
        raise InvalidRequest("images", str(directory), f"files ending in {', '.join(_IMAGES)}")
    return tuple(content("images", path) for path in found)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def _numbers(field: str, word: str, form: str, most: int) -> tuple[str, list[float]]:
    name, *rest = word.split(":")
    try:
        numbers = [float(number) for number in rest]
    except ValueError:
        raise InvalidRequest(field, word, form) from None
    if len(numbers) > most:
        raise InvalidRequest(field, word, form)
    return name, numbers


def _transform(word: str) -> Transform:
    name, numbers = _numbers("transforms", word, "NAME[:LOW[:HIGH]]", 2)
    return Transform(name, *(numbers * 2)[: 2 if numbers else 0])


def _regularizer(field: str, word: str) -> Regularizer:
    form = "NAME:STRENGTH[:STEPS]"
    name, numbers = _numbers(field, word, form, 2)
    if not numbers or (len(numbers) == 2 and not numbers[1].is_integer()):
        raise InvalidRequest(field, word, form)
    return Regularizer(name, numbers[0], *map(int, numbers[1:]))


def _term(text: str) -> Term:
    given: dict[str, Any] = {}
    for word in _words(text):
        name, _, value = word.partition("=")
        if name == "unit":
            given[name] = unit(value)
        elif name in ("layer", "objective"):
            given[name] = value
        elif name == "reference":
            given[name] = content("terms", Path(value))
        elif name == "weight":
            given[name] = _number(text, value)
        else:
            expected = "unit=, layer=, weight=, objective= or reference= (a file)"
            raise InvalidRequest("terms", word, expected)
    return Term(**given)


def _number(text: str, value: str) -> float:
    try:
        return float(value)
    except ValueError:
        raise InvalidRequest("terms", text, "a number as its weight") from None
