"""Listings in pages, with tokens that only fit the listing they came from."""

from __future__ import annotations

import base64
import binascii
import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from unitscope.errors import InvalidRequest

T = TypeVar("T")

DEFAULT_PAGE_SIZE = 50
MAX_PAGE_SIZE = 1000

_TOKEN = struct.Struct(">I8s")
"""Start of the page, then a digest of the listing and the start."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Some items, and the token of the next page: "" on the last."""

    items: Sequence[T]
    next_page_token: str


def paginate(items: Sequence[T], *, listing: str, page_size: int, page_token: str) -> Page[T]:
    """One page of `items`; `listing` tells one listing from another and one version from the next.

    `page_size` 0 means the default. Raises InvalidRequest for a negative `page_size`, and for a
    `page_token` that this listing did not give.
    """
    if page_size < 0:
        raise InvalidRequest("page_size", page_size, "0 or more")
    start = _start(listing, page_token) if page_token else 0
    stop = start + min(page_size or DEFAULT_PAGE_SIZE, MAX_PAGE_SIZE)
    return Page(items[start:stop], _token(listing, stop) if stop < len(items) else "")


def _token(listing: str, start: int) -> str:
    digest = hashlib.sha256(f"{listing}\n{start}".encode()).digest()[:8]
    return base64.urlsafe_b64encode(_TOKEN.pack(start, digest)).decode()


def _start(listing: str, token: str) -> int:
    try:
        start, _ = _TOKEN.unpack(base64.urlsafe_b64decode(token.encode()))
    except (binascii.Error, struct.error, ValueError):
        start = -1
    if start < 0 or _token(listing, start) != token:
        raise InvalidRequest("page_token", token, "the next_page_token of the page before")
    return int(start)
