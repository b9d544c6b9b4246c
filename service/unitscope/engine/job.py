"""One request on its way: its state between turns, and what happens in a turn."""

from __future__ import annotations

import math
import time
from collections.abc import Generator, Sequence
from dataclasses import dataclass, field, fields

import numpy as np

from unitscope.ascent.parameterizations import Array
from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.assessment import assess, softmax
from unitscope.engine.climb import Climb, Goal
from unitscope.engine.executor import Ascent, Executor, Judgement, Outcome, Program
from unitscope.engine.mailbox import Mailbox
from unitscope.engine.picture import alpha_of, decode, encode, shown_as
from unitscope.engine.plan import Plan, PlannedTerm
from unitscope.engine.record import embed, make
from unitscope.engine.request import (
    Assessment,
    Attempt,
    Caller,
    ClassScore,
    Maximization,
    Metrics,
    Progress,
    TrajectoryPoint,
)  # fmt: skip
from unitscope.errors import DeadGradient

_TOP = 5


@dataclass(slots=True)
class Clock:
    """Seconds by phase. Marks are times of one monotonic clock."""

    submitted: float = field(default_factory=time.monotonic)
    compiling: float = 0.0
    started: float = 0.0

    @property
    def queued(self) -> float:
        """Seconds spent waiting, not compiling, before the first step."""
        return max(self.started - self.submitted - self.compiling, 0.0)


class Job:
    """A request that takes turns. All methods but `mailbox`'s belong to the engine's thread.

    Its attempts are made one after another, and the best is kept. Then its picture is finished,
    also in turns. `deadline`: when nobody waits for it any more, by the monotonic clock.
    """

    def __init__(self, plan: Plan, caller: Caller) -> None:
        self.plan = plan
        self.caller = caller
        self.mailbox = Mailbox()
        self.clock = Clock()
        limit = caller.timeout_seconds
        self.deadline = math.inf if limit is None else self.clock.submitted + limit
        self.program: Program | None = None
        self._goal: Goal | None = None
        self._climb = Climb(plan, plan.request.seed)
        self._attempts: list[Attempt] = []
        self._best: Climb | None = None
        self._finishing: Generator[None, None, Maximization] | None = None

    @property
    def is_ready(self) -> bool:
        """Whether the program for the next turn is there."""
        return not self.is_climbing or (self.program is not None and self.program.spec == self.spec)

    @property
    def is_climbing(self) -> bool:
        """Whether the next turn is a step."""
        return self._finishing is None

    @property
    def remaining(self) -> int:
        """Steps still to do."""
        return self._climb.remaining + self._untried * self.plan.recipe.steps

    @property
    def spec(self) -> ProgramSpec:
        """Of the program that the next step needs."""
        return self._climb.spec

    def prepare(self, executor: Executor, program: Program) -> None:
        """Hand over the program for the next steps; may take a while, unlike `begin`."""
        self.program = program
        if self._goal is None:
            self._goal = self._find_goal(executor)

    def begin(self, executor: Executor) -> tuple[Ascent, dict[str, Array]]:
        """Where it stands, and what its next step is fed; may be asked again."""
        assert self.program is not None
        assert self._goal is not None
        if not self.clock.started:
            self.clock.started = time.monotonic()
        return self._climb.begin(executor, self.program, self._goal)

    def end(self, executor: Executor, outcome: Outcome) -> None:
        """The step was taken.

        Raises NotFinite, or DeadGradient where no attempt came alive.
        """
        climb, goal = self._climb, self._goal
        assert goal is not None
        try:
            climb.end(executor, goal, outcome)
        except DeadGradient:
            if not self._untried and self._best is None:
                raise
            self._go_on(executor, goal)
            return
        self._report(executor, outcome.activation)
        if climb.remaining:
            return
        self._attempts.append(climb.attempt)
        if self._best is None or climb.merit > self._best.merit:
            self._best = climb
        self._go_on(executor, goal)

    def finish(self) -> Maximization | None:
        """Do a part of what follows the last step; returns the result after the last part."""
        assert self._finishing is not None
        try:
            next(self._finishing)
        except StopIteration as end:
            result: Maximization = end.value
            return result
        return None

    def _go_on(self, executor: Executor, goal: Goal) -> None:
        """Begin the next attempt, or with the picture of the best."""
        if self._untried:
            self._climb = Climb(self.plan, self._climb.seed + 1)
        else:
            assert self._best is not None
            seconds = time.monotonic() - self.clock.started
            self._finishing = self._finish(executor, goal.weights, self._best, seconds)

    @property
    def _untried(self) -> int:
        """Attempts that are still to be begun."""
        first = self.plan.request.seed
        return first + self.plan.request.attempts - 1 - self._climb.seed

    def _find_goal(self, executor: Executor) -> Goal:
        plan, spec = self.plan, self.plan.stages[0].spec
        weights = [self._weights_of(executor, term) for term in plan.terms]
        if spec.unlike is None:
            return Goal(weights, None)
        textures = executor.textures(spec, spec.unlike, plan.unlike)
        return Goal(weights, plan.request.diversity * textures.mean(0))

    def _weights_of(self, executor: Executor, term: PlannedTerm) -> np.ndarray:
        if term.weights is not None:
            return term.weights
        assert term.reference is not None
        return term.weight * executor.reference(self.plan.stages[0].spec, term.spec, term.reference)

    def _report(self, executor: Executor, activation: float) -> None:
        """Tell of the step, counted over all attempts."""
        request, each, climb = self.plan.request, self.plan.recipe.steps, self._climb
        step = (climb.seed - request.seed) * each + climb.step
        preview, every = None, request.preview_every_steps
        if every and step % every == 0:
            preview = encode(executor.render(*climb.at), shown_as(request.image_format))
        steps, told = each * request.attempts, self.caller.progress_every_steps
        if preview is not None or (told and (step % told == 0 or step == steps)):
            self.mailbox.put(Progress(step, steps, activation, climb.gradient_norm, preview))

    def _finish(
        self, executor: Executor, weights: Sequence[np.ndarray], climb: Climb, seconds: float
    ) -> Generator[None, None, Maximization]:
        """Render, measure and write the picture; `seconds`: that it took to climb."""
        plan, image_format = self.plan, self.plan.request.image_format
        program, ascent = climb.at
        pixels = executor.render(program, ascent)
        seen = decode(encode(pixels, image_format), plan.image.channels)
        judgement = executor.judge(program, weights, seen)
        yield
        assessment = yield from assess(executor, program, plan, weights, seen, judgement)
        metrics = self._metrics(climb, judgement, assessment, seconds)
        record = make(plan, metrics, program.device.computes_with)
        if image_format == "npy":
            pixels = executor.render(program, ascent, exact=True)
        alpha = alpha_of(ascent.opacity()) if plan.request.transparent else None
        return Maximization(
            request_id=plan.request_id,
            image=encode(pixels, image_format, embed(record, image_format), alpha),
            image_format=image_format,
            width_px=plan.image.width_px,
            height_px=plan.image.height_px,
            metrics=metrics,
            record=record,
        )

    def _metrics(
        self, climb: Climb, judgement: Judgement, assessment: Assessment, seconds: float
    ) -> Metrics:
        plan, info = self.plan, self.plan.model.info
        end = judgement.activation
        trajectory = (*climb.trajectory[:-1], TrajectoryPoint(climb.step, end))
        assert info.preprocessing is not None
        return Metrics(
            model=info.name,
            model_version=info.version,
            model_sha256=info.sha256,
            layer=plan.layer.name,
            tensor=plan.layer.tensor,
            unit=plan.unit,
            unit_count=plan.layer.unit_count,
            label=plan.label,
            activation_start=trajectory[0].activation,
            activation_end=end,
            activation_best=max(point.activation for point in trajectory),
            trajectory=trajectory,
            top_classes=top_classes(judgement.logits, plan.model.labels),
            gradient_norm=climb.gradient_norm,
            gradient_status=climb.gradient_status,
            steps=climb.step,
            ending=climb.attempt.ending,
            seed=climb.seed,
            attempts=tuple(self._attempts),
            queued_seconds=self.clock.queued,
            compiling_seconds=self.clock.compiling,
            running_seconds=seconds,
            measuring_seconds=time.monotonic() - self.clock.started - seconds,
            steps_per_second=sum(attempt.steps for attempt in self._attempts) / seconds,
            preprocessing=info.preprocessing,
            **{known.name: getattr(assessment, known.name) for known in fields(assessment)},
        )


def top_classes(logits: np.ndarray, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """The five most probable classes by softmax, best first; label "" where none is known."""
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    return tuple(
        ClassScore(int(i), labels[i] if labels else "", float(probabilities[i])) for i in best
    )
