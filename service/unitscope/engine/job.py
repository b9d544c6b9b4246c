"""One request on its way: its state between turns, and what happens in a turn."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field, fields, replace
from itertools import accumulate

import numpy as np

from unitscope.ascent.inputs import fixed_inputs, step_inputs
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, Array
from unitscope.ascent.program import ProgramSpec
from unitscope.engine.assessment import assess, natural_activations, softmax
from unitscope.engine.executor import Ascent, Executor, Judgement, Outcome, Program
from unitscope.engine.mailbox import Mailbox
from unitscope.engine.picture import decode, encode, shown_as
from unitscope.engine.plan import Plan, PlannedTerm
from unitscope.engine.record import embed, make
from unitscope.engine.request import (
    Assessment,
    Caller,
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
WARM_UP_RATE = 4.0
"""Steps are so much longer meanwhile: nothing is lost, and the way may be far."""
MAX_WARM_UPS = 8
"""A unit that is still dead after so many does not wake."""
SATURATED = 1e-4
"""A gradient so much smaller than its largest no longer says where to go."""
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

    def __init__(self, plan: Plan, caller: Caller) -> None:
        self.plan = plan
        self.caller = caller
        self.mailbox = Mailbox()
        self.clock = Clock()
        self.step = 0
        self.program: Program | None = None
        self._weights: list[np.ndarray] = []
        self._natural: list[float] | None = None
        self._ascent: Ascent | None = None
        self._entered: ProgramSpec | None = None
        self._before = 0
        self._trajectory: list[TrajectoryPoint] = []
        self._reached = False
        self._alive = False
        self._zeros = 0
        self._warm_ups = 0
        self._warm_until = 0
        self._gradient_norm = self._largest_norm = 0.0

    @property
    def is_ready(self) -> bool:
        """Whether the program for the next step is there."""
        return self.program is not None and self.program.spec == self.spec

    @property
    def is_late(self) -> bool:
        """Whether nobody waits for it any more."""
        limit = self.caller.timeout_seconds
        return limit is not None and time.monotonic() > self.clock.submitted + limit

    @property
    def remaining(self) -> int:
        """Steps still to do."""
        return 0 if self._reached else self.plan.recipe.steps - self.step

    @property
    def spec(self) -> ProgramSpec:
        """Of the program that the next step needs: the octave's, and with ReLUs open or not."""
        ends = accumulate(stage.steps for stage in self.plan.stages)
        stages = zip(ends, self.plan.stages, strict=True)
        stage = next((s for end, s in stages if self.step < end), self.plan.stages[-1])
        return replace(stage.spec, redirect=self.step < self._warm_until)

    def prepare(self, executor: Executor, program: Program) -> None:
        """Hand over the program for the next steps; may take a while, unlike `advance`."""
        self.program = program
        if not self._weights:
            self._weights = [self._weights_of(executor, term) for term in self.plan.terms]
        if self._natural is None and program.spec.image == self.plan.image:
            self._natural = natural_activations(executor, program, self.plan, self._weights)

    def begin(self, executor: Executor) -> tuple[Ascent, dict[str, Array]]:
        """Where it stands, and what its next step is fed; may be asked again."""
        assert self.program is not None
        spec, recipe, seed = self.program.spec, self.plan.recipe, self.plan.request.seed
        ascent = self._enter(executor, self.program)
        inputs = step_inputs(spec, recipe, seed, self.step + 1, before=self._before)
        if spec.redirect:
            inputs["learning_rate"] *= WARM_UP_RATE
        return ascent, inputs

    def end(self, executor: Executor, outcome: Outcome) -> Maximization | None:
        """The step was taken; returns the result after the last.

        Raises DeadGradient or NotFinite.
        """
        program, ascent = self.program, self._ascent
        assert program is not None
        assert ascent is not None
        self.step += 1
        if not math.isfinite(outcome.gradient_norm + outcome.activation):
            raise NotFinite(
                f"step {self.step}: activation {outcome.activation}, gradient norm "
                f"{outcome.gradient_norm}; the model overflows on this image"
            )
        self._gradient_norm = outcome.gradient_norm
        self._largest_norm = max(self._largest_norm, outcome.gradient_norm)
        self._watch_gradient(outcome.gradient_norm, redirected=program.spec.redirect)
        self._report(executor, program, ascent, outcome.activation)
        if self.remaining:
            return None
        if not self._alive:
            raise self._dead()
        return self._finish(executor, program, ascent)

    def _weights_of(self, executor: Executor, term: PlannedTerm) -> np.ndarray:
        if term.weights is not None:
            return term.weights
        assert term.reference is not None
        return term.weight * executor.reference(self.plan.stages[0].spec, term.spec, term.reference)

    def _enter(self, executor: Executor, program: Program) -> Ascent:
        """The ascent at the size of `program`, begun or grown from the size before.

        The optimizer begins anew: what it knows is about other parameters.
        """
        spec = program.spec
        if self._ascent is not None and self._entered is not None:
            if self._entered.image == spec.image:
                return self._ascent
            known = PARAMETERIZATIONS[spec.parameterization]
            old = self._ascent.parameters()
            parameters = known.resize(old, self._entered.image, spec.image)
        else:
            self.clock.started = time.monotonic()
            parameters = self._first_parameters(spec)
        plan = self.plan
        fixed = fixed_inputs(spec, plan.recipe, plan.prior, self._weights, plan.request.target)
        self._entered, self._before = spec, self.step
        self._ascent = Ascent(program, parameters, fixed)
        if not self._trajectory:
            self._measure(executor, program, self._ascent)
        return self._ascent

    def _first_parameters(self, spec: ProgramSpec) -> Array:
        plan = self.plan
        if plan.start is None:
            return plan.recipe.start.draw(plan.request.seed, spec.parameterization, spec.image)
        parameterization = PARAMETERIZATIONS[spec.parameterization]
        image = np.asarray(plan.start / 255, np.float32)
        fitted = parameterization.fit(image, plan.prior.colors)
        return parameterization.resize(fitted, plan.image, spec.image)

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
            f"the gradient of {self._subject()} is zero and stays zero after {self._warm_ups} "
            "warm-ups with opened ReLUs; try the layer before the activation, another seed or "
            "another unit"
        )

    def _subject(self) -> str:
        unit, layer = self.plan.unit, self.plan.layer.name
        return f"layer {layer!r}" if unit is None else f"unit {unit} of layer {layer!r}"

    def _report(
        self, executor: Executor, program: Program, ascent: Ascent, activation: float
    ) -> None:
        steps, every = self.plan.recipe.steps, self.plan.request.preview_every_steps
        if self.step % max(steps // TRAJECTORY_POINTS, 1) == 0 and self.remaining:
            self._measure(executor, program, ascent)
        preview = None
        if every and self.step % every == 0:
            image_format = shown_as(self.plan.request.image_format)
            preview = encode(executor.render(program, ascent), image_format)
        self.mailbox.put(Progress(self.step, steps, activation, self._gradient_norm, preview))

    def _measure(self, executor: Executor, program: Program, ascent: Ascent) -> None:
        pixels = executor.render(program, ascent)
        activation = executor.judge(program, self._weights, pixels).activation
        self._trajectory.append(TrajectoryPoint(self.step, activation))
        target = self.plan.request.target
        if target is not None:
            begun = self._trajectory[0].activation
            self._reached = (begun <= target) == (activation >= target)

    def _finish(self, executor: Executor, program: Program, ascent: Ascent) -> Maximization:
        plan, image_format = self.plan, self.plan.request.image_format
        pixels = executor.render(program, ascent)
        seconds = time.monotonic() - self.clock.started
        seen = decode(encode(pixels, image_format), plan.image.channels)
        judgement = executor.judge(program, self._weights, seen)
        natural = self._natural or ()
        assessment = assess(executor, program, plan, self._weights, natural, seen, judgement)
        metrics = self._metrics(judgement, assessment, seconds)
        record = make(plan, metrics, program.provider)
        if image_format == "npy":
            pixels = executor.render(program, ascent, exact=True)
        return Maximization(
            request_id=plan.request_id,
            image=encode(pixels, image_format, embed(record, image_format)),
            image_format=image_format,
            width_px=plan.image.width_px,
            height_px=plan.image.height_px,
            metrics=metrics,
            record=record,
        )

    def _metrics(self, judgement: Judgement, assessment: Assessment, seconds: float) -> Metrics:
        plan, info = self.plan, self.plan.model.info
        end = judgement.activation
        trajectory = (*self._trajectory, TrajectoryPoint(self.step, end))
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
            activation_start=self._trajectory[0].activation,
            activation_end=end,
            activation_best=max(point.activation for point in trajectory),
            trajectory=trajectory,
            top_classes=top_classes(judgement.logits, plan.model.labels),
            gradient_norm=self._gradient_norm,
            gradient_status=self._gradient_status(),
            steps=self.step,
            seed=plan.request.seed,
            queued_seconds=self.clock.queued,
            compiling_seconds=self.clock.compiling,
            running_seconds=seconds,
            measuring_seconds=time.monotonic() - self.clock.started - seconds,
            steps_per_second=self.step / seconds,
            preprocessing=info.preprocessing,
            **{known.name: getattr(assessment, known.name) for known in fields(assessment)},
        )

    def _gradient_status(self) -> GradientStatus:
        if self._gradient_norm < SATURATED * self._largest_norm:
            return "saturated"
        return "redirected" if self._warm_ups else "ok"


def top_classes(logits: np.ndarray, labels: tuple[str, ...]) -> tuple[ClassScore, ...]:
    """The five most probable classes by softmax, best first; label "" where none is known."""
    probabilities = softmax(logits)
    best = np.argsort(-probabilities, kind="stable")[:_TOP]
    return tuple(
        ClassScore(int(i), labels[i] if labels else "", float(probabilities[i])) for i in best
    )
