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

    def pause(self, model: str, client: str) -> Future[None]:
        """Let `client` climb `model` no further; the answer comes when it does not any more."""

    def resume(self, model: str, client: str) -> None:
        """Let `client` climb `model` again, if that still has a worker."""


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
                    self._pass_on(order)
                self._changed.wait(self._rota.seconds_left(time.monotonic()))

    def _pass_on(self, order: Order) -> None:
        if order.method == "resume":
            self._crew.resume(order.model, order.client)
        else:
            answer = self._crew.pause(order.model, order.client)
            answer.add_done_callback(partial(self._rested, order))

    def _rested(self, order: Order, answer: Future[None]) -> None:
        if answer.exception() is None:  # else its worker has died
            with self._changed:
                self._rota.rested(order, time.monotonic())
                self._changed.notify_all()
