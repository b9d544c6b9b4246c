"""The builder: who finds no memory waits, and is passed by a few."""

from __future__ import annotations

from contextlib import closing
from queue import SimpleQueue

from unitscope.engine.builder import MAX_PASSED, Builder


class Memory:
    """There is room for all but those who are `large`; `done`: who had it, in order."""

    def __init__(self) -> None:
        self.large = {"large", "larger"}
        self.done: SimpleQueue[str] = SimpleQueue()

    def build(self, row: str) -> bool:
        if row in self.large:
            return False
        self.done.put(row)
        return True

    def next(self, count: int) -> list[str]:
        return [self.done.get(timeout=60) for _ in range(count)]


def test_who_waits_is_passed_by_so_many_and_is_then_the_next() -> None:
    memory = Memory()
    with closing(Builder(memory.build)) as builder:
        builder.add("large")
        for number in range(MAX_PASSED + 2):
            builder.add(f"small-{number}")
        assert memory.next(MAX_PASSED)[-1] == f"small-{MAX_PASSED - 1}"
        builder.retry()  # nothing is free
        builder.add("late")
        builder.add("larger")
        builder.close()
        assert memory.done.empty()


def test_who_waits_is_served_in_order_of_arrival() -> None:
    memory = Memory()
    with closing(Builder(memory.build)) as builder:
        for row in ("large", "small", "larger"):
            builder.add(row)
        assert memory.next(1) == ["small"]
        memory.large = {"larger"}
        builder.retry()
        assert memory.next(1) == ["large"]
        for number in range(MAX_PASSED):  # it counts anew for the next
            builder.add(f"{number}")
        assert len(memory.next(MAX_PASSED)) == MAX_PASSED
        memory.large = set()
        builder.add("last")
        builder.retry()
        assert memory.next(2) == ["larger", "last"]
