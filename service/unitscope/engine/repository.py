"""The models at hand: the embedded default and those of a directory."""

from __future__ import annotations

import threading
from copy import copy
from dataclasses import dataclass, field
from pathlib import Path

from unitscope.engine.loaded import LoadedModel, ModelInfo
from unitscope.engine.loading import DEFAULT_MODEL, embedded_model, load_model
from unitscope.errors import ModelRejected, NotFound
from unitscope.graph.layers import Layer


@dataclass(slots=True)
class _Entry:
    """A file and what came of loading it; `lock` lets one thread load while others serve."""

    path: Path
    lock: threading.Lock = field(default_factory=threading.Lock)
    model: LoadedModel | None = None
    refusal: ModelRejected | None = None

    def load(self) -> LoadedModel:
        with self.lock:
            if self.model is None and self.refusal is None:
                try:
                    self.model = load_model(self.path)
                except ModelRejected as error:
                    self.refusal = error
            if self.model is None:
                raise copy(self.refusal) from self.refusal  # type: ignore[misc]  # one is set
            return self.model


class Repository:
    """Models by name, loaded when first asked for and kept. Safe to use from several threads."""

    def __init__(self, directory: Path | None = None) -> None:
        self.default_name = DEFAULT_MODEL
        self._entries = {DEFAULT_MODEL: _Entry(embedded_model())}
        if directory is not None:
            if not directory.is_dir():
                raise NotFound("model directory", str(directory), [])
            self._entries |= {path.stem: _Entry(path) for path in sorted(directory.glob("*.onnx"))}

    def names(self) -> tuple[str, ...]:
        """All names, the default model first."""
        return tuple(self._entries)

    def loaded_count(self) -> int:
        """How many models are in memory."""
        return sum(entry.model is not None for entry in list(self._entries.values()))

    def add(self, path: Path) -> LoadedModel:
        """Add the file at `path` under its stem, in place of one of that name, and load it."""
        self._entries[path.stem] = _Entry(path)
        return self.get(path.stem)

    def get(self, name: str = "") -> LoadedModel:
        """The model called `name` ("" = default); raises NotFound or ModelRejected."""
        name = name or self.default_name
        if name not in self._entries:
            raise NotFound("model", name, self._entries)
        return self._entries[name].load()

    def info(self, name: str) -> ModelInfo:
        """What is known of a model; a broken file is described, not raised."""
        try:
            return self.get(name).info
        except ModelRejected as error:
            return ModelInfo(name=name or self.default_name, error=str(error))

    def layers(self, name: str) -> tuple[ModelInfo, tuple[Layer, ...]]:
        """A model and its layers; raises NotFound or ModelRejected."""
        model = self.get(name)
        return model.info, model.layers
