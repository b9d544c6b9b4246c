"""One version of a model: its files, what came of loading them, and who is given it meanwhile."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Callable
from copy import copy
from dataclasses import dataclass, field, replace

from unitscope.engine.layout import ModelFiles, Stamp
from unitscope.engine.loaded import LoadedModel, ModelInfo, ModelState
from unitscope.engine.loading import load_model
from unitscope.errors import ModelRejected, ModelUnloaded

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Version:
    """A version of a model. All methods may be called from any thread.

    `seen`: of the files that were loaded or refused last. A model outlives files that are refused.
    `lock` lets one thread load while others are given the model that is there. `reading`: what
    files are read within.
    """

    files: ModelFiles
    unloaded: bool = False
    reading: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext
    model: LoadedModel | None = None
    refusal: ModelRejected | None = None
    seen: Stamp | None = None
    lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self) -> LoadedModel:
        """The model, loaded if need be; raises ModelRejected or ModelUnloaded."""
        model = self.model
        if model is not None:
            return model
        with self.lock:
            if self.unloaded:
                raise ModelUnloaded(self.files.name, self.files.version)
            return self.model or self._load()

    def load(self) -> None:
        """Have what the files hold now; raises ModelRejected and keeps the model that was there."""
        with self.lock:
            self.unloaded = False
            self._load()

    def follow(self, files: ModelFiles, *, wanted: bool) -> None:
        """Take over what the directory shows, and load it if it is `wanted` or had been loaded."""
        with self.lock:
            self.files = files
            if self.is_followed(wanted=wanted):
                with contextlib.suppress(ModelRejected):  # the catalogue says it
                    self._load()

    def is_followed(self, *, wanted: bool) -> bool:
        """Whether `follow` would load files that have changed."""
        return not self.unloaded and (wanted or self.seen is not None)

    def unload(self) -> None:
        """Let the model go, and give it to nobody until it is loaded again."""
        with self.lock:
            self._release()
            self.unloaded = True

    def release(self) -> None:
        """Let the model go until somebody asks for it."""
        with self.lock:
            self._release()

    def info(self) -> ModelInfo:
        """What the catalogue says of it."""
        files, model, refusal = self.files, self.model, self.refusal
        error = str(refusal) if refusal else "it was unloaded" if self.unloaded else files.problem
        if model is not None:
            return replace(model.info, state="ready", error=error)
        state: ModelState = "unavailable" if error else "not_loaded"
        return ModelInfo(name=files.name, version=files.version, state=state, error=error)

    def _load(self) -> LoadedModel:
        stamp = self.files.stamp()
        if stamp != self.seen:
            self._read()
            self.seen = stamp
        if self.refusal is not None:
            raise copy(self.refusal) from self.refusal
        assert self.model is not None  # one of the two came of it
        return self.model

    def _read(self) -> None:
        try:
            with self.reading():
                model = load_model(self.files)
        except ModelRejected as error:
            self.refusal = error
            _log.warning("%s, version %s: %s", self.files.name, self.files.version, error)
        else:
            self.refusal = None
            if self.model is None or not model.same_as(self.model):
                self.model = model

    def _release(self) -> None:
        self.model = self.refusal = self.seen = None
