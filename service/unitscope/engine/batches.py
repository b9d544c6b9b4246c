"""How many requests of one program step together: what was proved and what pays.

A larger program is built when enough work waits for it. Before it is used every row of it must
give the bytes that the row gives alone: a request must not depend on its neighbours. Then it is
tried, and whichever number of rows takes least time a row is the one that runs. Small models gain,
large ones fill the processor alone.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Collection
from concurrent.futures import Executor as Pool
from dataclasses import dataclass, replace

from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Executor, Program
from unitscope.errors import ProgramTooLarge, UnitscopeError

_log = logging.getLogger(__name__)

ROWS = (8, 4, 2)
"""Sizes of a batch besides 1, largest first."""
WORTH_STEPS = 256
"""Of those who would step together; fewer do not pay for building a larger program."""
TRIALS = 3
RETRIAL_TURNS = 64
"""So often a size that was left is tried again: other work may have disturbed its turns."""
_SMOOTHING = 0.1
_NEWS = 0.5
"""What counts, instead, of a turn of a size that had been left: all that is known of it is old."""


@dataclass(slots=True)
class _Pace:
    """Seconds that a row takes; the first turn warms up and does not count.

    Other work lengthens a turn now and then, many times if turns are short. So it is the shortest
    of the trials at first, and none that follows counts for more than twice what was usual.
    """

    seconds: float = math.inf
    turns: int = 0

    def note(self, seconds: float, weight: float) -> None:
        if self.turns > TRIALS:
            self.seconds += weight * (min(seconds, 2 * self.seconds) - self.seconds)
        elif self.turns:
            self.seconds = min(self.seconds, seconds)
        self.turns += 1


class Batches:
    """Belongs to the thread that climbs; `build` and `find` give the programs of a spec."""

    def __init__(
        self,
        executor: Executor,
        pool: Pool,
        *,
        build: Callable[[ProgramSpec], Program],
        find: Callable[[ProgramSpec], Program | None],
    ) -> None:
        self._executor = executor
        self._pool = pool
        self._build = build
        self._find = find
        self._asked: set[ProgramSpec] = set()
        self._refused: dict[ProgramSpec, int] = {}  # with so many bytes of room
        self._paces: dict[ProgramSpec, dict[int, _Pace]] = {}

    def choose(self, program: Program, present: int, steps: int) -> Program:
        """What should run now for `present` requests of `program` with so many `steps` to do."""
        largest = next((rows for rows in ROWS if rows <= present), 1)
        wanted = replace(program.spec, rows=largest)
        if largest > 1 and steps >= WORTH_STEPS and wanted not in self._asked:
            self._asked.add(wanted)
            self._pool.submit(self._prove, program, wanted)
        paces = self._paces_of(program.spec)
        rows = _best({rows: pace for rows, pace in paces.items() if rows <= present})
        found = program if rows == 1 else self._find(replace(program.spec, rows=rows))
        if found is None:  # it had to leave
            del paces[rows]
            self._asked.discard(replace(program.spec, rows=rows))
            return program
        return found

    def note(self, program: Program, seconds: float) -> None:
        """Say how long a step of all rows of `program` took."""
        rows, paces = program.spec.rows, self._paces.get(replace(program.spec, rows=1), {})
        if rows in paces:  # else its model was forgotten during the step
            went_on = rows == next(reversed(paces))
            paces[rows] = paces.pop(rows)  # the one that ran last is last
            paces[rows].note(seconds / rows, _SMOOTHING if went_on else _NEWS)

    def drop(self, program: Program) -> None:
        """A step of it failed, though its rows may do well alone: it is used no more."""
        _log.warning("no more batches of %d: a step failed", program.spec.rows)
        self._paces_of(replace(program.spec, rows=1)).pop(program.spec.rows, None)

    def row_seconds(self, spec: ProgramSpec) -> float:
        """How long a step takes when a request is alone; 0 where that is not known."""
        pace = self._paces.get(spec, {}).get(1)  # another thread may be moving it to the end
        return pace.seconds if pace is not None and pace.turns > 1 else 0.0

    def least_row_seconds(self, spec: ProgramSpec) -> float:
        """How long a row takes in the company that serves it best; 0 where that is not known."""
        paces = [pace for pace in list(self._paces.get(spec, {}).values()) if pace.turns > 1]
        return min((pace.seconds for pace in paces), default=0.0)

    def keep_only(self, models: Collection[str]) -> None:
        """Forget models whose SHA-256 is not among `models`; may be told from any thread."""
        for known in (self._paces, self._refused):
            for spec in list(known):
                if spec.subject.sha256 not in models:
                    known.pop(spec, None)
        self._asked = {spec for spec in list(self._asked) if spec.subject.sha256 in models}

    def retry(self, room_bytes: Callable[[], int]) -> None:
        """Programs may be let go: what found no room is asked for again if there is more now.

        May be told from any thread.
        """
        if self._refused:
            room = room_bytes()
            for spec in [spec for spec, found in list(self._refused.items()) if found < room]:
                self._asked.discard(spec)
                self._refused.pop(spec, None)

    def _paces_of(self, spec: ProgramSpec) -> dict[int, _Pace]:
        return self._paces.setdefault(spec, {1: _Pace()})

    def _prove(self, alone: Program, wanted: ProgramSpec) -> None:
        """On a thread of the pool: build, compare, and let it be tried."""
        try:
            together = self._build(wanted)
            proved = self._executor.rows_agree(alone, together)
        except ProgramTooLarge as error:
            self._refused[wanted] = error.available_bytes
            return
        except UnitscopeError as error:
            _log.info("no batches of %d: %s", wanted.rows, error)
            return
        if proved:
            self._paces_of(alone.spec)[wanted.rows] = _Pace()
        else:
            _log.info("no batches of %d: rows would depend on each other", wanted.rows)


def _best(paces: dict[int, _Pace]) -> int:
    """The size that takes least time a row; those that have not been tried come first.

    Now and then the one that has not run for the longest time, the first of `paces`.
    """
    untried = [rows for rows, pace in paces.items() if pace.turns <= TRIALS]
    if untried:
        return max(untried)
    if sum(pace.turns for pace in paces.values()) % RETRIAL_TURNS == 0:
        return next(iter(paces))
    return min(paces, key=lambda rows: paces[rows].seconds)
