"""PyTorch's autograd, the weights frozen, in two memory formats."""

from __future__ import annotations

import functools
import importlib
from typing import Any

from benchmarks import zoo
from benchmarks.peers.case import Case, GradientTask, Tasks

torch: Any = importlib.import_module("torch")

DISTRIBUTION = "torch"


def prepare(case: Case) -> Tasks:
    """Eager execution."""
    torch.set_num_threads(case.threads)
    formats = {"eager": torch.contiguous_format, "channels_last": torch.channels_last}
    return {
        name: gradient(frozen(case.model, memory_format), case, memory_format)
        for name, memory_format in formats.items()
    }


@functools.cache
def frozen(model: str, memory_format: Any) -> Any:
    """A model of the zoo whose weights get no gradient; one for all batches."""
    module, _ = zoo.module_of(model)
    return module.requires_grad_(requires_grad=False).to(memory_format=memory_format)


def gradient(module: Any, case: Case, memory_format: Any) -> GradientTask:
    """Computes the gradient of the case through `module`."""
    pictures = torch.from_numpy(case.pictures).to(memory_format=memory_format)
    cotangent = torch.from_numpy(case.cotangent)

    def run() -> object:
        x = pictures.detach().requires_grad_()
        (found,) = torch.autograd.grad(module(x), x, cotangent)
        return found

    return run
