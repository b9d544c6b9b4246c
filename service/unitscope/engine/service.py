"""What the doors need of whatever serves them, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.request import NOBODY, Caller, MaximizeRequest
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.graph.layers import Layer


@dataclass(frozen=True, slots=True)
class Stats:
    """A glance at a service: requests that wait or compile, those that take turns, programs.

    `program_bytes`: what the programs take, the weights they share counted once.
    `nodes_elsewhere`: of programs, those that their device leaves to the processor.
    """

    queue_depth: int
    active: int
    programs: int
    program_bytes: int
    nodes_elsewhere: int


class Models(Protocol):
    """The models at hand. All but the first two methods may take as long as loading a model does.

    `name`: "" = the default model. `version`: "" = the latest that can be used.
    """

    def catalogue(self) -> tuple[ModelInfo, ...]:
        """All models, the default first, as far as they are known: nothing is loaded for it."""

    def loaded_count(self) -> int:
        """How many versions of models are in memory."""

    def info(self, name: str, version: str = "") -> ModelInfo:
        """What is known of a model; a broken file is described, not raised. Raises NotFound."""

    def known(self, name: str, version: str = "") -> ModelInfo:
        """As `info`, but nothing is loaded anew for files that are as they were."""

    def layers(self, name: str, version: str = "") -> tuple[ModelInfo, tuple[Layer, ...]]:
        """A model and its layers; raises NotFound, ModelRejected or ModelUnloaded."""

    def load(self, name: str, version: str = "") -> ModelInfo:
        """Load a model, or load it anew if its files changed; `version` "" = the latest there is.

        Where that fails, what was loaded before is served on. Raises NotFound or ModelRejected.
        """

    def unload(self, name: str, version: str = "") -> None:
        """Serve a model no more, until it is loaded again; `version` "" = all of them.

        Requests that run are finished; the memory is free when the last of them is. Raises
        NotFound.
        """

    def refresh(self) -> None:
        """Look for models that came, changed or went, and load anew what had been loaded."""


class Service(Protocol):
    """Serves requests until closed. All methods may be called from any thread."""

    @property
    def models(self) -> Models:
        """What can be asked for."""

    def submit(self, request: MaximizeRequest, caller: Caller = NOBODY) -> Ticket:
        """Take a request in; loads its model if need be.

        Raises InvalidRequest, NotFound, ModelRejected, QueueFull, DeadlineExceeded or ShuttingDown.
        """

    def attribute(self, request: AttributeRequest) -> AttributionTicket:
        """Take an attribution in, at once; its ticket knows what loading its model raises.

        Raises InvalidRequest, QueueFull or ShuttingDown.
        """

    def stats(self) -> Stats:
        """A glance at it."""

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more; let requests finish for `drain_seconds`, then cancel the rest."""
