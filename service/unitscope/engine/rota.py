"""Which of its models a client climbs while others climb too: decides without doing.

Each model has a worker process, and the operating system gives every busy one the same share of the
processor, whoever asks for it: a client of five models would have five shares beside another's one.
So while there are others a client climbs one model at a time. It is paused at the workers of the
rest, and its models have turns, as fairly as requests have within a worker (`scheduler.py`). A
client of one model is never paused, nor is one that is alone.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal

from unitscope.engine.scheduler import Scheduler

TURN_SECONDS = 0.1
"""Of a model, or as long as one of its steps takes."""
PATIENCE_SECONDS = 5.0
"""For the end of a step: a worker that is stuck does not keep its client from other models."""


@dataclass(frozen=True, slots=True, eq=False)
class Order:
    """What the worker of `model` is to do with `client`. `at`: when it was given."""

    method: Literal["pause", "resume"]
    model: str
    client: str
    at: float


@dataclass(slots=True)
class _Line:
    """The models of a client.

    `paused`: by model, the order that is yet to be followed, or None. `turn`: whose turn it is, and
    since when, until that rests.
    """

    models: Scheduler[str] = field(default_factory=lambda: Scheduler(max_active=1))
    known: frozenset[str] = frozenset()
    paused: dict[str, Order | None] = field(default_factory=dict)
    turn: tuple[str, float] | None = None

    def follow(self, models: frozenset[str], now: float) -> None:
        """Requests for other models came, or the last for one has gone."""
        for model in self.known - models:
            self.end_turn(model, now)
            self.models.remove(model)
        for model in sorted(models - self.known):
            self.models.add(model, client=model)
        self.known = models

    def wanted(self, now: float) -> frozenset[str]:
        """The models to pause: all but the one whose turn it is."""
        awaited = self.awaited(now)
        if self.turn is not None and self.turn[0] in self.paused and not awaited:
            self.end_turn(self.turn[0], now)  # it is stuck
        if self.turn is None and not awaited:
            model = self.models.schedule()
            assert model is not None
            self.turn = model, now
        if self.turn is None or now >= self.turn[1] + TURN_SECONDS:
            return self.known
        return self.known - {self.turn[0]}

    def awaited(self, now: float) -> list[Order]:
        """Orders that may be followed soon."""
        return [
            order for order in self.paused.values() if order and now < order.at + PATIENCE_SECONDS
        ]

    def end_turn(self, model: str, now: float) -> None:
        """Charge `model` with its turn, if it is its turn."""
        if self.turn is not None and self.turn[0] == model:
            self.models.charge([model], now - self.turn[1])
            self.turn = None

    def next_at(self, now: float) -> list[float]:
        """When a turn is over, and when patience is."""
        turns = [self.turn] if self.turn is not None and self.turn[0] not in self.paused else []
        awaited = self.awaited(now)
        return [
            *(since + TURN_SECONDS for _, since in turns),
            *(order.at + PATIENCE_SECONDS for order in awaited),
        ]


class Rota:
    """By client. Times are of one monotonic clock."""

    def __init__(self) -> None:
        self._lines: dict[str, _Line] = {}

    def orders(self, climbing: Mapping[str, Collection[str]], now: float) -> list[Order]:
        """What is to change; `climbing`: the models that each client has requests for."""
        given = []
        for client in self._lines.keys() | climbing.keys():
            line = self._lines.setdefault(client, _Line())
            line.follow(frozenset(climbing.get(client, ())), now)
            given += self._orders(client, line, now, others=len(climbing) > 1)
            if not line.known:
                del self._lines[client]
        return given

    def rested(self, order: Order, now: float) -> None:
        """A `pause` was followed: the last step has ended."""
        line = self._lines.get(order.client)
        if line is not None and line.paused.get(order.model) is order:
            line.paused[order.model] = None
            line.end_turn(order.model, now)

    def died(self, model: str, now: float) -> None:
        """Its worker is gone, and pauses nobody."""
        for line in self._lines.values():
            line.paused.pop(model, None)
            line.end_turn(model, now)

    def seconds_left(self, now: float) -> float | None:
        """Until `orders` has something to say if nothing else happens; None: it has not."""
        ends = [end for line in self._lines.values() for end in line.next_at(now)]
        return max(min(ends) - now, 0.0) if ends else None

    def _orders(self, client: str, line: _Line, now: float, *, others: bool) -> list[Order]:
        wanted = frozenset[str]()
        if others and len(line.known) > 1:
            wanted = line.wanted(now)
        else:
            line.turn = None
        free = [Order("resume", model, client, now) for model in line.paused.keys() - wanted]
        pause = [Order("pause", model, client, now) for model in wanted - line.paused.keys()]
        for order in free:
            del line.paused[order.model]
        line.paused |= {order.model: order for order in pause}
        return free + pause
