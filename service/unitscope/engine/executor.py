"""Runs programs on ONNX Runtime. Holds no queue and decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from weakref import WeakValueDictionary

import numpy as np
import onnxruntime as ort

from unitscope.ascent.finished import build_judge, build_reference, build_render, build_texture
from unitscope.ascent.parameterizations import Array
from unitscope.ascent.program import build_step
from unitscope.ascent.spec import ProgramSpec, TermSpec
from unitscope.ascent.subject import port
from unitscope.engine.measures import noise_pictures
from unitscope.engine.picture import Pixels
from unitscope.engine.session import open_session, typed
from unitscope.engine.sharing import (
    CPU,
    Compiled,
    Footprint,
    Weights,
    compile_shared,
    footprint,
    quiet_options,
)
from unitscope.graph.ir import Parts
from unitscope.graph.layers import Layer

RUNTIME_VERSION: str = ort.__version__

_PROVIDERS = ("CUDAExecutionProvider", CPU)
_MEASURES = ("activation", "gradient_norm")
"""Outputs of a step that hold all rows."""
PROVIDER = next(name for name in _PROVIDERS if name in ort.get_available_providers())
"""What computes programs here, unless it refuses and the processor does it."""
ROW_TOLERANCE = 1e-4
"""So much may differ between a row in a batch and alone where other kernels are chosen (CUDA)."""


@dataclass(slots=True, eq=False)
class Program:
    """The compiled graphs of a spec, and what its judge made of noise once that was asked.

    Only `step` has the spec's rows, the other graphs have one.
    """

    spec: ProgramSpec
    step: Compiled
    render: Compiled
    judge: Compiled
    noise_scores: np.ndarray | None = None

    @property
    def graphs(self) -> tuple[Compiled, ...]:
        """All of them."""
        return self.step, self.render, self.judge

    @property
    def provider(self) -> str:
        """The execution provider that runs it."""
        return str(self.step.session.get_providers()[0])


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brings back of a row."""

    activation: float
    gradient_norm: float


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
    """The state of one request on the device: two sets of tensors that take turns.

    The optimizer's begins at zero. `fixed`: inputs that stay as they are.
    """

    def __init__(
        self, program: Program, parameters: np.ndarray, fixed: Mapping[str, np.ndarray]
    ) -> None:
        spec, device = program.spec, _device(program.step.session)
        first, *others = spec.state_shapes.values()
        begun = [parameters.reshape(first)]  # each has memory of its own: it is not copied
        begun += [np.zeros(shape, np.float32) for shape in others]
        self.current = [ort.OrtValue.ortvalue_from_numpy(tensor, device) for tensor in begun]
        self.spare = [
            ort.OrtValue.ortvalue_from_shape_and_type(list(tensor.shape), np.float32, device)
            for tensor in begun
        ]
        self.fixed = {
            name: ort.OrtValue.ortvalue_from_numpy(content, device)
            for name, content in fixed.items()
        }

    def parameters(self) -> Array:
        """Those of the one row as they stand, without their first axis."""
        return np.asarray(self.current[0].numpy()[0], np.float32)

    def opacity(self) -> Array:
        """How much each pixel mattered so far `[H, W]`; of a program that adds it up."""
        return np.asarray(self.current[-1].numpy()[0, 0], np.float32)


class Executor:
    """Compiles programs and advances ascents.

    `threads`: for one step where they are not shared; 0: all usable cores. The graphics processor
    is used where the installed ONNX Runtime has one.
    """

    def __init__(self, *, threads: int = 0) -> None:
        ort.disable_telemetry_events()
        self._threads = threads
        self._providers = [name for name in _PROVIDERS if name in ort.get_available_providers()]
        self._weights = Weights()
        self._shown: WeakValueDictionary[ProgramSpec, Compiled] = WeakValueDictionary()
        self._judging: WeakValueDictionary[ProgramSpec, Compiled] = WeakValueDictionary()

    def compile(
        self, spec: ProgramSpec, reserve: Callable[[Footprint], None] = lambda _: None
    ) -> Program:
        """Build the graphs of `spec` and make them ready to run.

        `reserve`: is told what the step will take before that is done, and may refuse.
        """
        step = build_step(spec)
        reserve(footprint(step))
        return Program(
            spec,
            step=self._compile(step),
            render=self._once(self._shown, build_render, spec.shown),
            judge=self._once(self._judging, build_judge, spec.judged),
        )

    def step(
        self,
        program: Program,
        ascents: Sequence[Ascent],
        inputs: Sequence[Mapping[str, np.ndarray]],
    ) -> list[Outcome]:
        """One step upwards of each ascent, the state staying where it is.

        `program`: for as many rows. `inputs`: of this step.
        """
        binding = program.step.session.io_binding()
        for row, (ascent, given) in enumerate(zip(ascents, inputs, strict=True)):
            _bind(binding, program.spec, row, ascent, given)
        for name in _MEASURES:
            binding.bind_output(port(name), "cpu")
        with typed():
            program.step.session.run_with_iobinding(binding)
        for ascent in ascents:
            ascent.current, ascent.spare = ascent.spare, ascent.current
        activations, norms = (value.numpy() for value in binding.get_outputs()[-2:])
        return [
            Outcome(float(one), float(norm)) for one, norm in zip(activations, norms, strict=True)
        ]

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
            found = dict(zip(names, together.step.session.run(None, fed), strict=True))
            for row in rows:
                expected = alone.step.session.run(None, drawn[row])
                for output, one in zip(alone.step.session.get_outputs(), expected, strict=True):
                    name, shared = output.name, output.name in map(port, _MEASURES)
                    other = found[name][row : row + 1] if shared else found[_of_row(name, row)]
                    if not _agree(other, one, alone.provider):
                        return False
        return True

    def render(self, program: Program, ascent: Ascent, *, exact: bool = False) -> np.ndarray:
        """The picture `[C, H, W]` as it stands; `exact`: float32 in 0..1, before it is rounded."""
        with typed():
            (picture,) = program.render.session.run_with_ort_values(
                [port("image" if exact else "picture")],
                {port("parameters"): ascent.current[0]}
                | {port(name): ascent.fixed[name] for name in program.spec.prior_shapes},
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

    def noise_scores(self, program: Program, weights: Sequence[np.ndarray]) -> np.ndarray:
        """Scores `[pictures, K]` of the first term's units on pictures of noise."""
        if program.noise_scores is None:
            pictures = noise_pictures(*program.spec.image.shape)
            found = [self.judge(program, weights, picture).scores for picture in pictures]
            program.noise_scores = np.stack(found)
        return program.noise_scores

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
        if self._providers[0] == CPU:
            with typed():
                return compile_shared(parts, self._weights, threads=self._threads, packed=packed)
        taken = footprint(parts)
        return Compiled(self._session(parts), (), taken.total - taken.peak, taken.peak)

    def _session(self, parts: Parts) -> ort.InferenceSession:
        return open_session(parts, quiet_options(self._threads), self._providers)


def _of_row(name: str, row: int) -> str:
    return port(name.removeprefix(port("")), row)


def _agree(one: np.ndarray, other: np.ndarray, provider: str) -> bool:
    if provider == _PROVIDERS[-1]:
        return one.tobytes() == other.tobytes()
    return bool(np.allclose(one, other, rtol=ROW_TOLERANCE, atol=ROW_TOLERANCE))


def _bind(
    binding: ort.IOBinding,
    spec: ProgramSpec,
    row: int,
    ascent: Ascent,
    inputs: Mapping[str, np.ndarray],
) -> None:
    for name, now, then in zip(spec.state_shapes, ascent.current, ascent.spare, strict=True):
        binding.bind_ortvalue_input(port(name, row), now)
        binding.bind_ortvalue_output(port(f"next_{name}", row), then)
    for name, value in ascent.fixed.items():
        binding.bind_ortvalue_input(port(name, row), value)
    for name, content in inputs.items():
        binding.bind_cpu_input(port(name, row), content)


def _device(session: ort.InferenceSession) -> str:
    return "cuda" if session.get_providers()[0] == _PROVIDERS[0] else "cpu"
