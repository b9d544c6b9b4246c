"""Services on the small models: the engine itself, or workers behind a supervisor."""

from __future__ import annotations

from contextlib import AbstractContextManager, closing
from pathlib import Path

from unitscope.engine.climber import Observer
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.isolation import IsolationSettings, open_service
from unitscope.engine.repository import Repository
from unitscope.engine.service import Service

Models = Repository | Path
"""A repository is served in this process, a directory by workers."""


def serving(
    models: Models,
    settings: EngineSettings = EngineSettings(),  # noqa: B008  frozen
    observer: Observer | None = None,
) -> AbstractContextManager[Service]:
    """Serve `models` until the block is left."""
    if isinstance(models, Repository):
        return closing(Engine(models, settings, observer))
    return closing(open_service(models, settings, IsolationSettings(), observer))
