"""The memory of one row on its device, at addresses that stay.

What a graphics processor captures and replays reads and writes where it did when it was captured.
So memory outlives the ascent that it is for and serves the next one: a program has no more captured
graphs than it had ascents at once, two for each.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime as ort

from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.subject import port
from unitscope.engine.device import Device

MEASURES = ("activation", "gradient_norm")
"""Outputs of a step that hold all rows."""
_numbers = itertools.count(1)


def run_options(graph: int = -1) -> ort.RunOptions:
    """Options of a run that is captured under the number `graph`, or replayed; -1: as it is."""
    options = ort.RunOptions()
    options.add_run_config_entry("gpu_graph_id", str(graph))
    return options


class Slot:
    """Two sets of the state, which take turns, and all that a step is fed besides.

    `session`: of the step that runs here alone. `inputs`: by name, what is not state.
    """

    def __init__(self, session: ort.InferenceSession, spec: ProgramSpec, device: Device) -> None:
        def empty(shapes: Mapping[str, Sequence[int]]) -> dict[str, ort.OrtValue]:
            make = ort.OrtValue.ortvalue_from_shape_and_type
            return {
                name: make(list(shape), np.float32, device.kind, device.index)
                for name, shape in shapes.items()
            }

        first = port("")  # inputs of other rows are numbered
        names = {x.name.removeprefix(first): x.shape for x in session.get_inputs()}
        shapes = {name: shape for name, shape in names.items() if "/" not in name}
        state = {name: shapes.pop(name) for name in spec.state_shapes}
        self.session = session
        self.state, self._next = empty(state), empty(state)
        self.inputs = empty(shapes)
        self._measures = empty({name: [1] for name in MEASURES})
        self._alone: dict[int, tuple[ort.IOBinding, ort.RunOptions]] = {}

    def begin(self, parameters: np.ndarray) -> None:
        """Set the state to `parameters` and zeros."""
        for name, value in self.state.items():
            zeros = np.zeros(value.shape(), np.float32)
            value.update_inplace(zeros if name != "parameters" else parameters.reshape(zeros.shape))

    def feed(self, inputs: Mapping[str, np.ndarray]) -> None:
        """Say what the next steps are fed, by name; what is not given stays as it is."""
        for name, content in inputs.items():
            self.inputs[name].update_inplace(np.ascontiguousarray(content))

    def turn(self) -> None:
        """The step was taken: the next state is the state."""
        self.state, self._next = self._next, self.state

    def bind(self, binding: ort.IOBinding, row: int = 0) -> None:
        """Let a step read and write here as its row number `row`."""
        for name, value in (self.state | self.inputs).items():
            binding.bind_ortvalue_input(port(name, row), value)
        for name, value in self._next.items():
            binding.bind_ortvalue_output(port(f"next_{name}", row), value)

    def alone(self) -> tuple[ort.IOBinding, ort.RunOptions]:
        """How `session` runs: the same for the same set of the state, measures last."""
        known = id(self.state)
        if known not in self._alone:
            binding = self.session.io_binding()
            self.bind(binding)
            for name, value in self._measures.items():
                binding.bind_ortvalue_output(port(name), value)
            self._alone[known] = binding, run_options(next(_numbers))
        return self._alone[known]
