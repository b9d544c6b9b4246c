"""One turn of the jobs whose turn it is, and what came of it for each."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Protocol

from unitscope.ascent.parameterizations import Array
from unitscope.engine.batches import Batches
from unitscope.engine.executor import Ascent, Executor, Outcome, Program
from unitscope.engine.job import Job
from unitscope.engine.request import Maximization

End = Maximization | Exception
"""How a request ended."""

_SMOOTHING = 0.1


class Observer(Protocol):
    """Is told how long things took; called from the engine's threads."""

    def step(self, seconds: float, rows: int) -> None:
        """So many requests took a step together."""

    def compiled(self, seconds: float) -> None:
        """A program was built."""


class NoObserver:
    """Nobody looks."""

    def step(self, seconds: float, rows: int) -> None:
        """Nothing is done."""

    def compiled(self, seconds: float) -> None:
        """Nothing is done."""


class Climber:
    """Belongs to the thread that climbs. `row_seconds`: of a step of one request, smoothed."""

    def __init__(self, executor: Executor, batches: Batches, observer: Observer) -> None:
        self.row_seconds = 0.0
        self._executor = executor
        self._batches = batches
        self._observer = observer

    def turn(self, jobs: Sequence[Job]) -> tuple[Sequence[Job], list[tuple[Job, End]]]:
        """A step of as many of `jobs`, which share a program and are ready, as pays.

        Or what else the first does in its turn, after its last step. Returns those whose turn it
        was and, for those that are done, how they ended.
        """
        if not jobs[0].is_climbing:
            return jobs[:1], self._finish(jobs[0])
        program = jobs[0].program
        assert program is not None
        steps = sum(job.remaining for job in jobs)
        chosen = self._batches.choose(program, len(jobs), steps)
        taken = jobs[: chosen.spec.rows]
        return taken, self._step(chosen, program, taken)

    def _step(self, chosen: Program, alone: Program, jobs: Sequence[Job]) -> list[tuple[Job, End]]:
        started = time.monotonic()
        try:
            ascents, inputs = zip(*(job.begin(self._executor) for job in jobs), strict=True)
            outcomes = self._run(chosen, ascents, inputs)
        except Exception as error:  # ends one request, whatever it was, and no other
            if len(jobs) == 1:
                return [(jobs[0], error)]
            return [end for job in jobs for end in self._step(alone, alone, [job])]
        self._note(chosen, time.monotonic() - started)
        ends = [(job, self._end(job, one)) for job, one in zip(jobs, outcomes, strict=True)]
        return [(job, end) for job, end in ends if end is not None]

    def _finish(self, job: Job) -> list[tuple[Job, End]]:
        try:
            end: End | None = job.finish()
        except Exception as error:  # ends this request, whatever it was, and no other
            end = error
        return [] if end is None else [(job, end)]

    def _run(
        self, chosen: Program, ascents: Sequence[Ascent], inputs: Sequence[Mapping[str, Array]]
    ) -> list[Outcome]:
        try:
            return self._executor.step(chosen, ascents, inputs)
        except Exception:
            if len(ascents) > 1:
                self._batches.drop(chosen)
            raise

    def _end(self, job: Job, outcome: Outcome) -> Exception | None:
        try:
            job.end(self._executor, outcome)
        except Exception as error:  # ends this request, whatever it was, and no other
            return error
        return None

    def _note(self, program: Program, seconds: float) -> None:
        rows = program.spec.rows
        self._batches.note(program, seconds)
        weight = _SMOOTHING if self.row_seconds else 1.0
        self.row_seconds += weight * (seconds / rows - self.row_seconds)
        self._observer.step(seconds, rows)
