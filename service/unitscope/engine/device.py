"""Where programs run: the processor, or a graphics processor that is there and works."""

from __future__ import annotations

import contextlib
import re
import sys
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime as ort

from unitscope.engine.sharing import CPU, quiet_options
from unitscope.errors import InvalidRequest
from unitscope.graph.dialect import OPSET
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph
from unitscope.graph.target import PROCESSOR, Target

CUDA = "CUDAExecutionProvider"
_PROVIDERS = {"cpu": CPU, "cuda": CUDA}
_PRECISIONS = ("float32", "float16")


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """`kind`: as ONNX Runtime calls memory, "cpu" or "cuda". `index`: which one of that kind."""

    kind: str = "cpu"
    index: int = 0
    target: Target = PROCESSOR

    @property
    def provider(self) -> str:
        """The execution provider that all nodes should be given to."""
        return _PROVIDERS[self.kind]

    @property
    def computes_with(self) -> str:
        """The provider and, unless it is single, the precision: what bytes depend on."""
        return f"{self.provider} float16" if self.target.half else self.provider

    @property
    def row_tolerance(self) -> float:
        """So much may differ between a row in a batch and alone; where it is 0, no byte."""
        if self.kind == "cpu":
            return 0.0
        return 1e-2 if self.target.half else 1e-4  # another size may get another kernel

    def providers(self, *, captured: bool = False) -> list[Any]:
        """What a session is to run on, the processor where the device has no kernel.

        `captured`: its work is recorded once and then replayed as one (a CUDA graph).
        """
        if self.kind == "cpu":
            return [CPU]
        options = {
            "device_id": str(self.index),
            "enable_cuda_graph": str(int(captured)),
            "cudnn_conv_algo_search": "HEURISTIC",  # a search by time differs from run to run
            "use_tf32": "0",  # else float32 is rounded to ten bits
        }
        return [(self.provider, options), CPU]


THE_PROCESSOR = Device()


def find_device(device: str, precision: str) -> Device:
    """The device of the settings `device` and `precision`, once it has computed something.

    Raises InvalidRequest where there is none: nothing else takes its place.
    """
    said = re.fullmatch(r"cpu|cuda(?::(\d+))?", device)
    if said is None:
        raise InvalidRequest("device", device, "cpu, cuda or, of several, cuda:N")
    kind = device.partition(":")[0]
    if precision not in _PRECISIONS or (kind == "cpu" and precision != "float32"):
        expected = "float32 on cpu, float32 or float16 on cuda"
        raise InvalidRequest("precision", precision, expected)
    if kind == "cpu":
        return THE_PROCESSOR
    found = Device(
        kind=kind,
        index=int(said[1] or 0),
        target=Target(even_pads=True, half=precision == "float16"),
    )
    _try(found, device)
    return found


def _try(device: Device, name: str) -> None:
    known = ort.get_available_providers()
    if device.provider not in known:
        has = f"this ONNX Runtime has {', '.join(known)}"
        raise InvalidRequest("device", name, f"cpu: {has}; unitscope[gpu] brings {CUDA}")
    with contextlib.redirect_stdout(sys.stderr):  # it says what is missing
        ort.preload_dlls()
    op = Emitter(Graph(OPSET))
    model = op.graph.to_model([op.Relu(op.graph.add_input("x", np.float32, [1]))])
    try:
        session = ort.InferenceSession(
            model.SerializeToString(),
            quiet_options(),
            providers=device.providers(),
            enable_fallback=0,
        )
        session.run(None, {"x": np.ones(1, np.float32)})
    except Exception as error:  # ONNX Runtime raises half a dozen kinds
        raise InvalidRequest("device", name, f"a device that works: {error}") from error
    if session.get_providers()[0] != device.provider:
        expected = f"cpu: {CUDA} cannot be loaded, its driver, CUDA or cuDNN is missing"
        raise InvalidRequest("device", name, expected)
