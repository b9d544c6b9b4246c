"""Runs programs on ONNX Runtime. Holds no queue and decides nothing."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from weakref import WeakValueDictionary, finalize

import numpy as np
import onnxruntime as ort

from unitscope.ascent.finished import build_judge, build_reference, build_render, build_texture
from unitscope.ascent.parameterizations import Array
from unitscope.ascent.program import build_step
from unitscope.ascent.spec import ProgramSpec, TermSpec
from unitscope.ascent.subject import port
from unitscope.engine.device import THE_PROCESSOR, Device
from unitscope.engine.mapping import let_go
from unitscope.engine.picture import Pixels
from unitscope.engine.session import compile_placed, open_session, typed
from unitscope.engine.sharing import (
    Compiled,
    Footprint,
    Weights,
    compile_shared,
    footprint,
    quiet_options,
)
from unitscope.engine.slot import MEASURES, Slot, run_options
from unitscope.graph.ir import Parts
from unitscope.graph.layers import Layer
from unitscope.graph.target import PROCESSOR

RUNTIME_VERSION: str = ort.__version__

_SCALE = 32768.0
"""Of a gradient in half precision, unless that overflows."""
_log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class Program:
    """The compiled graphs of a spec, and what its judge made of noise once that was asked.

    Only `step` has the spec's rows, the other graphs have one. `slots`: those that no ascent has;
    only what was captured keeps them, since it reads and writes there.
    """

    spec: ProgramSpec
    device: Device
    step: Compiled
    render: Compiled
    judge: Compiled
    noise_scores: np.ndarray | None = None
    slots: list[Slot] = field(default_factory=list)

    @property
    def graphs(self) -> tuple[Compiled, ...]:
        """All of them."""
        return self.step, self.render, self.judge


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brings back of a row."""

    activation: float
    gradient_norm: float

    @property
    def overflowed(self) -> bool:
        """Whether the way back is at fault that the step cannot be taken."""
        return math.isfinite(self.activation) and not math.isfinite(self.gradient_norm)


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the model makes of a picture.

    `activation`: of what is climbed. `scores`: `[K]` of the first term's units. `logits`:
    `[classes]`.
    """

    activation: float
    scores: np.ndarray
    logits: np.ndarray


class Ascent:
    """The state of one request on the device; the optimizer's begins at zero.

    `fixed`: inputs that stay as they are.
    """

    def __init__(
        self, program: Program, parameters: np.ndarray, fixed: Mapping[str, np.ndarray]
    ) -> None:
        step, free = program.step, program.slots
        self.slot = free.pop() if free else Slot(step.session, program.spec, program.device)
        if step.captured:
            finalize(self, free.append, self.slot)
        self.slot.begin(parameters)
        self.slot.feed(fixed)
        self.scale = 1.0
        if program.device.target.half:
            self.scale_by(_SCALE)

    def scale_by(self, scale: float) -> None:
        """Let the gradient be so much larger on its way back through half precision."""
        self.scale = scale
        self.slot.feed({"scale": np.array([scale], np.float32)})

    def parameters(self) -> Array:
        """Those of the one row as they stand, without their first axis."""
        return np.asarray(self.slot.state["parameters"].numpy()[0], np.float32)

    def opacity(self) -> Array:
        """How much each pixel mattered so far `[H, W]`; of a program that adds it up."""
        return np.asarray(self.slot.state["opacity"].numpy()[0, 0], np.float32)


class Executor:
    """Compiles programs and advances ascents.

    `threads`: for one step where they are not shared; 0: all usable cores.
    """

    def __init__(self, *, threads: int = 0, device: Device = THE_PROCESSOR) -> None:
        ort.disable_telemetry_events()
        self._threads = threads
        self._device = device
        self._weights = Weights()
        self._shown: WeakValueDictionary[ProgramSpec, Compiled] = WeakValueDictionary()
        self._judging: WeakValueDictionary[ProgramSpec, Compiled] = WeakValueDictionary()

    def compile(
        self, spec: ProgramSpec, reserve: Callable[[Footprint], None] = lambda _: None
    ) -> Program:
        """Build the graphs of `spec` and make them ready to run.

        `reserve`: is told what the step will take before that is done, and may refuse.
        """
        try:
            step = build_step(spec, self._device.target)
            reserve(footprint(step))
            return Program(
                spec,
                self._device,
                step=self._compile(step),
                render=self._once(self._shown, build_render, spec.shown),
                judge=self._once(self._judging, build_judge, spec.judged),
            )
        finally:
            let_go(spec.subject.model.weights)

    def step(
        self,
        program: Program,
        ascents: Sequence[Ascent],
        inputs: Sequence[Mapping[str, np.ndarray]],
    ) -> list[Outcome]:
        """One step upwards of each ascent, the state staying where it is.

        `program`: for as many rows. `inputs`: of this step. Where a gradient leaves the range of
        half precision its scale is halved and the step taken again.
        """
        for ascent, given in zip(ascents, inputs, strict=True):
            ascent.slot.feed(given)
        slots = [ascent.slot for ascent in ascents]
        outcomes = _run(program, slots)
        while overflowed := [
            ascent
            for ascent, outcome in zip(ascents, outcomes, strict=True)
            if outcome.overflowed and ascent.scale > 1.0
        ]:
            for ascent in overflowed:
                ascent.scale_by(ascent.scale / 2)
                _log.info("a gradient overflowed in float16, its scale is %g now", ascent.scale)
            outcomes = _run(program, slots)
        for slot in slots:
            slot.turn()
        return outcomes

    def rows_agree(self, alone: Program, together: Program) -> bool:
        """Whether each row of `together` gives what `alone` gives: on the processor the same bytes.

        What they are fed is drawn: how sums are ordered does not depend on what is summed.
        """
        rng, rows = np.random.default_rng(0), range(together.spec.rows)
        drawn = [
            {
                declared.name: rng.uniform(0.5, 1.5, declared.shape).astype(np.float32)
                for declared in alone.step.session.get_inputs()
            }
            for _ in rows
        ]
        fed = {_of_row(name, row): drawn[row][name] for row in rows for name in drawn[row]}
        names = [output.name for output in together.step.session.get_outputs()]
        with typed():
            found = dict(zip(names, _plainly(together, fed), strict=True))
            for row in rows:
                expected = _plainly(alone, drawn[row])
                for output, one in zip(alone.step.session.get_outputs(), expected, strict=True):
                    name, shared = output.name, output.name in map(port, MEASURES)
                    other = found[name][row : row + 1] if shared else found[_of_row(name, row)]
                    if not _agree(other, one, self._device.row_tolerance):
                        return False
        return True

    def render(self, program: Program, ascent: Ascent, *, exact: bool = False) -> np.ndarray:
        """The picture `[C, H, W]` as it stands; `exact`: float32 in 0..1, before it is rounded."""
        with typed():
            (picture,) = program.render.session.run_with_ort_values(
                [port("image" if exact else "picture")],
                {port("parameters"): ascent.slot.state["parameters"]}
                | {port(name): ascent.slot.inputs[name] for name in program.spec.prior_shapes},
            )
        return np.asarray(picture.numpy()[0])

    def judge(self, program: Program, weights: Sequence[np.ndarray], pixels: Pixels) -> Judgement:
        """What the model makes of a finished picture `[C, H, W]`; `weights`: `[K]` of each term."""
        rows = {
            port(f"weights_{index}"): np.asarray(row, np.float32)[None]
            for index, row in enumerate(weights)
        }
        with typed():
            activation, scores, logits = program.judge.session.run(
                [port("activation"), port("scores"), port("logits")],
                rows | {port("picture"): pixels[None]},
            )
        return Judgement(float(activation[0]), scores[0], logits[0])

    def reference(self, spec: ProgramSpec, term: TermSpec, pixels: Pixels) -> np.ndarray:
        """The weights `[K]` that an image `[C, H, W]`, of the model's size, gives to `term`."""
        session = self._session(build_reference(spec, term))
        with typed():
            (weights,) = session.run(None, {port("picture"): pixels[None]})
        return np.asarray(weights[0])

    def textures(self, spec: ProgramSpec, layer: Layer, pictures: Sequence[Pixels]) -> np.ndarray:
        """The textures `[pictures, units²]` of images `[C, H, W]` of the model's size."""
        session = self._session(build_texture(spec, layer))
        with typed():
            found = [session.run(None, {port("picture"): one[None]})[0] for one in pictures]
        return np.concatenate(found)

    def _once(
        self,
        known: WeakValueDictionary[ProgramSpec, Compiled],
        build: Callable[[ProgramSpec], Parts],
        spec: ProgramSpec,
    ) -> Compiled:
        """The graph of `spec` that another program has, or a new one: it runs too seldom to pay
        for packed matrices.
        """
        found = known.get(spec)
        if found is None:
            known[spec] = found = self._compile(build(spec), packed=False)
        return found

    def _compile(self, parts: Parts, *, packed: bool = True) -> Compiled:
        """`packed`: it runs often, and may keep more memory to run faster."""
        if self._device.target != PROCESSOR:
            return compile_placed(parts, self._device, threads=self._threads, captured=packed)
        with typed():
            return compile_shared(parts, self._weights, threads=self._threads, packed=packed)

    def _session(self, parts: Parts) -> ort.InferenceSession:
        """For a run or two."""
        if self._device.target != PROCESSOR:
            return self._compile(parts, packed=False).session
        return open_session(parts, quiet_options(self._threads), self._device.providers())


def _run(program: Program, slots: Sequence[Slot]) -> list[Outcome]:
    """Compute the next state of each row, and leave the state as it is."""
    session = program.step.session
    if len(slots) == 1 and slots[0].session is session:
        binding, options = slots[0].alone()
    else:
        binding, options = session.io_binding(), run_options()
        for row, slot in enumerate(slots):
            slot.bind(binding, row)
        for name in MEASURES:
            binding.bind_output(port(name), "cpu")
    with typed():
        session.run_with_iobinding(binding, options)
    measures = [value.numpy() for value in binding.get_outputs()[-len(MEASURES) :]]
    return [Outcome(float(one), float(norm)) for one, norm in zip(*measures, strict=True)]


def _plainly(program: Program, fed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """All outputs of a step."""
    return list(program.step.session.run(None, fed, run_options()))


def _of_row(name: str, row: int) -> str:
    return port(name.removeprefix(port("")), row)


def _agree(one: np.ndarray, other: np.ndarray, tolerance: float) -> bool:
    if tolerance == 0:
        return one.tobytes() == other.tobytes()
    return bool(np.allclose(one, other, rtol=tolerance, atol=tolerance))
