"""PyTorch's autograd through `torch.compile`, the weights frozen."""

from __future__ import annotations

from benchmarks.peers.case import Case, Tasks
from benchmarks.peers.pytorch import DISTRIBUTION, frozen, gradient, torch

__all__ = ["DISTRIBUTION", "prepare"]


def prepare(case: Case) -> Tasks:
    """In the format that PyTorch recommends for convolutions on a processor."""
    torch.set_num_threads(case.threads)
    module = torch.compile(frozen(case.model, torch.channels_last), dynamic=False)
    return {"compile": gradient(module, case, torch.channels_last)}
