"""The tensors of a model while it is emitted, and why some of them could not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field

from unitscope.errors import ModelRejected
from unitscope.graph.ir import Value


@dataclass(frozen=True, slots=True, eq=False)
class Tensors(Mapping[str, Value]):
    """A model's tensors by name.

    What could not be emitted is missing, and asking for it raises the ModelRejected that names
    the node at fault: a label computed beside the scores need not stop a model.
    """

    _values: dict[str, Value] = field(default_factory=dict)
    _refused: dict[str, ModelRejected] = field(default_factory=dict)

    def __getitem__(self, name: str) -> Value:
        """The tensor called `name`; raises ModelRejected if it was refused or never computed."""
        if name in self._refused:
            raise copy(self._refused[name]) from self._refused[name]
        if name not in self._values:
            raise ModelRejected(f"tensor {name!r} is used and never computed")
        return self._values[name]

    def __contains__(self, name: object) -> bool:
        return name in self._values

    def find(self, name: str) -> Value | None:
        """The tensor called `name`, None if it was refused or never computed."""
        return self._values.get(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def add(self, name: str, value: Value) -> None:
        self._values[name] = value

    def refuse(self, name: str, reason: ModelRejected) -> None:
        self._refused[name] = reason

    def inner(self) -> Tensors:
        """A scope that begins with these tensors."""
        return Tensors(dict(self._values), dict(self._refused))
