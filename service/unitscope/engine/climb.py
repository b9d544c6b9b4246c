"""One ascent of a request, from a seed to a picture: over all octaves, through warm-ups."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate

import numpy as np

from unitscope.ascent.inputs import fixed_inputs, opening_steps, step_inputs
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, Array
from unitscope.ascent.spec import ProgramSpec
from unitscope.engine.executor import Ascent, Executor, Outcome, Program
from unitscope.engine.plan import Plan
from unitscope.engine.request import Attempt, Ending, GradientStatus, TrajectoryPoint
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


@dataclass(frozen=True, slots=True)
class Goal:
    """What the terms and images of a request come to.

    `weights`: `[K]` of each term. `unlike`: textures `[units²]` to keep away from, times the
    share of the activation they cost; None where there are none.
    """

    weights: Sequence[np.ndarray]
    unlike: np.ndarray | None


class Climb:
    """An ascent that takes turns; `ending` says why it is over, once it is."""

    def __init__(self, plan: Plan, seed: int) -> None:
        self.seed = seed
        self.step = 0
        self.ending: Ending | None = None
        self.trajectory: list[TrajectoryPoint] = []
        self.gradient_norm = self._largest_norm = 0.0
        self._plan = plan
        self._at: tuple[Program, Ascent] | None = None
        self._before = 0
        self._alive = False
        self._zeros = 0
        self._warm_ups = 0
        self._warm_until = 0

    @property
    def remaining(self) -> int:
        """Steps still to do."""
        return 0 if self.ending else self._plan.recipe.steps - self.step

    @property
    def spec(self) -> ProgramSpec:
        """Of the program that the next step needs: the octave's, and with ReLUs open or not."""
        ends = accumulate(stage.steps for stage in self._plan.stages)
        stages = zip(ends, self._plan.stages, strict=True)
        stage = next((s for end, s in stages if self.step < end), self._plan.stages[-1])
        return replace(stage.spec, redirect=True) if self.step < self._warm_until else stage.spec

    @property
    def at(self) -> tuple[Program, Ascent]:
        """The program it was entered with last, and how far it is."""
        assert self._at is not None
        return self._at

    @property
    def merit(self) -> float:
        """How good the picture is that was measured last, beside others of the same request."""
        return self._merit(self.trajectory[-1])

    @property
    def attempt(self) -> Attempt:
        """What is told of it when it is over."""
        assert self.ending is not None
        return Attempt(self.seed, self.step, self.trajectory[-1].activation, self.ending)

    @property
    def gradient_status(self) -> GradientStatus:
        """Whether the gradient had to be helped, or vanished."""
        if self.gradient_norm < SATURATED * self._largest_norm:
            return "saturated"
        return "redirected" if self._warm_ups else "ok"

    def begin(
        self, executor: Executor, program: Program, goal: Goal
    ) -> tuple[Ascent, dict[str, Array]]:
        """Where it stands, and what its next step is fed; may be asked again."""
        ascent = self._enter(executor, program, goal)
        inputs = step_inputs(
            program.spec, self._plan.recipe, self.seed, self.step + 1, before=self._before
        )
        if program.spec.redirect:
            inputs["learning_rate"] *= WARM_UP_RATE
        return ascent, inputs

    def end(self, executor: Executor, goal: Goal, outcome: Outcome) -> None:
        """The step was taken. Raises DeadGradient or NotFinite."""
        self.step += 1
        if not math.isfinite(outcome.gradient_norm + outcome.activation):
            raise NotFinite(
                f"step {self.step}: activation {outcome.activation}, gradient norm "
                f"{outcome.gradient_norm}; the model overflows on this image"
            )
        self.gradient_norm = outcome.gradient_norm
        self._largest_norm = max(self._largest_norm, outcome.gradient_norm)
        self._watch_gradient(outcome.gradient_norm, redirected=self.at[0].spec.redirect)
        steps = self._plan.recipe.steps
        if self.step % max(steps // TRAJECTORY_POINTS, 1) == 0 or self.step == steps:
            self._measure(executor, goal)
        if self.ending and not self._alive:
            raise self._dead()

    def _enter(self, executor: Executor, program: Program, goal: Goal) -> Ascent:
        """The ascent at the size of `program`, begun, grown from the size before or faded.

        The optimizer begins anew: what it knows is about other parameters.
        """
        plan, spec = self._plan, program.spec
        if self._at is None:
            parameters = self._first_parameters(spec)
        else:
            entered, ascent = self._at
            fades = self._before < self.step == opening_steps(spec, plan.recipe)
            if entered.spec.image == spec.image and not fades:
                self._at = program, ascent
                return ascent
            parameters = self._faded(executor) if fades else ascent.parameters()
            resize = PARAMETERIZATIONS[spec.parameterization].resize
            parameters = resize(parameters, entered.spec.image, spec.image)
        fixed = fixed_inputs(
            spec, plan.recipe, plan.prior, goal.weights, plan.request.target, goal.unlike
        )
        ascent = Ascent(program, parameters, fixed)
        self._at, self._before = (program, ascent), self.step
        if not self.trajectory:
            self._measure(executor, goal)
        return ascent

    def _faded(self, executor: Executor) -> Array:
        """Parameters of the picture as it stands with the contrast that the opening leaves it."""
        opening, (program, ascent) = self._plan.recipe.opening, self.at
        assert opening is not None
        image = executor.render(program, ascent, exact=True)
        faint = np.asarray(0.5 + opening.contrast * (image - 0.5), np.float32)
        return PARAMETERIZATIONS[program.spec.parameterization].fit(faint, self._plan.prior.colors)

    def _first_parameters(self, spec: ProgramSpec) -> Array:
        plan = self._plan
        if plan.start is None:
            return plan.recipe.start.draw(self.seed, spec.parameterization, spec.image)
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
        unit, layer = self._plan.unit, self._plan.layer.name
        subject = f"layer {layer!r}" if unit is None else f"unit {unit} of layer {layer!r}"
        return DeadGradient(
            f"the gradient of {subject} is zero and stays zero after {self._warm_ups} "
            "warm-ups with opened ReLUs; try the layer before the activation, another seed or "
            "another unit"
        )

    def _measure(self, executor: Executor, goal: Goal) -> None:
        program, ascent = self.at
        picture = executor.render(program, ascent)
        activation = executor.judge(program, goal.weights, picture).activation
        self.trajectory.append(TrajectoryPoint(self.step, activation))
        if self.step and program.spec.image == self._plan.image:
            self.ending = self._found_ending(activation)

    def _found_ending(self, activation: float) -> Ending | None:
        """Why it is over at the size of the finished picture, if it is."""
        target, patience = self._plan.request.target, self._plan.request.patience_steps
        if target is not None:
            begun = self.trajectory[0].activation
            if (begun <= target) == (activation >= target):
                return "target"
        here = [point for point in self.trajectory if point.step >= self._before]
        best = max(here, key=self._merit)
        if patience is not None and self._alive and self.step - best.step >= patience:
            return "plateau"
        return "steps" if self.step == self._plan.recipe.steps else None

    def _merit(self, point: TrajectoryPoint) -> float:
        target = self._plan.request.target
        return point.activation if target is None else -abs(point.activation - target)
