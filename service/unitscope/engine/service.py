"""What the doors need of whatever serves them, wherever it runs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from unitscope.engine.attribution import AttributeRequest
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.ticket import AttributionTicket, Ticket
from unitscope.graph.layers import Layer


@dataclass(frozen=True, slots=True)
class Stats:
    """A glance at a service: requests that wait or compile, those that take turns, programs."""

    queue_depth: int
    active: int
    programs: int


class Models(Protocol):
    """The models at hand. Methods may take as long as loading a model does."""

    def names(self) -> tuple[str, ...]:
        """All names, the default model first."""

    def loaded_count(self) -> int:
        """How many models are in memory."""

    def info(self, name: str) -> ModelInfo:
        """What is known of a model; a broken file is described, not raised. Raises NotFound."""

    def layers(self, name: str) -> tuple[ModelInfo, tuple[Layer, ...]]:
        """A model and its layers; raises NotFound or ModelRejected."""


class Service(Protocol):
    """Serves requests until closed. All methods may be called from any thread."""

    @property
    def models(self) -> Models:
        """What can be asked for."""

    def submit(self, request: MaximizeRequest) -> Ticket:
        """Take a request in; loads its model if need be.

        Raises InvalidRequest, NotFound, ModelRejected, QueueFull or ShuttingDown.
        """

    def attribute(self, request: AttributeRequest) -> AttributionTicket:
        """Take an attribution in, at once; its ticket knows what loading its model raises.

        Raises InvalidRequest, QueueFull or ShuttingDown.
        """

    def stats(self) -> Stats:
        """A glance at it."""

    def close(self, drain_seconds: float = 0.0) -> None:
        """Take no more; let requests finish for `drain_seconds`, then cancel the rest."""
