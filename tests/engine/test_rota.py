"""The rota: beside others a client climbs one model at a time, alone as many as it likes."""

from __future__ import annotations

from collections import Counter

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unitscope.engine.rota import PATIENCE_SECONDS, TURN_SECONDS, Order, Rota

MANY: dict[str, tuple[str, ...]] = {"many": ("a", "b", "c"), "few": ("d",)}


class Workers:
    """They follow orders, and rest when they are told to; `climbs` are those who may."""

    def __init__(self) -> None:
        self.rota = Rota()
        self.paused: set[tuple[str, str]] = set()
        self.resting: list[Order] = []
        self.now = 0.0

    def look(self, climbing: dict[str, tuple[str, ...]], seconds: float = 0.0) -> None:
        self.now += seconds
        for order in self.rota.orders(climbing, self.now):
            whom = (order.client, order.model)
            assert (whom in self.paused) == (order.method == "resume")
            if order.method == "pause":
                self.paused.add(whom)
                self.resting.append(order)
            else:
                self.paused.discard(whom)

    def rest(self, *models: str) -> None:
        rested = [order for order in self.resting if order.model in models]
        self.resting = [order for order in self.resting if order.model not in models]
        for order in rested:
            self.rota.rested(order, self.now)

    def climbs(self, climbing: dict[str, tuple[str, ...]]) -> list[str]:
        pairs = {(client, model) for client, models in climbing.items() for model in models}
        return sorted(model for _, model in pairs - self.paused)


def test_a_client_beside_another_climbs_one_model_after_another() -> None:
    workers = Workers()
    workers.look(MANY)
    assert workers.climbs(MANY) == ["a", "d"]
    workers.rest("b", "c")
    seen = []
    for _ in range(6):
        seen.append(workers.climbs(MANY)[0])
        workers.look(MANY, TURN_SECONDS)
        assert workers.climbs(MANY) == ["d"]  # until its step has ended
        workers.rest("a", "b", "c")
        workers.look(MANY)
    assert seen == ["a", "b", "c"] * 2


def test_who_is_alone_or_has_one_model_is_not_held() -> None:
    workers = Workers()
    workers.look({"many": ("a", "b", "c")})
    workers.look({"one": ("a",), "other": ("b",)})
    workers.look({})
    assert not workers.paused and workers.rota.seconds_left(workers.now) is None
    workers.look(MANY)
    assert workers.rota.seconds_left(workers.now) == TURN_SECONDS
    workers.look({"many": ("a", "b", "c")})
    assert not workers.paused


def test_a_long_step_counts_as_long_as_it_is() -> None:
    workers, spent = Workers(), Counter[str]()
    for _ in range(80):
        workers.look(MANY)
        model, _ = workers.climbs(MANY)
        spent[model] += 10 if model == "a" else 1
        workers.look(MANY, TURN_SECONDS)
        workers.now += 9 * TURN_SECONDS if model == "a" else 0
        workers.rest("a", "b", "c")
    assert max(spent.values()) - min(spent.values()) <= 10


def test_a_worker_that_is_stuck_does_not_keep_its_client_from_other_models() -> None:
    workers = Workers()
    workers.look(MANY)
    workers.rest("b", "c")
    workers.look(MANY, TURN_SECONDS)
    workers.look(MANY, PATIENCE_SECONDS / 2)
    assert workers.climbs(MANY) == ["d"]
    workers.look(MANY, PATIENCE_SECONDS / 2)
    assert workers.climbs(MANY) == ["b", "d"]


def test_a_worker_that_died_pauses_nobody() -> None:
    workers = Workers()
    workers.look(MANY)
    workers.rota.died("b", workers.now)
    workers.paused.remove(("many", "b"))
    workers.look(MANY)
    assert workers.climbs(MANY) == ["a", "d"]


class Shifts(RuleBasedStateMachine):
    """Clients and models come and go, workers rest at once, late or never, and die."""

    CLIENTS, MODELS = ("x", "y", "z"), ("a", "b", "c", "d")

    def __init__(self) -> None:
        super().__init__()
        self.workers = Workers()
        self.climbing: dict[str, tuple[str, ...]] = {}
        self.waited: dict[tuple[str, str], float] = {}

    @rule(client=st.sampled_from(CLIENTS), models=st.sets(st.sampled_from(MODELS)))
    def come_and_go(self, client: str, models: set[str]) -> None:
        self.climbing = {**self.climbing, client: tuple(models)}
        self.climbing = {client: models for client, models in self.climbing.items() if models}
        self.workers.look(self.climbing)

    @precondition(lambda self: self.workers.resting)
    @rule(model=st.sampled_from(MODELS))
    def rest(self, model: str) -> None:
        self.workers.rest(model)
        self.workers.look(self.climbing)

    @rule(model=st.sampled_from(MODELS))
    def die(self, model: str) -> None:
        workers = self.workers
        workers.rota.died(model, workers.now)
        workers.paused = {paused for paused in workers.paused if paused[1] != model}
        workers.resting = [order for order in workers.resting if order.model != model]
        workers.look(self.climbing)

    @rule()
    def wait(self) -> None:
        seconds = self.workers.rota.seconds_left(self.workers.now)
        if seconds is not None:
            for paused in self.workers.paused:
                self.waited[paused] = self.waited.get(paused, 0.0) + seconds
            self.workers.look(self.climbing, seconds + 1e-9)

    @invariant()
    def one_at_a_time_beside_others_and_nobody_waits_for_ever(self) -> None:
        climbing, paused = self.climbing, self.workers.paused
        self.waited = {pair: waited for pair, waited in self.waited.items() if pair in paused}
        assert all(model in climbing.get(client, ()) for client, model in paused)
        for client, models in climbing.items():
            free = [model for model in models if (client, model) not in paused]
            shared = len(climbing) > 1 and len(models) > 1
            assert len(free) <= 1 if shared else len(free) == len(models)
        longest = 3 * len(self.MODELS) * (TURN_SECONDS + PATIENCE_SECONDS)
        assert all(waited <= longest for waited in self.waited.values())


TestShifts = Shifts.TestCase
