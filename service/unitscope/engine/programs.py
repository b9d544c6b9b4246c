"""Compiled programs: kept by what decides them, the least recently used one leaves first."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable

from unitscope.ascent.program import ProgramSpec
from unitscope.engine.executor import Executor, Program


class Programs:
    """The programs of an executor, at most `max_programs` of them.

    `compiled`: is told how many seconds a program took to build.
    """

    def __init__(
        self, executor: Executor, *, max_programs: int, compiled: Callable[[float], None]
    ) -> None:
        self._executor = executor
        self._max_programs = max_programs
        self._compiled = compiled
        self._programs: OrderedDict[ProgramSpec, Program] = OrderedDict()

    def __len__(self) -> int:
        return len(self._programs)

    def find(self, spec: ProgramSpec) -> Program | None:
        """The program of `spec`, if it is at hand; may be asked from any thread."""
        return self._programs.get(spec)

    def get(self, spec: ProgramSpec) -> Program:
        """The program of `spec`, found or built; belongs to one thread."""
        program = self._programs.pop(spec, None)
        if program is None:
            started = time.monotonic()
            program = self._executor.compile(spec)
            self._compiled(time.monotonic() - started)
        self._programs[spec] = program
        while len(self._programs) > self._max_programs:
            self._programs.popitem(last=False)
        return program
