"""One request on its way: its state between turns, and what happens in a turn."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field

import numpy as np

from unitscope.ascent.objectives import one_hot, unit_scores
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.transforms import draw
from unitscope.engine.executor import Ascent, Executor, Program
from unitscope.engine.mailbox import Mailbox
from unitscope.engine.picture import decode, encode
from unitscope.engine.plan import Plan
from unitscope.engine.request import (
    ClassScore,
    GradientStatus,
    Maximization,
    Metrics,
    Progress,
    TrajectoryPoint,
)  # fmt: skip
from unitscope.errors import DeadGradient, NotFinite

TRAJECTORY_POINTS = 16
DEAD_STEPS = 3
"""So many steps with an exactly zero gradient, and it counts as dead."""
WARM_UP_STEPS = 16
"""Length of a warm-up with opened ReLUs (Lucid's number)."""
MAX_WARM_UPS = 4
"""A unit that is still dead after so many does not wake."""
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
    """A request that takes turns. All methods but `mailbox`'s belong to the engine's thread."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.mailbox = Mailbox()
        self.clock = Clock()
        self.step = 0
        self.program: Program | None = None
        self._ascent: Ascent | None = None
        self._trajectory: list[TrajectoryPoint] = []
        self._alive = False
        self._zeros = 0
        self._warm_ups = 0
        self._warm_until = 0
        self._gradient_norm = 0.0

    @property
    def remaining(self) -> int:
        """Steps still to do."""
        return self.plan.request.steps - self.step

    @property
    def redirecting(self) -> bool:
        """True while dead ReLUs are to be opened: the engine runs the redirected program."""
        return self.step < self._warm_until

    def advance(self, executor: Executor, program: Program) -> Maximization | None:
        """Take one step; returns the result after the last. Raises DeadGradient."""
        ascent = self._ascent or self._start(executor, program)
        request, image = self.plan.request, self.plan.spec.image
        self.step += 1
        matrices = draw(
            request.transforms,
            seed=request.seed,
            step=self.step,
            height_px=image.height_px,
            width_px=image.width_px,
        )
        outcome = executor.step(program, ascent, self.step, matrices)
        if not math.isfinite(outcome.gradient_norm + outcome.activation):
            raise NotFinite(
                f"step {self.step}: activation {outcome.activation}, gradient norm "
                f"{outcome.gradient_norm}; the model overflows on this image"
            )
        self._gradient_norm = outcome.gradient_norm
        self._watch_gradient(outcome.gradient_norm, redirected=program.spec.redirect)
        self._report(executor, program, ascent, outcome.activation)
        if self.remaining:
            return None
        if not self._alive:
            raise self._dead()
        return self._finish(executor, program, ascent)

    def _start(self, executor: Executor, program: Program) -> Ascent:
        self.clock.started = time.monotonic()
        plan = self.plan
        parameterization = PARAMETERIZATIONS[plan.spec.parameterization]
        parameters = parameterization.initial(plan.request.seed, plan.spec.image)
        weights = one_hot(plan.layer, plan.unit, plan.request.position)
        self._ascent = Ascent(program, parameters, weights, plan.learning_rate)
        self._measure(executor, program, self._ascent)
        return self._ascent

    def _watch_gradient(self, norm: float, *, redirected: bool) -> None:
        """Notice a gradient that is dead from the start: open the ReLUs, or give up."""
        self._alive = self._alive or (norm > 0.0 and not redirected)
        self._zeros = self._zeros + 1 if norm == 0.0 else 0
        if self._alive or self._zeros < DEAD_STEPS:
            return
        if redirected or self._warm_ups == MAX_WARM_UPS:
            raise self._dead()
        self._warm_ups += 1
        self._warm_until = self.step + WARM_UP_STEPS
        self._zeros = 0

    def _dead(self) -> DeadGradient:
        return DeadGradient(
            f"the gradient of unit {self.plan.unit} of layer {self.plan.layer.name!r} is zero "
            f"and stays zero after {self._warm_ups} warm-ups with opened ReLUs; try the layer "
            "before the activation, another seed or another unit"
        )

    def _report(
        self, executor: Executor, program: Program, ascent: Ascent, activation: float
    ) -> None:
        steps, every = self.plan.request.steps, self.plan.request.preview_every_steps
        if self.step % max(steps // TRAJECTORY_POINTS, 1) == 0 and self.remaining:
            self._measure(executor, program, ascent)
        preview = None
        if every and self.step % every == 0:
            preview = encode(executor.render(program, ascent), self.plan.request.image_format)
        self.mailbox.put(Progress(self.step, steps, activation, self._gradient_norm, preview))

    def _measure(self, executor: Executor, program: Program, ascent: Ascent) -> None:
        scores, _ = executor.judge(program, executor.render(program, ascent))
        units = self._unit_scores(scores)
        self._trajectory.append(TrajectoryPoint(self.step, float(units[self.plan.unit])))

    def _unit_scores(self, scores: np.ndarray) -> np.ndarray:
        return unit_scores(self.plan.layer, scores, self.plan.request.position)

    def _finish(self, executor: Executor, program: Program, ascent: Ascent) -> Maximization:
        plan = self.plan
        content = encode(executor.render(program, ascent), plan.request.image_format)
        seconds = time.monotonic() - self.clock.started
        scores, logits = executor.judge(program, decode(content, plan.spec.image.channels))
        return Maximization(
            request_id=plan.request_id,
            image=content,
            image_format=plan.request.image_format,
            width_px=plan.spec.image.width_px,
            height_px=plan.spec.image.height_px,
            metrics=self._metrics(self._unit_scores(scores), logits, seconds),
        )

    def _metrics(self, scores: np.ndarray, logits: np.ndarray, seconds: float) -> Metrics:
        plan, info = self.plan, self.plan.model.info
        status: GradientStatus = "redirected" if self._warm_ups else "ok"
        end = float(scores[plan.unit])
        assert info.preprocessing is not None
        return Metrics(
            model=info.name,
            model_sha256=info.sha256,
            layer=plan.layer.name,
            tensor=plan.layer.tensor,
            unit=plan.unit,
            unit_count=plan.layer.unit_count,
            label=plan.label,
            activation_start=self._trajectory[0].activation,
            activation_end=end,
            trajectory=(*self._trajectory, TrajectoryPoint(self.step, end)),
            rank=1 + int(np.sum(scores > end)),
            top_classes=top_classes(logits, plan.model.labels),
            gradient_norm=self._gradient_norm,
            gradient_status=status,
            steps=self.step,
            seed=plan.request.seed,
            queued_seconds=self.clock.queued,
            compiling_seconds=self.clock.compiling,
            running_seconds=seconds,
            steps_per_second=self.step / seconds,
            preprocessing=info.preprocessing,
        )


def top_classes(logits: np.ndarray, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """The five most probable classes by softmax, best first; label "" where none is known."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    probabilities = shifted / shifted.sum()
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    return tuple(
        ClassScore(int(i), labels[i] if labels else "", float(probabilities[i])) for i in best
    )
