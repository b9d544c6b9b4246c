"""Compiled programs: kept by what decides them, within a budget of memory.

The least recently used program leaves first; one that is held never does. A program that is asked
for twice at once is built once.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial

import numpy as np

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Executor, Program
from unitscope.engine.sharing import Compiled, Footprint
from unitscope.errors import ProgramTooLarge

_REMEMBERED = 256
"""What so many programs take that found no room: those asked for last."""


@dataclass(slots=True)
class _Kept:
    """A program, and how many hold it."""

    program: Program
    holders: int


@dataclass(slots=True)
class _Building:
    """What is being built. `reserved_bytes`: room kept for it, once it is known what it takes."""

    done: Future[None] = field(default_factory=Future)
    reserved_bytes: int = 0


class Programs:
    """The programs of an executor. All methods may be called from any thread.

    `memory_bytes`: what they may take together, by their weights, which are counted once, what
    each session has of its own, and the results of the nodes of the largest. `compiled`: is told
    how many seconds a program took to build.
    """

    def __init__(
        self, executor: Executor, *, memory_bytes: int, compiled: Callable[[float], None]
    ) -> None:
        self._executor = executor
        self._memory_bytes = memory_bytes
        self._compiled = compiled
        self._kept: OrderedDict[ProgramSpec, _Kept] = OrderedDict()
        self._building: dict[ProgramSpec, _Building] = {}
        self._crowded: OrderedDict[ProgramSpec, Footprint] = OrderedDict()  # found no room
        self._lock = threading.Lock()
        self.taken_bytes = 0
        """What the programs take that are there."""
        self.nodes_elsewhere = 0
        """Their nodes that the device leaves to the processor."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, spec: ProgramSpec) -> Program | None:
        """The program of `spec`, if it is at hand."""
        with self._lock:
            kept = self._touch(spec)
            return None if kept is None else kept.program

    def get(self, spec: ProgramSpec) -> Program:
        """The program of `spec`, found or built; it may leave at any time.

        Raises ProgramTooLarge where it does not fit beside those that are held, and ModelRejected.
        """
        return self._obtain(spec, holders=0)

    def hold(self, spec: ProgramSpec) -> Program | None:
        """The program of `spec`, found or built, which stays until it is released as often.

        None while it does not fit beside those that others hold: who asks again must hold none.
        Raises ProgramTooLarge where it would not fit alone, and ModelRejected.
        """
        with self._lock:
            step, held = self._crowded.get(spec), self._held()
            if step is not None and self._room(held) < _added_bytes(held, spec, step):
                return None
        try:
            return self._obtain(spec, holders=1)
        except ProgramTooLarge as error:
            if error.estimated_bytes > self._memory_bytes:
                raise
            return None

    def hold_found(self, spec: ProgramSpec) -> Program | None:
        """As `hold`, if the program is at hand: nothing is built."""
        with self._lock:
            kept = self._touch(spec)
            if kept is None:
                return None
            kept.holders += 1
            return kept.program

    def room_bytes(self) -> int:
        """What may be taken beside the programs that are held, by letting the others go."""
        with self._lock:
            return self._room(self._held())

    def release(self, program: Program) -> None:
        """One holder less."""
        with self._lock:
            self._kept[program.spec].holders -= 1

    def keep_only(self, models: Collection[str]) -> None:
        """Drop the programs of models whose SHA-256 is not among `models`, unless they are held."""
        with self._lock:
            for spec, kept in list(self._kept.items()):
                if not kept.holders and spec.subject.sha256 not in models:
                    del self._kept[spec]
            for spec in [spec for spec in self._crowded if spec.subject.sha256 not in models]:
                del self._crowded[spec]
            self._count()

    def _touch(self, spec: ProgramSpec) -> _Kept | None:
        if spec in self._kept:
            self._kept.move_to_end(spec)
        return self._kept.get(spec)

    def _obtain(self, spec: ProgramSpec, *, holders: int) -> Program:
        while True:
            with self._lock:
                kept = self._touch(spec)
                if kept is not None:
                    kept.holders += holders
                    return kept.program
                others = self._building.get(spec)
                mine = self._building.setdefault(spec, _Building())
            if others is None:
                return self._build(spec, mine, holders)
            others.done.result()

    def _build(self, spec: ProgramSpec, building: _Building, holders: int) -> Program:
        started = time.monotonic()

        try:
            program = self._executor.compile(spec, partial(self._make_room, spec))
        except BaseException as error:
            self._end(spec, None)
            building.done.set_exception(error)
            raise
        self._end(spec, _Kept(program, holders))
        building.done.set_result(None)
        self._compiled(time.monotonic() - started)
        return program

    def _end(self, spec: ProgramSpec, kept: _Kept | None) -> None:
        """The room that was reserved is taken, or free again."""
        with self._lock:
            del self._building[spec]
            if kept is not None:
                self._kept[spec] = kept
                self._crowded.pop(spec, None)
                self._count()
            while self._left() < 0 and self._drop_one():
                pass

    def _make_room(self, spec: ProgramSpec, step: Footprint) -> None:
        """Let others go until a program with this step fits, and keep that room for it."""
        if step.total > self._memory_bytes:
            raise ProgramTooLarge(step.total, self._memory_bytes)
        with self._lock:
            while self._left() < (added := _added_bytes(self._programs(), spec, step)):
                if not self._drop_one():
                    self._remember(spec, step)
                    raise ProgramTooLarge(step.total, max(self._left(), 0))
            self._building[spec].reserved_bytes = added

    def _remember(self, spec: ProgramSpec, step: Footprint) -> None:
        """So that nothing is built to find out that there is no room yet."""
        self._crowded[spec] = step
        if len(self._crowded) > _REMEMBERED:
            self._crowded.popitem(last=False)

    def _programs(self) -> list[Program]:
        return [kept.program for kept in self._kept.values()]

    def _held(self) -> list[Program]:
        return [kept.program for kept in self._kept.values() if kept.holders]

    def _room(self, held: Sequence[Program]) -> int:
        return self._memory_bytes - _bytes(held) - self._reserved_bytes()

    def _left(self) -> int:
        return self._memory_bytes - self.taken_bytes - self._reserved_bytes()

    def _reserved_bytes(self) -> int:
        return sum(building.reserved_bytes for building in self._building.values())

    def _drop_one(self) -> bool:
        """Drop the program that was not used for longest, of those that nobody holds."""
        free = next((spec for spec, kept in self._kept.items() if not kept.holders), None)
        if free is None:
            return False
        del self._kept[free]
        self._count()
        return True

    def _count(self) -> None:
        programs = self._programs()
        self.taken_bytes = _bytes(programs)
        self.nodes_elsewhere = sum(len(graph.elsewhere) for graph in _graphs(programs))


def _added_bytes(programs: Sequence[Program], spec: ProgramSpec, step: Footprint) -> int:
    """What a program of `spec` with `step` adds to `programs`.

    Weights of equal size of one model count as the same: layouts hardly change sizes.
    """
    alike = [program for program in programs if program.spec.subject == spec.subject]
    known = Counter(weight.nbytes for weight in _weights(alike).values())
    added = sum(size * count for size, count in (step.weights - known).items())
    return added + step.own + max(step.peak - _peak_bytes(programs), 0)


def _bytes(programs: Sequence[Program]) -> int:
    """What they take together."""
    weights = sum(array.nbytes for array in _weights(programs).values())
    own = sum(graph.own_bytes for graph in _graphs(programs))
    return weights + own + _peak_bytes(programs)


def _graphs(programs: Iterable[Program]) -> Collection[Compiled]:
    """Of all of them, each once."""
    return {id(graph): graph for program in programs for graph in program.graphs}.values()


def _weights(programs: Iterable[Program]) -> dict[int, np.ndarray]:
    graphs = [graph for program in programs for graph in program.graphs]
    return {id(array): array for graph in graphs for array in graph.weights}


def _peak_bytes(programs: Iterable[Program]) -> int:
    """Of the largest: results of all of them lie in one arena."""
    graphs = [graph for program in programs for graph in program.graphs]
    return max((graph.peak_bytes for graph in graphs), default=0)
