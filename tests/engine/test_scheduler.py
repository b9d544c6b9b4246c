"""The scheduler: nobody is lost, nobody is starved, clients share the time."""

from __future__ import annotations

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unitscope.engine.scheduler import Scheduler


def turns(scheduler: Scheduler[str], count: int, cost: float = 1.0) -> list[str]:
    """Who has the next turns, one each."""
    found = []
    for _ in range(count):
        row = scheduler.schedule()
        assert row is not None
        scheduler.charge([row], cost)
        found.append(row)
    return found


def test_rows_take_turns_in_order_of_arrival() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=2)
    for row in "abc":
        scheduler.add(row)
    assert turns(scheduler, 4) == ["a", "b", "a", "b"]
    assert (scheduler.running, len(scheduler)) == (2, 3)
    assert scheduler.remove("a")
    assert Counter(turns(scheduler, 6))["c"] >= 2
    assert not scheduler.remove("a")


def test_nothing_to_do_is_none() -> None:
    assert Scheduler[str](max_active=2).schedule() is None


def test_a_request_that_comes_late_starts_within_two_turns() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=16)
    scheduler.add("long")
    turns(scheduler, 1000)
    scheduler.add("short")
    assert "short" in turns(scheduler, 2)
    scheduler.add("other's", client="other")
    assert "other's" in turns(scheduler, 2)


def test_two_requests_are_not_behind_anothers_hundred() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=16)
    for number in range(100):
        scheduler.add(f"many-{number}", client="many")
    for number in range(2):
        scheduler.add(f"few-{number}", client="few")
    served = Counter(row.split("-")[0] for row in turns(scheduler, 40))
    assert served == {"many": 20, "few": 20}


def test_time_counts_and_not_turns() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=16)
    scheduler.add("slow", client="a")
    scheduler.add("fast", client="b")
    spent: Counter[str] = Counter()
    for _ in range(110):
        row = scheduler.schedule()
        assert row is not None
        cost = 10 if row == "slow" else 1
        scheduler.charge([row], cost)
        spent[row] += cost
    assert abs(spent["slow"] - spent["fast"]) <= 10


def test_a_weight_makes_a_share_larger_and_takes_nobodys_away() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=2)
    scheduler.add("low", weight=0.25)
    scheduler.add("normal")
    scheduler.add("high", weight=4.0)
    assert turns(scheduler, 10).count("high") == 8
    scheduler.remove("high")
    assert turns(scheduler, 50).count("low") in (9, 10, 11)


def test_who_comes_along_is_not_held_back_later() -> None:
    """`a` and `b` have one program, `c` another: `b` rides with `a` for nothing."""
    scheduler: Scheduler[str] = Scheduler(max_active=4)
    for name in "abc":
        scheduler.add(name, client=name)
    for _ in range(30):
        row = scheduler.schedule()
        assert row is not None
        mates = scheduler.company(row, 7, "ab".__contains__) if row in "ab" else []
        scheduler.charge([row, *mates], 1.0 + len(mates))
    scheduler.remove("a")
    assert 9 <= turns(scheduler, 20).count("b") <= 11


def test_a_client_that_is_paused_has_no_turns_and_is_owed_none() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=4)
    for name in "abc":
        scheduler.add(name, client=name)
    scheduler.pause("a")
    assert Counter(turns(scheduler, 10)) == {"b": 5, "c": 5}
    assert scheduler.company("b", 5, lambda _: True) == ["c"]
    scheduler.pause("b")
    scheduler.pause("c")
    assert scheduler.schedule() is None and scheduler.running == 3
    scheduler.charge("c", 1.0)  # whose turn it was when it was paused
    for name in "abc":
        scheduler.resume(name)
    assert max(Counter(turns(scheduler, 30)).values()) <= 12


def test_who_is_ending_has_turns_and_leaves_its_place_to_another() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=1)
    for row in "ab":
        scheduler.add(row)
    assert turns(scheduler, 3) == ["a"] * 3
    scheduler.make_room("a")
    scheduler.make_room("a")
    assert Counter(turns(scheduler, 4)) == {"a": 2, "b": 2} and scheduler.running == 2
    assert scheduler.remove("a")
    assert turns(scheduler, 2) == ["b"] * 2
    scheduler.make_room("b")
    assert turns(scheduler, 1) == ["b"] and scheduler.remove("b") and scheduler.schedule() is None


def test_company_is_who_fits_and_takes_turns() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=3)
    for row in ("a1", "b1", "a2", "a3"):
        scheduler.add(row)
    assert scheduler.company("a1", 5, lambda row: row.startswith("a")) == ["a2"]
    assert scheduler.company("a1", 1, lambda _: True) == ["b1"]
    assert scheduler.company("a1", 0, lambda _: True) == []


@given(places=st.integers(1, 5), count=st.integers(1, 12), steps=st.integers(1, 4))
@settings(deadline=None)
def test_everybody_finishes_within_the_sum_of_steps(places: int, count: int, steps: int) -> None:
    scheduler: Scheduler[int] = Scheduler(max_active=places)
    left = dict.fromkeys(range(count), steps)
    for row in left:
        scheduler.add(row)
    for _ in range(count * steps):
        turn = scheduler.schedule()
        assert turn is not None
        scheduler.charge([turn], 1.0)
        left[turn] -= 1
        if not left[turn]:
            assert scheduler.remove(turn)
    assert scheduler.schedule() is None and not any(left.values())


class Turns(RuleBasedStateMachine):
    """Clients that come and go with requests of two programs, and turns of any cost.

    Who is paused waits for nothing.
    """

    CLIENTS = ("a", "b", "c")

    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler[tuple[str, int]] = Scheduler(max_active=3)
        self.present: list[tuple[str, int]] = []
        self.paused: set[str] = set()
        self.waited: dict[str, float] = {}
        self.dearest = 0.0
        self.next_row = 0

    @rule(client=st.sampled_from(CLIENTS), weight=st.sampled_from([0.25, 1.0, 4.0]))
    def add(self, client: str, weight: float) -> None:
        row = (client, self.next_row)
        self.next_row += 1
        self.scheduler.add(row, client=client, weight=weight)
        self.present.append(row)
        if client not in self.paused:
            self.waited.setdefault(client, 0.0)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.present))
        self.present.remove(row)
        assert self.scheduler.remove(row)
        if all(client != row[0] for client, _ in self.present):
            self.waited.pop(row[0], None)

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def make_room(self, data: st.DataObject) -> None:
        self.scheduler.make_room(data.draw(st.sampled_from(self.present)))

    @rule(client=st.sampled_from(CLIENTS))
    def pause(self, client: str) -> None:
        self.scheduler.pause(client)
        self.paused.add(client)
        self.waited.pop(client, None)

    @rule(client=st.sampled_from(CLIENTS))
    def resume(self, client: str) -> None:
        self.scheduler.resume(client)
        self.paused.discard(client)
        if any(other == client for other, _ in self.present):
            self.waited.setdefault(client, 0.0)

    @rule(cost=st.floats(0.001, 10.0), count=st.integers(0, 3))
    def turn(self, cost: float, count: int) -> None:
        row = self.scheduler.schedule()
        free = {one for one in self.present if one[0] not in self.paused}
        assert (row is None) == (not free)
        if row is None:
            return
        mates = self.scheduler.company(row, count, lambda other: other[1] % 2 == row[1] % 2)
        assert len({row, *mates}) == 1 + len(mates) <= 1 + count
        assert {row, *mates} <= free
        self.scheduler.charge([row, *mates], cost)
        self.dearest = max(self.dearest, cost)
        served = {client for client, _ in (row, *mates)}
        for client in self.waited:
            self.waited[client] = 0.0 if client in served else self.waited[client] + cost

    @invariant()
    def nobody_starves(self) -> None:
        """A client with work waits no longer than the others' dearest turns, a few of each."""
        assert len(self.scheduler) == len(self.present)
        longest = 3 * len(self.CLIENTS) * 4 * self.dearest
        assert all(waited <= longest for waited in self.waited.values())


TestTurns = Turns.TestCase
