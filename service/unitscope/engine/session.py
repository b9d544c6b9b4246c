"""Sessions of ONNX Runtime, and what it raises as errors of ours."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from onnx import helper
from onnxruntime.capi import onnxruntime_pybind11_state as errors

from unitscope.ascent.subject import Subject, held_inputs
from unitscope.engine.device import Device
from unitscope.engine.sharing import CPU, Compiled, footprint, handed_over, quiet_options
from unitscope.errors import ModelRejected, OutOfMemory
from unitscope.graph.ir import Parts
from unitscope.graph.original import with_output

_log = logging.getLogger(__name__)

_WEIGHTS_DIRECTORY = "session.model_external_initializers_file_folder_path"
_NO_MEMORY = "Failed to allocate memory"
_ORT_ERRORS = (
    errors.EPFail, errors.Fail, errors.InvalidArgument, errors.InvalidGraph,
    errors.NotImplemented, errors.RuntimeException, RuntimeError,
)  # fmt: skip
"""The last is of runs that are bound, and of a device that fails."""


@contextlib.contextmanager
def typed() -> Iterator[None]:
    """What ONNX Runtime raises, as a refusal of the model, unless only memory was short."""
    try:
        yield
    except _ORT_ERRORS as error:
        if _NO_MEMORY in str(error):
            raise OutOfMemory(f"ONNX Runtime has too little memory: {error}") from error
        raise ModelRejected(f"ONNX Runtime cannot run it: {error}") from error


def open_session(
    parts: Parts, options: ort.SessionOptions, providers: Sequence[Any]
) -> ort.InferenceSession:
    """A session of a model whose large weights are handed over in memory.

    Raises ModelRejected where ONNX Runtime has no kernel or finds the graph invalid.
    """
    with handed_over(parts.weights, options), typed():
        return ort.InferenceSession(
            parts.model.SerializeToString(), options, providers=providers, enable_fallback=0
        )


def compile_placed(parts: Parts, device: Device, *, threads: int, captured: bool) -> Compiled:
    """Make `parts` ready to run on a graphics processor, and say what that has no kernels for.

    `captured`: its work is to be replayed as one, which is so if all of it is done there.
    """
    taken = footprint(parts)
    try:
        session = _placed(parts, device, threads, captured=captured)
    except ModelRejected as reason:
        if not captured:
            raise
        _log.info("a step is not captured: %s", reason)
        captured = False
        session = _placed(parts, device, threads, captured=False)
    elsewhere = nodes_elsewhere(session, device)
    if elsewhere:
        _log.warning("%s leaves to the processor: %s", device.provider, ", ".join(elsewhere))
    own = taken.total - taken.peak
    return Compiled(session, (), own, taken.peak, captured=captured, elsewhere=elsewhere)


def _placed(parts: Parts, device: Device, threads: int, *, captured: bool) -> ort.InferenceSession:
    options = quiet_options(threads)
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    return open_session(parts, options, device.providers(captured=captured))


def nodes_elsewhere(session: ort.InferenceSession, device: Device) -> tuple[str, ...]:
    """The nodes that were not given to the device's provider, by operator and, if any, name."""
    return tuple(
        f"{node.op_type} {node.name}".rstrip()
        for graph in session.get_provider_graph_assignment_info()
        if graph.ep_name != device.provider
        for node in graph.get_nodes()
    )


class Session:
    """A graph to be run now and then, on the processor."""

    def __init__(self, parts: Parts, *, weights_beside: Path | None = None) -> None:
        """`weights_beside`: the directory of weights that the model itself keeps in files."""
        options = quiet_options()
        if weights_beside is not None:
            options.add_session_config_entry(_WEIGHTS_DIRECTORY, str(weights_beside))
        self._session = open_session(parts, options, [CPU])
        self.inputs = tuple(declared.name for declared in self._session.get_inputs())

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """All outputs for `inputs` in the graph's order; raises ModelRejected where that fails."""
        with typed():
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
