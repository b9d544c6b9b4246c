"""Results that need no model, and somebody who counts, for tests of what is remembered."""

from __future__ import annotations

import math
import random

from unitscope.engine.request import (
    Accepted,
    Attempt,
    Calibration,
    ClassScore,
    Exemplar,
    Maximization,
    Metrics,
    Preprocessing,
    TrajectoryPoint,
)
from unitscope.engine.shared_run import Finished

METRICS = Metrics(
    model="small",
    model_version="1",
    model_sha256="0" * 64,
    layer="fc",
    tensor="logits",
    unit=1,
    unit_count=5,
    label="bee",
    activation_start=0.1,
    activation_end=1 / 3,
    activation_best=math.inf,
    margin=None,
    probability=0.5,
    noise_z_score=-0.0,
    robustness=1.0,
    total_variation=1e-300,
    clipped_share=0.0,
    high_frequency_share=0.25,
    calibration=Calibration(percentile=50.0, ratio=None, exemplars=(Exemplar(0, 1.0),)),
    doubts=("it may be é",),
    trajectory=(TrajectoryPoint(0, 0.1), TrajectoryPoint(4, 1 / 3)),
    rank=None,
    top_classes=(ClassScore(1, "bee", 0.5),),
    gradient_norm=2.0,
    gradient_status="ok",
    steps=4,
    ending="plateau",
    seed=2**63 - 1,
    attempts=(Attempt(2**63 - 1, 4, 1 / 3, "plateau"),),
    queued_seconds=0.1,
    compiling_seconds=0.0,
    running_seconds=1.5,
    measuring_seconds=0.1,
    steps_per_second=8 / 3,
    preprocessing=Preprocessing("NCHW", "RGB", 8, 8, 0.0, 1.0, (0.5,), (1.0,), False),
)


def finished(seed: int, size_bytes: int = 10_000) -> Finished:
    """A result whose picture is random; the same for the same arguments."""
    return Finished(
        Accepted("id", "small", "1", "logits", 1, "bee", 4, 8, 8),
        Maximization(
            request_id="id",
            image=random.Random(seed).randbytes(size_bytes),
            image_format="png",
            width_px=8,
            height_px=8,
            metrics=METRICS,
            record='{"platform": {}}',
        ),
    )


class Counts:
    """Counts what an observer is told."""

    def __init__(self) -> None:
        self.hits = self.misses = self.failures = self.bytes = self.joins = self.steps = 0

    def cache_hit(self) -> None:
        self.hits += 1

    def cache_miss(self) -> None:
        self.misses += 1

    def cache_failed(self) -> None:
        self.failures += 1

    def cache_bytes(self, count: int) -> None:
        self.bytes = count

    def joined(self) -> None:
        self.joins += 1

    def step(self, seconds: float, rows: int) -> None:  # noqa: ARG002  an Observer
        self.steps += rows

    def compiled(self, seconds: float) -> None:
        """It is not counted."""
