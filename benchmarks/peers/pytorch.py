"""PyTorch's autograd, the weights frozen, in two memory formats."""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks import zoo
from benchmarks.peers.case import Case, GradientTask, Tasks

torch: Any = importlib.import_module("torch")

DISTRIBUTION = "torch"


def prepare(case: Case) -> Tasks:
    """Eager execution; the second task does not change the first's module."""
    return {
        "eager": gradient(frozen(case), case, torch.contiguous_format),
        "channels_last": gradient(frozen(case), case, torch.channels_last),
    }


def frozen(case: Case) -> Any:
    """The model of the case, whose weights get no gradient."""
    torch.set_num_threads(case.threads)
    module, _ = zoo.module_of(case.model)
    return module.requires_grad_(requires_grad=False)


def gradient(module: Any, case: Case, memory_format: Any) -> GradientTask:
    """Computes the gradient of the case through `module`."""
    module = module.to(memory_format=memory_format)
    pictures = torch.from_numpy(case.pictures).to(memory_format=memory_format)
    cotangent = torch.from_numpy(case.cotangent)

    def run() -> object:
        x = pictures.detach().requires_grad_()
        (found,) = torch.autograd.grad(module(x), x, cotangent)
        return found

    return run
