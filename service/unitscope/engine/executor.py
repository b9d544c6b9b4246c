"""Runs programs on ONNX Runtime. Holds no queue and decides nothing."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from unitscope.ascent.program import ProgramSpec, build_judge, build_render, build_step
from unitscope.ascent.subject import Subject, held_inputs, port
from unitscope.engine.picture import Pixels
from unitscope.errors import ModelRejected
from unitscope.graph.ir import Parts
from unitscope.graph.original import with_output

_PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
_FATAL_ONLY = 4
_WEIGHTS_DIRECTORY = "session.model_external_initializers_file_folder_path"
_ORT_ERRORS = (
    errors.EPFail, errors.Fail, errors.InvalidArgument, errors.InvalidGraph,
    errors.NotImplemented, errors.RuntimeException,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Program:
    """The compiled graphs of a spec."""

    spec: ProgramSpec
    step: ort.InferenceSession
    render: ort.InferenceSession
    judge: ort.InferenceSession


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one step brings back of a row."""

    activation: float
    gradient_norm: float


class Ascent:
    """The state of one request on the device: two sets of tensors that take turns."""

    def __init__(
        self, program: Program, parameters: np.ndarray, weights: np.ndarray, rate: float
    ) -> None:
        spec, device = program.spec, _device(program.step)
        shape = spec.parameter_shape
        self.current = [
            ort.OrtValue.ortvalue_from_numpy(parameters.reshape(shape), device),
            *(
                ort.OrtValue.ortvalue_from_numpy(np.zeros(shape, np.float32), device)
                for _ in spec.state_names[1:]
            ),
        ]
        self.spare = [
            ort.OrtValue.ortvalue_from_shape_and_type(list(shape), np.float32, device)
            for _ in spec.state_names
        ]
        self.fixed = {
            "weights": ort.OrtValue.ortvalue_from_numpy(weights[None], device),
            "learning_rate": ort.OrtValue.ortvalue_from_numpy(
                np.full(spec.rows, rate, np.float32), device
            ),
        }


class Executor:
    """Compiles programs and advances ascents.

    `threads`: for one step; 0 means all cores. The graphics processor is used where the
    installed ONNX Runtime has one.
    """

    def __init__(self, *, threads: int = 0) -> None:
        ort.disable_telemetry_events()
        self._threads = threads
        self._providers = [name for name in _PROVIDERS if name in ort.get_available_providers()]

    def compile(self, spec: ProgramSpec) -> Program:
        """Build the graphs of `spec` and make them ready to run."""
        return Program(
            spec,
            step=self._session(build_step(spec)),
            render=self._session(build_render(spec)),
            judge=self._session(build_judge(spec)),
        )

    def step(self, program: Program, ascent: Ascent, number: int, matrices: np.ndarray) -> Outcome:
        """One step upwards, the state staying where it is; `number` counts from 1."""
        binding = program.step.io_binding()
        spec = program.spec
        for name, now, then in zip(spec.state_names, ascent.current, ascent.spare, strict=True):
            binding.bind_ortvalue_input(port(name), now)
            binding.bind_ortvalue_output(port(f"next_{name}"), then)
        for name, value in ascent.fixed.items():
            binding.bind_ortvalue_input(port(name), value)
        binding.bind_cpu_input(port("step"), np.full(spec.rows, number, np.float32))
        if spec.views:
            binding.bind_cpu_input(port("matrices"), matrices[None])
        for name in ("activation", "gradient_norm"):
            binding.bind_output(port(name), "cpu")
        with _typed():
            program.step.run_with_iobinding(binding)
        ascent.current, ascent.spare = ascent.spare, ascent.current
        activation, norm = (float(value.numpy()[0]) for value in binding.get_outputs()[-2:])
        return Outcome(activation, norm)

    def render(self, program: Program, ascent: Ascent) -> Pixels:
        """The picture `[C, H, W]` as it stands."""
        with _typed():
            (picture,) = program.render.run_with_ort_values(
                [port("picture")], {port("parameters"): ascent.current[0]}
            )
        return np.asarray(picture.numpy()[0])

    def judge(self, program: Program, pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
        """Scores of the layer's units and logits `[classes]` on a finished picture."""
        with _typed():
            scores, logits = program.judge.run(
                [port("scores"), port("logits")], {port("picture"): pixels[None]}
            )
        return scores[0], logits[0]

    def _session(self, parts: Parts) -> ort.InferenceSession:
        options = ort.SessionOptions()
        options.intra_op_num_threads = self._threads
        options.log_severity_level = _FATAL_ONLY
        return open_session(parts, options, self._providers)


@contextlib.contextmanager
def _typed() -> Iterator[None]:
    """What ONNX Runtime raises, as a refusal of the model."""
    try:
        yield
    except _ORT_ERRORS as error:
        raise ModelRejected(f"ONNX Runtime cannot run it: {error}") from error


def open_session(
    parts: Parts, options: ort.SessionOptions, providers: Sequence[str]
) -> ort.InferenceSession:
    """A session of a model whose large weights are handed over in memory.

    Raises ModelRejected where ONNX Runtime has no kernel or finds the graph invalid.
    """
    contents = [
        ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(weight))
        for weight in parts.weights.values()
    ]
    if contents:
        options.add_external_initializers(list(parts.weights), contents)
    with _typed():
        return ort.InferenceSession(parts.model.SerializeToString(), options, providers=providers)


class Session:
    """A graph to be run now and then, on the processor."""

    def __init__(self, parts: Parts, *, weights_beside: Path | None = None) -> None:
        """`weights_beside`: the directory of weights that the model itself keeps in files."""
        options = ort.SessionOptions()
        options.log_severity_level = _FATAL_ONLY
        if weights_beside is not None:
            options.add_session_config_entry(_WEIGHTS_DIRECTORY, str(weights_beside))
        self._session = open_session(parts, options, _PROVIDERS[-1:])
        self.inputs = tuple(declared.name for declared in self._session.get_inputs())

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """All outputs for `inputs` in the graph's order; raises ModelRejected where that fails."""
        with _typed():
            results = self._session.run(None, dict(zip(self.inputs, inputs, strict=True)))
        return [np.asarray(result) for result in results]


class FileSession:
    """A model's own file, asked for one of its tensors."""

    def __init__(self, path: Path, subject: Subject, tensor: str) -> None:
        model = with_output(path, tensor)
        self._types = {
            value.name: helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type)
            for value in model.graph.input
        }
        self._subject = subject
        self._session = Session(Parts(model, {}), weights_beside=path.parent)

    def run(self, fed: np.ndarray) -> np.ndarray:
        """The tensor for pictures as the model takes them; pixels in whole numbers are rounded.

        A file that was exported for a larger batch gets them several times.
        """
        subject = self._subject
        rows = max(len(fed), subject.batch)
        image = np.resize(fed, (rows, *fed.shape[1:]))
        whole = np.issubdtype(self._types[subject.image], np.integer)
        inputs = held_inputs(subject, rows) | {subject.image: np.rint(image) if whole else image}
        (tensor,) = self._session.run(
            *(inputs[name].astype(self._types[name]) for name in self._session.inputs)
        )
        return tensor


def _device(session: ort.InferenceSession) -> str:
    return "cuda" if session.get_providers()[0] == _PROVIDERS[0] else "cpu"
