"""The ratios that matter of one model's times."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

Result = dict[str, Any]
HEAVY = ("resnet50", "vgg16", "inception_v3", "densenet121", "vit_b_16")
PYTORCH = ("eager", "channels_last", "compile")
_SAME = 0.1
"""Gradients further apart than this, by their norms, are not the same; where a ReLU's input is near
zero, rounding alone makes a difference of a few hundredths.
"""


@dataclass(frozen=True, slots=True)
class Timed:
    """What was found of a model. Ratios are None where something was not measured."""

    result: Result

    @property
    def name(self) -> str:
        """Of the model."""
        return str(self.result["model"])

    @property
    def target(self) -> float:
        """Of a gradient over a forward pass."""
        return 1.9 if self.name in HEAVY else 2.3

    @property
    def batches(self) -> list[int]:
        """Numbers of pictures, ascending."""
        return sorted(int(rows) for name, rows in self._named() if name == "forward")

    def median(self, task: str, batch: int = 1) -> float | None:
        """Milliseconds."""
        found = self.result["tasks"].get(f"{task}/{batch}")
        return None if found is None else float(found["median_ms"])

    def ratio(self, task: str, other: str, batch: int = 1) -> float | None:
        """Of the times of two tasks."""
        return _over(self.median(task, batch), self.median(other, batch))

    def gain(self, task: str, batch: int) -> float | None:
        """How much sooner a batch is done than its pictures one by one."""
        return _over(self.median(task), self.median(task, batch), batch)

    def best_gain(self, task: str, most: int) -> float | None:
        """The same for at most so many, in whichever batches take least time; alone counts, too."""
        sizes = (int(rows) for name, rows in self._named() if name == task)
        gains = [self.gain(task, rows) for rows in sizes if rows <= most]
        return max((gain for gain in gains if gain is not None), default=None)

    def middle(self) -> float | None:
        """The gradient of the middle layer over two passes up to it."""
        return _over(self.median("middle_gradient"), self.median("middle_forward"), 0.5)

    def best(self, variants: Sequence[str] = PYTORCH, batch: int = 1) -> str | None:
        """The fastest of `variants`."""
        times = {variant: self.median(variant, batch) for variant in variants}
        known = {variant: time for variant, time in times.items() if time is not None}
        return min(known, key=lambda variant: known[variant]) if known else None

    def against(self, ours: str, batch: int = 1, variants: Sequence[str] = PYTORCH) -> float | None:
        """The fastest of `variants` over a task of ours."""
        best = self.best(variants, batch)
        return None if best is None else self.ratio(best, ours, batch)

    def _named(self) -> Iterator[list[str]]:
        """Tasks and numbers of pictures."""
        return (task.split("/") for task in self.result["tasks"])

    def differs(self, variant: str, batch: int = 1) -> float | None:
        """How far a peer's gradient is from ours, if that is too far."""
        found = self.result["peers"].get(f"{variant}/{batch}", {}).get("differs")
        return None if found is None or found <= _SAME else float(found)


def _over(one: float | None, other: float | None, factor: float = 1.0) -> float | None:
    return None if one is None or other is None else factor * one / other
