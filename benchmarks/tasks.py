"""What is timed of unitscope: a model's file, its gradient, and steps as the engine takes them."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmarks.timing import Task
from unitscope.ascent.inputs import fixed_inputs, step_inputs
from unitscope.ascent.objectives import one_hot
from unitscope.ascent.probe import build_probe
from unitscope.engine.executor import Ascent, Executor, Program
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.plan import Plan, resolve
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.session import FileSession, Session
from unitscope.engine.sharing import Weights, compile_shared
from unitscope.graph.layers import Layer

Array = np.ndarray[Any, Any]
_DIGEST_STEPS = 3


class LayerGraphs:
    """A file up to a layer, and the layer with its gradient, for `rows` pictures.

    `file`: asked for that layer. `fed`: what the model takes. `weights`: shared with others, as
    among programs.
    """

    def __init__(
        self, file: FileSession, model: LoadedModel, layer: Layer, rows: int, weights: Weights
    ) -> None:
        probe = build_probe(model.subject, layer.tensor, rows)
        rng, card = np.random.default_rng(0), model.subject.card
        shape = (rows, len(card.channels), card.height_px, card.width_px)
        self._pictures = rng.random(shape, np.float32)
        self.cotangent = rng.standard_normal(probe.layer_shape).astype(probe.layer_type)
        shown = Session(probe.forward)
        self.fed = shown.run(self._pictures)[0]
        black = shown.run(np.zeros(shape, np.float32))[0]
        self._slopes = [  # preprocessing is linear, and may reorder channels
            shown.run(np.broadcast_to(lit[:, None, None], shape).copy())[0] - black
            for lit in np.eye(len(card.channels), dtype=np.float32)
        ]
        self._channel_axis = 1 if card.layout == "NCHW" else -1
        self._file = file
        self._compiled = compile_shared(probe.gradient, weights, threads=0, packed=True)
        names = (declared.name for declared in self._compiled.session.get_inputs())
        self._inputs = dict(zip(names, (self._pictures, self.cotangent), strict=True))

    def forward(self) -> object:
        """A pass of the file in ONNX Runtime: the yardstick."""
        return self._file.run(self.fed)

    def gradient(self) -> Array:
        """By the pictures, before preprocessing."""
        _, gradient = self._compiled.session.run(None, self._inputs)
        return np.asarray(gradient)

    def difference(self, theirs: Array) -> float:
        """Of somebody's gradient by `fed` from ours, over the size of ours."""
        ours = self.gradient()
        channels = [(theirs * slope).sum(self._channel_axis) for slope in self._slopes]
        return float(np.linalg.norm(ours - np.stack(channels, 1)) / np.linalg.norm(ours))


@dataclass(frozen=True, slots=True)
class Climbing:
    """Ascents of one request's kind, as the engine runs them."""

    executor: Executor
    plan: Plan

    def program(self, rows: int) -> Program:
        """That steps so many of them at once."""
        return self.executor.compile(replace(self.plan.stages[-1].spec, rows=rows))

    def begun(self, program: Program) -> Ascent:
        """One that has not taken a step."""
        plan, spec = self.plan, self.plan.stages[-1].spec
        parameters = plan.recipe.start.draw(0, spec.parameterization, spec.image)
        weights = [one_hot(plan.layer, 0, None)]
        return Ascent(
            program, parameters, fixed_inputs(spec, plan.recipe, plan.prior, weights, None)
        )

    def step(self, program: Program, ascents: list[Ascent], step: int = 1) -> object:
        """Image, views, preprocessing, gradient, optimizer, measures and Python."""
        spec, recipe = self.plan.stages[-1].spec, self.plan.recipe
        inputs = [step_inputs(spec, recipe, seed, step) for seed in range(len(ascents))]
        return self.executor.step(program, ascents, inputs)

    def task(self, program: Program) -> Task:
        """A step of every row of `program`."""
        return partial(self.step, program, [self.begun(program) for _ in range(program.spec.rows)])

    def digest(self, program: Program) -> str:
        """SHA-256 of the parameters after a few steps of a program with one row."""
        ascent = self.begun(program)
        for step in range(1, _DIGEST_STEPS + 1):
            self.step(program, [ascent], step)
        return hashlib.sha256(ascent.parameters().tobytes()).hexdigest()


def climbing(model: LoadedModel, executor: Executor, layer: str = "") -> Climbing:
    """Of the first unit of a layer ("" = logits), everything else by default."""
    return Climbing(executor, resolve(MaximizeRequest(unit=0, layer=layer), model))
