"""PyTorch's autograd through `torch.compile`, the weights frozen."""

from __future__ import annotations

from benchmarks.peers.case import Case, Tasks
from benchmarks.peers.pytorch import DISTRIBUTION, frozen, gradient, torch

__all__ = ["DISTRIBUTION", "prepare"]


def prepare(case: Case) -> Tasks:
    """In the format that PyTorch recommends for convolutions on a processor."""
    module = frozen(case).to(memory_format=torch.channels_last)
    return {"compile": gradient(torch.compile(module, dynamic=False), case, torch.channels_last)}
