"""What the classes of a model are called, as far as the file or its neighbours say."""

from __future__ import annotations

import ast
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

_KEYS = ("labels", "names", "classes", "class_names", "id2label")
"""Where exporters note them (Ultralytics: names; Azure Custom Vision: Labels)."""


def labels_in(metadata: Mapping[str, str]) -> tuple[str, ...]:
    """The labels in a model's metadata, in order of their index; none if there are none.

    A list, or a mapping from index to label, in JSON or as Python prints it.
    """
    folded = {key.casefold(): text for key, text in metadata.items()}
    for key in _KEYS:
        labels = _listed(_parsed(folded.get(key, "")))
        if labels:
            return labels
    return ()


def labels_among(files: Iterable[Path], count: int) -> tuple[str, ...]:
    """The lines of the first of `files` that has `count` of them, or none."""
    for file in files:
        if file.is_file():
            lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
            if len(lines) == count:
                return tuple(lines)
    return ()


def _parsed(text: str) -> Any:
    for read in (json.loads, ast.literal_eval):
        try:
            return read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
    return None


def _listed(content: Any) -> tuple[str, ...]:
    if isinstance(content, list | tuple) and all(isinstance(item, str) for item in content):
        return tuple(content)
    if isinstance(content, dict):
        numbered = {int(key): str(label) for key, label in content.items() if str(key).isdecimal()}
        if sorted(numbered) == list(range(len(content))):
            return tuple(numbered[index] for index in range(len(content)))
    return ()
