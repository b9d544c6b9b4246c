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

import numpy as np

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Executor, Program
from unitscope.engine.sharing import Compiled, Footprint
from unitscope.errors import ProgramTooLarge


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
        self._changed = threading.Condition()
        self.taken_bytes = 0
        """What the programs take that are there."""
        self.nodes_elsewhere = 0
        """Their nodes that the device leaves to the processor."""

    def __len__(self) -> int:
        return len(self._kept)

    def find(self, spec: ProgramSpec) -> Program | None:
        """The program of `spec`, if it is at hand."""
        with self._changed:
            kept = self._touch(spec)
            return None if kept is None else kept.program

    def get(self, spec: ProgramSpec) -> Program:
        """The program of `spec`, found or built; it may leave at any time.

        Raises ProgramTooLarge where it does not fit beside those that are held, and ModelRejected.
        """
        return self._obtain(spec, holders=0)

    def hold(self, spec: ProgramSpec) -> Program:
        """The program of `spec`, found or built, which stays until it is released as often.

        Waits while it does not fit beside those that others hold: who waits must hold none.
        Raises ProgramTooLarge where it would not fit alone, and ModelRejected.
        """
        return self._obtain(spec, holders=1)

    def room_bytes(self) -> int:
        """What may be taken beside the programs that are held, by letting the others go."""
        with self._changed:
            held = [kept.program for kept in self._kept.values() if kept.holders]
            return self._memory_bytes - _bytes(held) - self._reserved_bytes()

    def release(self, program: Program) -> None:
        """One holder less."""
        with self._changed:
            self._kept[program.spec].holders -= 1
            self._changed.notify_all()

    def keep_only(self, models: Collection[str]) -> None:
        """Drop the programs of models whose SHA-256 is not among `models`, unless they are held."""
        with self._changed:
            for spec, kept in list(self._kept.items()):
                if not kept.holders and spec.subject.sha256 not in models:
                    del self._kept[spec]
            self._count()
            self._changed.notify_all()

    def _touch(self, spec: ProgramSpec) -> _Kept | None:
        if spec in self._kept:
            self._kept.move_to_end(spec)
        return self._kept.get(spec)

    def _obtain(self, spec: ProgramSpec, *, holders: int) -> Program:
        while True:
            with self._changed:
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

        def reserve(step: Footprint) -> None:
            self._make_room(spec, step, may_wait=holders > 0)

        try:
            program = self._executor.compile(spec, reserve)
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
        with self._changed:
            del self._building[spec]
            if kept is not None:
                self._kept[spec] = kept
                self._count()
            while self._left() < 0 and self._drop_one():
                pass
            self._changed.notify_all()

    def _make_room(self, spec: ProgramSpec, step: Footprint, *, may_wait: bool) -> None:
        """Let others go until a program with this step fits, and keep that room for it."""
        if step.total > self._memory_bytes:
            raise ProgramTooLarge(step.total, self._memory_bytes)
        with self._changed:
            while self._left() < self._added_bytes(spec, step):
                if self._drop_one():
                    continue
                if not may_wait:
                    raise ProgramTooLarge(step.total, max(self._left(), 0))
                self._changed.wait()
            self._building[spec].reserved_bytes = self._added_bytes(spec, step)

    def _added_bytes(self, spec: ProgramSpec, step: Footprint) -> int:
        """What `step` adds to the programs that are there.

        Weights of equal size of one model count as the same: layouts hardly change sizes.
        """
        kept = [one.program for one in self._kept.values()]
        alike = [program for program in kept if program.spec.subject == spec.subject]
        known = Counter(weight.nbytes for weight in _weights(alike).values())
        added = sum(size * count for size, count in (step.weights - known).items())
        return added + step.own + max(step.peak - _peak_bytes(kept), 0)

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
        programs = [kept.program for kept in self._kept.values()]
        self.taken_bytes = _bytes(programs)
        self.nodes_elsewhere = sum(len(graph.elsewhere) for graph in _graphs(programs))


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
