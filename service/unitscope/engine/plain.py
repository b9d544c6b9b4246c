"""Nouns as plain JSON types, and back by their annotations: whatever a field is, it needs no line.

What comes back is checked against the annotations, since a file may hold anything.
"""

from __future__ import annotations

import base64
import functools
import math
import reprlib
from collections.abc import Mapping
from dataclasses import MISSING, fields, is_dataclass
from types import NoneType, UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import numpy as np

from unitscope.errors import InvalidRequest

_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text",
    bytes: "bytes in base64",
    NoneType: "null",
}
_SHOWN = 80
_CUT = reprlib.Repr()


def to_plain(value: Any) -> Any:
    """`value` in the types of JSON: nouns as objects, tuples as lists, bytes in base64.

    A number that is not finite, which JSON cannot write, becomes null.
    """
    if is_dataclass(value):
        return {field.name: to_plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): to_plain(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [to_plain(inner) for inner in value]
    if isinstance(value, np.generic):
        return to_plain(value.item())
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return None if isinstance(value, float) and not math.isfinite(value) else value


def from_plain(kind: Any, value: Any, path: str) -> Any:
    """The `kind` that `to_plain` wrote as `value`; a field that is absent has its default.

    Raises InvalidRequest, naming the `path` to what does not fit.
    """
    origin, inner = get_origin(kind), get_args(kind)
    if is_dataclass(kind):
        return _noun(kind, value, path)
    if origin in (Union, UnionType):
        return _one_of(inner, value, path)
    if origin is tuple:
        return _tuple(inner, value, path)
    if origin is Literal and value in inner:
        return value
    if kind is bytes and isinstance(value, str):
        return _bytes(value, path)
    if kind is float and type(value) in (int, float):
        return float(value)
    if type(value) is kind:
        return value
    raise InvalidRequest(path, brief(value), _words(kind))


def brief(value: Any) -> Any:
    """`value`, in JSON's types, as a sentence holds it: cut short, no control characters."""
    is_scalar = not isinstance(value, dict | list)
    text = str(value) if is_scalar else _CUT.repr(value)
    said = "".join(sign if sign.isprintable() else "·" for sign in text[:_SHOWN])
    if len(text) > _SHOWN:
        return f"{said}…"
    return value if is_scalar and said == text else said


def _noun(kind: Any, value: Any, path: str) -> Any:
    if not isinstance(value, dict):
        raise InvalidRequest(path, brief(value), "an object")
    types, known = _types(kind), {field.name: field for field in fields(kind)}
    for name in value.keys() - known.keys():
        raise InvalidRequest(path, brief(name), f"only {', '.join(known)}")
    for name, field in known.items():
        if name not in value and field.default is MISSING and field.default_factory is MISSING:
            raise InvalidRequest(f"{path}.{name}", None, _words(types[name]))
    return kind(
        **{name: from_plain(types[name], inner, f"{path}.{name}") for name, inner in value.items()}
    )


@functools.cache
def _types(kind: Any) -> dict[str, Any]:
    """By field; reading annotations takes longer than all else here."""
    return get_type_hints(kind)


def _one_of(kinds: tuple[Any, ...], value: Any, path: str) -> Any:
    """By the first of `kinds` that takes the value; its own complaint if only one could."""
    possible = [kind for kind in kinds if kind is not NoneType]
    if value is None and NoneType in kinds:
        return None
    if len(possible) == 1:
        return from_plain(possible[0], value, path)
    for kind in possible:
        try:
            return from_plain(kind, value, path)
        except InvalidRequest:
            continue
    raise InvalidRequest(path, brief(value), " or ".join(map(_words, kinds)))


def _tuple(inner: tuple[Any, ...], value: Any, path: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise InvalidRequest(path, brief(value), "a list")
    kinds = [inner[0]] * len(value) if inner[1:] == (...,) else list(inner)
    if len(kinds) != len(value):
        raise InvalidRequest(path, brief(value), f"a list of {len(kinds)}")
    return tuple(
        from_plain(kind, item, f"{path}[{index}]")
        for index, (kind, item) in enumerate(zip(kinds, value, strict=True))
    )


def _bytes(value: str, path: str) -> bytes:
    try:
        return base64.b64decode(value, validate=True)
    except ValueError:
        raise InvalidRequest(path, brief(value), _WORDS[bytes]) from None


def _words(kind: Any) -> str:
    if get_origin(kind) is Literal:
        return f"one of {', '.join(map(str, get_args(kind)))}"
    if get_origin(kind) in (Union, UnionType):
        return " or ".join(map(_words, get_args(kind)))
    return _WORDS.get(kind, "a list" if get_origin(kind) is tuple else "an object")
