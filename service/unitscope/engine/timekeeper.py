"""Has the rota followed while requests come and go."""

from __future__ import annotations

import threading
import time
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from functools import partial
from typing import Protocol

from unitscope.engine.rota import Order, Rota


class Crew(Protocol):
    """Whoever has the workers; asked while `changed` is held."""

    def climbing(self) -> Mapping[str, Collection[str]]:
        """The models that each client has requests for."""

    def follow(self, order: Order) -> Future[None]:
        """Pass an order on; the answer comes when it is followed."""


class Timekeeper:
    """A thread that looks when `changed` is notified or a turn is over, until it is closed."""

    def __init__(self, crew: Crew, changed: threading.Condition) -> None:
        self._crew = crew
        self._changed = changed
        self._rota = Rota()
        self._closed = False
        self._thread = threading.Thread(target=self._run, name="unitscope-rota", daemon=True)
        self._thread.start()

    def died(self, model: str) -> None:
        """The worker of `model` pauses nobody any more; told while `changed` is held."""
        self._rota.died(model, time.monotonic())

    def close(self) -> None:
        """Give no more orders."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        with self._changed:
            while not self._closed:
                for order in self._rota.orders(self._crew.climbing(), time.monotonic()):
                    answer = self._crew.follow(order)
                    answer.add_done_callback(partial(self._followed, order))
                self._changed.wait(self._rota.seconds_left(time.monotonic()))

    def _followed(self, order: Order, answer: Future[None]) -> None:
        if answer.exception() is None:  # else its worker has died
            with self._changed:
                self._rota.rested(order, time.monotonic())
                self._changed.notify_all()
