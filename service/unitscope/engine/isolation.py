"""Where models run: each in a process of its own, or all in this one."""

from __future__ import annotations

import os
from dataclasses import dataclass

from unitscope.engine.climber import Observer
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.repository import Repository
from unitscope.engine.service import Service
from unitscope.engine.supervisor import Supervisor


@dataclass(frozen=True, slots=True, kw_only=True)
class IsolationSettings:
    """`max_workers`: processes that models run in, one each; 0: they run in the server's own.

    The one that was idle for the longest time makes room for another. Each has its own turns and
    programs, as the engine's settings say; requests are counted over all of them, and a client
    climbs one model at a time while others climb too.
    `worker_memory_bytes`: of data that each may have; 0 = no limit. `load_seconds`: a worker in
    which a model takes longer to load is ended; 0 = no limit. In the server's own process nothing
    can end it.
    """

    max_workers: int = 8
    worker_memory_bytes: int = 0
    load_seconds: float = 300.0


def open_service(
    models: str | os.PathLike[str] | None,
    settings: EngineSettings,
    isolation: IsolationSettings,
    observer: Observer | None = None,
) -> Service:
    """Serves the models of a directory, each in a process of its own or all in this one."""
    if isolation.max_workers == 0:
        return Engine(Repository(models), settings, observer)
    return Supervisor(
        models,
        settings,
        observer,
        max_workers=isolation.max_workers,
        worker_memory_bytes=isolation.worker_memory_bytes,
        load_seconds=isolation.load_seconds,
    )
