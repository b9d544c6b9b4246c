"""The scheduler: nobody is lost, nobody is starved, nobody exceeds the places."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from unitscope.engine.scheduler import Scheduler


def test_rows_take_turns_in_order_of_arrival() -> None:
    scheduler: Scheduler[str] = Scheduler(max_active=2)
    for row in "abc":
        scheduler.add(row)
    assert [scheduler.schedule() for _ in range(4)] == ["a", "b", "a", "b"]
    assert (scheduler.running, scheduler.waiting) == (2, 1)
    assert scheduler.remove("a")
    assert [scheduler.schedule() for _ in range(4)] == ["b", "c", "b", "c"]
    assert not scheduler.remove("a")


def test_nothing_to_do_is_none() -> None:
    assert Scheduler[str](max_active=2).schedule() is None


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
        left[turn] -= 1
        if not left[turn]:
            assert scheduler.remove(turn)
    assert scheduler.schedule() is None and not any(left.values())


class Turns(RuleBasedStateMachine):
    """Adding, removing and scheduling in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.scheduler: Scheduler[int] = Scheduler(max_active=3)
        self.present: list[int] = []
        self.since_turn: dict[int, int] = {}
        self.next_row = 0

    @rule()
    def add(self) -> None:
        self.scheduler.add(self.next_row)
        self.present.append(self.next_row)
        self.next_row += 1

    @precondition(lambda self: self.present)
    @rule(data=st.data())
    def remove(self, data: st.DataObject) -> None:
        row = data.draw(st.sampled_from(self.present))
        self.present.remove(row)
        self.since_turn.pop(row, None)
        assert self.scheduler.remove(row)

    @rule()
    def schedule(self) -> None:
        row = self.scheduler.schedule()
        assert (row is None) == (not self.present)
        if row is None:
            return
        assert row in self.present
        self.since_turn = {other: turns + 1 for other, turns in self.since_turn.items()} | {row: 0}

    @invariant()
    def running_rows_wait_less_than_a_round(self) -> None:
        assert self.scheduler.running <= 3
        assert self.scheduler.running + self.scheduler.waiting == len(self.present)
        assert all(turns < 6 for turns in self.since_turn.values())


TestTurns = Turns.TestCase
