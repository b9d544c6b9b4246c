"""Programs: built once, kept within the budget, never taken from who holds them."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import pytest

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Executor, Program
from unitscope.engine.plan import resolve
from unitscope.engine.programs import Programs
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.errors import ProgramTooLarge

ROOM_FOR_TWO = 7 << 18
"""Each of these programs takes a little less than three quarters of a mebibyte."""

SpecOf = Callable[[int], ProgramSpec]


@pytest.fixture(name="spec")
def specs_by_size(repository: Repository) -> SpecOf:
    """A spec by the size of its picture."""

    def spec(size: int) -> ProgramSpec:
        request = MaximizeRequest(unit=0, model="small", image_size_px=size)
        return resolve(request, repository.get("small")).stages[-1].spec

    return spec


class Built:
    """Programs, and how many were built."""

    def __init__(self, memory_bytes: int = ROOM_FOR_TWO) -> None:
        self.count = 0
        self.programs = Programs(
            Executor(threads=1), memory_bytes=memory_bytes, compiled=self._compiled
        )

    def _compiled(self, seconds: float) -> None:
        assert seconds > 0
        self.count += 1


def test_the_least_recently_used_leaves_first(spec: SpecOf) -> None:
    built = Built()
    programs = built.programs
    first, second = programs.get(spec(8)), programs.get(spec(16))
    assert programs.get(spec(8)) is first and programs.find(spec(16)) is second
    assert programs.find(spec(8)) is first
    programs.get(spec(20))
    assert programs.find(spec(16)) is None and programs.find(spec(8)) is first
    assert built.count == 3 and len(programs) == 2
    assert 0 < programs.taken_bytes <= ROOM_FOR_TWO


def hold(programs: Programs, spec: ProgramSpec) -> Program:
    """Where there is room."""
    program = programs.hold(spec)
    assert program is not None
    return program


def test_a_held_program_stays_until_all_have_released_it(spec: SpecOf) -> None:
    programs = Built().programs
    held = hold(programs, spec(8))
    assert programs.hold(spec(8)) is held
    for size in (16, 20, 12):
        programs.get(spec(size))
    assert programs.find(spec(8)) is held
    programs.release(held)
    for size in (16, 20):
        programs.get(spec(size))
    assert programs.find(spec(8)) is held
    programs.release(held)
    for size in (16, 20):
        programs.get(spec(size))
    assert programs.find(spec(8)) is None


def test_who_may_not_wait_is_told_what_room_there_is(spec: SpecOf) -> None:
    programs = Built().programs
    one, other = hold(programs, spec(8)), hold(programs, spec(16))
    with pytest.raises(ProgramTooLarge) as caught:
        programs.get(spec(20))
    assert caught.value.available_bytes < caught.value.estimated_bytes < ROOM_FOR_TWO
    assert programs.room_bytes() == caught.value.available_bytes
    assert programs.find(spec(8)) is one and programs.find(spec(16)) is other
    programs.release(other)
    assert programs.room_bytes() > caught.value.estimated_bytes


def test_who_finds_no_room_asks_again_and_keeps_nobody_waiting(spec: SpecOf) -> None:
    built = Built()
    programs = built.programs
    one, other = hold(programs, spec(8)), hold(programs, spec(16))
    for _ in range(2):
        assert programs.hold(spec(20)) is None
    assert hold(programs, spec(8)) is one
    for _ in range(2):
        programs.release(one)
    assert hold(programs, spec(20)).spec == spec(20)
    assert programs.find(spec(8)) is None and programs.find(spec(16)) is other
    assert built.count == 3


def test_what_is_too_large_is_refused_and_leaves_nothing_behind(spec: SpecOf) -> None:
    built = Built()
    for _ in range(2):
        with pytest.raises(ProgramTooLarge, match="1 MiB may be taken") as caught:
            built.programs.hold(spec(512))
        assert caught.value.available_bytes == ROOM_FOR_TWO
    assert len(built.programs) == built.count == built.programs.taken_bytes == 0
    assert hold(built.programs, spec(8)).spec == spec(8)


def test_a_program_asked_for_by_many_is_built_once(spec: SpecOf) -> None:
    built, together = Built(), Barrier(6)

    def ask(size: int) -> object:
        together.wait(timeout=60)
        return built.programs.hold(spec(size))

    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(ask, (8, 16, 8, 16, 8, 16)))
    assert built.count == 2 and len({id(program) for program in found}) == 2
