"""The models at hand: the embedded default and those of a directory, with their versions."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol
from weakref import WeakSet

from unitscope.engine.layout import ModelFiles, Stamp, files_at, scan
from unitscope.engine.loaded import LoadedModel, ModelInfo, ModelVersion
from unitscope.engine.loading import DEFAULT_MODEL, embedded_model, resized
from unitscope.engine.mirror import Mirror
from unitscope.engine.version import Version
from unitscope.errors import ModelRejected, ModelUnloaded, NotFound
from unitscope.graph.layers import Layer

Versions = Mapping[str, Version]
"""By number, the latest first."""


class User(Protocol):
    """Whoever keeps what was made of a model."""

    def tidy(self) -> None:
        """Models have left the memory: keep nothing of them once no request uses it."""


class Repository:
    """Models by name, loaded when first asked for and kept. Safe to use from several threads.

    Of a model with versions, a request that names none has the latest that can be used. `models`: a
    directory, or the URL of one (see `Mirror`); `directory`: where it is, or its copy. `reading`:
    what files are read within. Raises NotFound where there is none.
    """

    def __init__(
        self,
        models: str | os.PathLike[str] | None = None,
        *,
        reading: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
    ) -> None:
        self.default_name = DEFAULT_MODEL
        given = os.fspath(models or "")
        self._mirror = Mirror(given) if "://" in given else None
        local = self._mirror.directory if self._mirror else given
        self.directory = Path(local) if local else None
        self._added: dict[str, tuple[ModelFiles, ...]] = {}
        self._models: dict[str, Versions] = {}  # replaced as a whole: readers need no lock
        self._reading = reading
        self._changing = threading.Lock()
        self._users: WeakSet[User] = WeakSet()
        self.refresh()

    def names(self) -> tuple[str, ...]:
        """All names, the default model first."""
        return tuple(self._models)

    def catalogue(self) -> tuple[ModelInfo, ...]:
        """All models, the default first, as far as they are known: nothing is loaded for it."""
        return tuple(_describe(name, versions) for name, versions in self._models.items())

    def loaded(self) -> frozenset[LoadedModel]:
        """What is in memory."""
        versions = [version for found in self._models.values() for version in found.values()]
        return frozenset(version.model for version in versions if version.model is not None)

    def loaded_count(self) -> int:
        """How many versions of models are in memory."""
        return len(self.loaded())

    def watch(self, user: User) -> None:
        """Tell `user`, as long as it lives, when models have left the memory."""
        self._users.add(user)

    def add(self, path: Path) -> LoadedModel:
        """Add the file at `path` under its name, in place of a model of that name, and load it."""
        files = files_at(path)
        with self._changes():
            self._added[files.name] = (files,)
            self._publish({**self._models, files.name: {files.version: self._new(files)}})
        return self.get(files.name)

    def get(self, name: str = "", version: str = "") -> LoadedModel:
        """A model ("" = default, the latest version that can be used).

        Raises NotFound, ModelRejected or ModelUnloaded.
        """
        versions = self._versions(name)
        if version:
            return _find(name, versions, version).get()
        refusals = []
        for candidate in versions.values():
            try:
                return candidate.get()
            except (ModelRejected, ModelUnloaded) as error:
                refusals.append(error)
        raise refusals[0]

    def info(self, name: str, version: str = "") -> ModelInfo:
        """What is known of a model; a broken file is described, not raised."""
        with contextlib.suppress(ModelRejected, ModelUnloaded):
            self.get(name, version)
        return _describe(name or self.default_name, self._versions(name), version)

    def known(self, name: str, version: str = "") -> ModelInfo:
        """As `info`: what was loaded stays in memory."""
        return self.info(name, version)

    def stamp(self, name: str, version: str) -> Stamp:
        """Of the files of a version as they are. Raises NotFound."""
        return _find(name, self._versions(name), version).files.stamp()

    def seen(self, name: str, version: str) -> Stamp | None:
        """Of the files of a version as they were read last, if they were. Raises NotFound."""
        return _find(name, self._versions(name), version).seen

    def layers(self, name: str, version: str = "") -> tuple[ModelInfo, tuple[Layer, ...]]:
        """A model and its layers; raises NotFound, ModelRejected or ModelUnloaded."""
        model = self.get(name, version)
        return model.info, model.layers

    def load(self, name: str, version: str = "") -> ModelInfo:
        """Load a model, or load it anew if its files changed; `version` "" = the latest there is.

        Where that fails, what was loaded before is served on. Raises NotFound or ModelRejected.
        """
        name = name or self.default_name
        with self._changes():
            if (found := self._found().get(name)) is not None:
                self._publish({**self._models, name: self._followed(name, found)})
            versions = self._versions(name)
            for other in versions.values() if not version else ():
                other.unloaded = False
            chosen = _find(name, versions, version or next(iter(versions)))
            chosen.load()
        return _describe(name, versions, chosen.files.version)

    def unload(self, name: str, version: str = "") -> None:
        """Serve a model no more, until it is loaded again; `version` "" = all of them.

        Requests that run are finished; the memory is free when the last of them is. Raises
        NotFound.
        """
        with self._changes():
            versions = self._versions(name)
            for unloaded in [_find(name, versions, version)] if version else versions.values():
                unloaded.unload()

    def refresh(self) -> None:
        """Look for models that came, changed or went, and load anew what had been loaded."""
        with self._changes():
            found = self._found()
            self._publish({name: self._followed(name, files) for name, files in found.items()})

    def news(self, name: str, version: str | None = None) -> Mapping[str, Stamp]:
        """By version, files that `refresh` would read, or `load` of `version` if that is given.

        Empty where nothing is loaded that could suffer.
        """
        found, known = self._found().get(name, ()), self._models.get(name, {})
        if not found or not any(other.model for other in known.values()):
            return {}
        latest = found[0].version
        chosen = latest if version == "" else version
        news = {}
        for files in found:
            number, stamp = files.version, files.stamp()
            other = known.get(number) or self._new(files)
            is_read = number == chosen or other.is_followed(wanted=number == latest)
            if is_read and stamp != other.seen:
                news[number] = stamp
        return news

    @contextlib.contextmanager
    def _changes(self) -> Iterator[None]:
        """One change after another; users are told when models left the memory."""
        with self._changing:
            before = self.loaded()
            try:
                yield
            finally:
                if before - self.loaded():
                    resized.cache_clear()
                    for user in list(self._users):
                        user.tidy()

    def _found(self) -> dict[str, tuple[ModelFiles, ...]]:
        """The files of all models as they are now."""
        embedded = {self.default_name: (files_at(embedded_model()),)}
        if self._mirror is not None:
            self._mirror.update()
        listed = {} if self.directory is None else scan(self.directory)
        return embedded | listed | self._added

    def _followed(self, name: str, found: tuple[ModelFiles, ...]) -> Versions:
        """The versions of a model whose files were `found`; those it has, while none is better.

        A new version of a model that is in use is loaded before anybody is given it; then the older
        ones leave the memory until they are asked for by number.
        """
        known = self._models.get(name, {})
        in_use = [version for version in known.values() if version.model is not None]
        unloaded = bool(known) and all(version.unloaded for version in known.values())
        versions = {
            files.version: known.get(files.version) or self._new(files, unloaded=unloaded)
            for files in found
        }
        for files in found:
            versions[files.version].follow(files, wanted=bool(in_use) and files is found[0])
        if found and versions[found[0].version].model and found[0].version not in known:
            for older in in_use:
                older.release()
        if in_use and not any(version.model for version in versions.values()):
            versions |= {version.files.version: version for version in in_use}
        return dict(sorted(versions.items(), key=lambda item: -int(item[0])))

    def _new(self, files: ModelFiles, *, unloaded: bool = False) -> Version:
        return Version(files, unloaded, reading=self._reading)

    def _publish(self, models: dict[str, Versions]) -> None:
        """Let everybody see `models`, the default first, the others by name."""
        order = sorted(models, key=lambda name: (name != self.default_name, name))
        self._models = {name: models[name] for name in order}

    def _versions(self, name: str) -> Versions:
        models, name = self._models, name or self.default_name
        if name not in models:
            raise NotFound("model", name, models)
        return models[name]


def _find(name: str, versions: Versions, version: str) -> Version:
    if version not in versions:
        raise NotFound(f"version of model {name!r}", version, versions)
    return versions[version]


def _describe(name: str, versions: Versions, version: str = "") -> ModelInfo:
    """What the catalogue says; `version` "" = the one a request gets that names none."""
    infos = [known.info() for known in versions.values()]
    states = tuple(
        ModelVersion(version=info.version, state=info.state, sha256=info.sha256, error=info.error)
        for info in infos
    )
    likeliest = sorted(infos, key=lambda info: info.state == "unavailable")
    chosen = _find(name, versions, version).info() if version else likeliest[0]
    return replace(chosen, versions=states)
