"""One table per kind of thing: a name, once, and what it stands for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Generic, TypeVar

from unitscope.errors import NotFound

T = TypeVar("T")


class Registry(Mapping[str, T], Generic[T]):
    """A mapping from names to members that refuses duplicates and explains unknown names."""

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self._members: dict[str, T] = {}

    def add(self, name: str, member: T) -> T:
        """Enter `member` under `name`; raises ValueError if the name is taken."""
        if name in self._members:
            raise ValueError(f"{self.kind} {name!r} is registered twice")
        self._members[name] = member
        return member

    def __getitem__(self, name: str) -> T:
        """The member called `name`; raises NotFound naming the nearest known names."""
        try:
            return self._members[name]
        except KeyError:
            raise NotFound(self.kind, name, self._members) from None

    def __contains__(self, name: object) -> bool:
        return name in self._members

    def __iter__(self) -> Iterator[str]:
        return iter(self._members)

    def __len__(self) -> int:
        return len(self._members)
