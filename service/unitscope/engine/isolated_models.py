"""The models of workers, as far as their supervisor knows them: it loads none itself."""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any, Protocol

from unitscope.engine.layout import Stamp
from unitscope.engine.loaded import ModelInfo, ModelState
from unitscope.engine.pipe import Method, Report
from unitscope.engine.repository import Repository
from unitscope.errors import NotFound, WorkerDied
from unitscope.graph.layers import Layer


class Workers(Protocol):
    """Those who know: a worker for each model that is in use."""

    def ask(self, model: str, method: Method, *arguments: Any) -> Any:
        """The answer of the worker of `model`, which is started if need be."""

    def rehearse(self, model: str, versions: Collection[str]) -> None:
        """Load versions of a model that is in use where it harms nobody. Raises WorkerDied."""

    def reports(self) -> Mapping[str, Report]:
        """How each of them is, by model."""


class IsolatedModels:
    """`Models` behind workers. What is known of a model outlives its worker."""

    def __init__(self, repository: Repository, workers: Workers) -> None:
        self._repository = repository
        self._workers = workers
        self._known: dict[str, ModelInfo] = {}
        self._seen: dict[str, Stamp | None] = {}
        self._unloaded: dict[str, frozenset[str]] = {}
        self._harmful: dict[str, tuple[Mapping[str, Stamp], WorkerDied]] = {}

    def catalogue(self) -> tuple[ModelInfo, ...]:
        """All models, the default first, as far as they are known: nothing is loaded for it."""
        return tuple(
            self._told(self._known.get(info.name, info)) for info in self._repository.catalogue()
        )

    def loaded_count(self) -> int:
        """How many versions of models are in memory."""
        return sum(report.loaded for report in self._workers.reports().values())

    def info(self, name: str, version: str = "") -> ModelInfo:
        """What is known of a model; a broken file is described, not raised. Raises NotFound."""
        model = self.resolve(name)
        try:
            found: ModelInfo = self._workers.ask(model, "info", model, version)
        except WorkerDied as error:
            return ModelInfo(name=model, version=version, state="unavailable", error=str(error))
        return self._told(found)

    def known(self, name: str, version: str = "") -> ModelInfo:
        """As `info`, but no worker is started for files that one has read as they are."""
        model = self.resolve(name)
        info = self._known.get(model)
        if (
            info is None
            or info.error
            or not info.fingerprint
            or version not in ("", info.version)
            or model in self._unloaded
            or model in self._workers.reports()
            or self._repository.stamp(model, info.version) != self._seen[model]
        ):
            return self.info(model, version)
        return info

    def layers(self, name: str, version: str = "") -> tuple[ModelInfo, tuple[Layer, ...]]:
        """A model and its layers; raises NotFound, ModelRejected, ModelUnloaded or WorkerDied."""
        model = self.resolve(name)
        found: tuple[ModelInfo, tuple[Layer, ...]] = self._workers.ask(
            model, "layers", model, version
        )
        return found

    def load(self, name: str, version: str = "") -> ModelInfo:
        """Load a model, or load it anew if its files changed; `version` "" = the latest there is.

        Where that fails, what was loaded before is served on. Raises NotFound, ModelRejected or
        WorkerDied.
        """
        self._look()
        model = self.resolve(name)
        self._rehearse(model, version)
        if not version:
            self._unloaded.pop(model, None)
        loaded: ModelInfo = self._workers.ask(model, "load", model, version)
        if version and model in self._unloaded:
            others = {known.version for known in loaded.versions} - {version}
            were = self._unloaded[model]
            self._unloaded[model] = were & others if "" not in were else frozenset(others)
        return loaded

    def unload(self, name: str, version: str = "") -> None:
        """Serve a model no more, until it is loaded again; `version` "" = all of them.

        Requests that run are finished; the memory is free when the last of them is. Raises
        NotFound.
        """
        model = self.resolve(name)
        self._workers.ask(model, "unload", model, version)
        self._unloaded[model] = self.unloaded(model) | {version}

    def refresh(self) -> None:
        """Look for models that came, changed or went, and load anew what had been loaded."""
        self._look()
        working = self._workers.reports().keys() & set(self._repository.names())
        for model in self._known.keys() - working - self._unloaded.keys():
            del self._known[model]  # its files may have changed
        for model in working:
            with contextlib.suppress(WorkerDied):  # the catalogue says it
                self._rehearse(model)
                self._workers.ask(model, "refresh")

    def unloaded(self, model: str) -> frozenset[str]:
        """Versions that are not to be served; "" = all of them."""
        return self._unloaded.get(model, frozenset())

    def learn(self, model: str, info: ModelInfo | None, seen: Stamp | None) -> None:
        """Its worker says so, having `seen` files; no `info`: the model is gone."""
        self._seen[model] = seen
        if info is None:
            self._known.pop(model, None)
        else:
            self._known[model] = info

    def rest(self, model: str) -> None:
        """It has no worker any more: what was in memory is not."""
        self._harmful.pop(model, None)
        if model in self._known:
            info = self._known[model]
            versions = tuple(replace(known, state=_rested(known.state)) for known in info.versions)
            self._known[model] = replace(info, state=_rested(info.state), versions=versions)

    def _look(self) -> None:
        """See which models there are; the workers of those that went forget them."""
        self._repository.refresh()
        names = self._repository.names()
        for model, report in self._workers.reports().items():
            if model not in names and report.info is not None:
                with contextlib.suppress(WorkerDied):  # it forgot more than that
                    self._workers.ask(model, "refresh")

    def _rehearse(self, model: str, version: str | None = None) -> None:
        """See whether a worker survives what the one of `model` is to load, if that serves it.

        What was harmful is not loaded again until its files change or somebody asks for `version`.
        Raises WorkerDied.
        """
        report = self._workers.reports().get(model)
        if report is None or not report.loaded:
            return
        news: Mapping[str, Stamp] = self._workers.ask(model, "news", model, version)
        harmful = self._harmful.get(model)
        if version is None and harmful is not None and news == harmful[0]:
            raise harmful[1]
        try:
            if news:
                self._workers.rehearse(model, news)
        except WorkerDied as error:
            self._harmful[model] = news, error
            raise
        self._harmful.pop(model, None)

    def _told(self, info: ModelInfo) -> ModelInfo:
        """With what is wrong with files that are not loaded for it."""
        harmful = self._harmful.get(info.name)
        return info if harmful is None else replace(info, error=str(harmful[1]))

    def resolve(self, name: str) -> str:
        """The name of the model called `name`, "" = the default; raises NotFound."""
        name, names = name or self._repository.default_name, self._repository.names()
        if name not in names:
            raise NotFound("model", name, names)
        return name


def _rested(state: ModelState) -> ModelState:
    return "not_loaded" if state == "ready" else state
