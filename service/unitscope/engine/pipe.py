"""What a supervisor and its workers say to each other.

Messages are pickled nouns, framed by `multiprocessing.connection`. A worker is there against
crashes, not against attackers: both sides trust what they read.

    supervisor → worker    Setup, then Calls
    worker → supervisor    Said …, Ended       with the number of the call
                           Report, Observed    of itself, whenever there is something new
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from unitscope.engine.engine import EngineSettings
from unitscope.engine.layout import Stamp
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.service import Stats

Method = Literal[
    "submit", "attribute", "info", "layers", "load", "unload", "refresh", "news", "rehearse",
    "cancel", "close", "pause", "resume",
]  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What a worker is for.

    `unloaded`: versions of its model that are not to be served; "" = all of them. `memory_bytes`:
    more than that is refused to it; 0 = no limit. `load_seconds`: a version that takes longer to
    load ends it; 0 = no limit.
    """

    model: str
    unloaded: frozenset[str]
    directory: Path | None
    settings: EngineSettings
    memory_bytes: int
    load_seconds: float


@dataclass(frozen=True, slots=True)
class Call:
    """Do `method` with `arguments`; of `cancel` the number of another call.

    To `cancel` and to `resume` there is no answer.
    """

    number: int
    method: Method
    arguments: tuple[Any, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """A part of the answer to a call: an event, an attribution, what is known of a model."""

    number: int
    content: Any


@dataclass(frozen=True, slots=True)
class Ended:
    """Nothing follows. `error`: what ended the call before its answer was complete."""

    number: int
    error: Exception | None


@dataclass(frozen=True, slots=True)
class Report:
    """How a worker is. `loaded`: versions in memory. `info`: None where the model is gone.

    `seen`: what the files of its version were when they were read. `seconds_until_room`: as it was
    when something else changed.
    """

    stats: Stats
    loaded: int
    info: ModelInfo | None
    seen: Stamp | None
    seconds_until_room: float = field(default=0.0, compare=False)


@dataclass(frozen=True, slots=True)
class Observed:
    """What the engine told its observer since it was last passed on: method and arguments."""

    told: tuple[tuple[Literal["step", "compiled"], tuple[Any, ...]], ...]


Message = Said | Ended | Report | Observed
"""What a worker says."""
