"""What is measured of a finished picture with the model's help."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import numpy as np

from unitscope.ascent.objectives import unit_scores
from unitscope.engine.executor import Executor, Judgement, Program
from unitscope.engine.measures import augmented, calibrate, doubts, measure, z_score
from unitscope.engine.picture import Pixels
from unitscope.engine.plan import Plan
from unitscope.engine.request import Assessment


def assess(
    executor: Executor,
    program: Program,
    plan: Plan,
    weights: Sequence[np.ndarray],
    natural: Sequence[float],
    pixels: Pixels,
    end: Judgement,
) -> Assessment:
    """Measure the finished picture `[C, H, W]`, of which the model thinks `end`.

    `weights`: `[K]` of each term. `natural`: what `natural_activations` found.
    """
    rank = margin = probability = noise_z_score = robustness = calibration = None
    if plan.unit is not None:
        scores = _units(plan, end.scores)
        own = float(scores[plan.unit])
        others = np.delete(scores, plan.unit)
        rank = 1 + int(np.sum(others > own))
        margin = own - float(others.max()) if others.size else None
        noise = [_units(plan, row)[plan.unit] for row in executor.noise_scores(program, weights)]
        noise_z_score = z_score(own, np.asarray(noise))
        robustness = _robustness(executor, program, plan, weights, pixels)
        calibration = calibrate(own, natural) if natural else None
        if plan.layer.tensor == plan.model.info.logits_tensor:
            probability = float(softmax(end.logits)[plan.unit])
    assert plan.model.info.preprocessing is not None
    sought = plan.request.weight > 0 and plan.request.target is None
    return Assessment(
        rank=rank,
        margin=margin,
        probability=probability,
        noise_z_score=noise_z_score,
        robustness=robustness,
        calibration=calibration,
        **asdict(measure(pixels)),
        doubts=doubts(
            rank=rank if sought else None,
            robustness=robustness if sought else None,
            noise_z_score=noise_z_score if sought else None,
            calibration=calibration if sought else None,
            inferred=plan.model.info.preprocessing.inferred,
        ),
    )


def natural_activations(
    executor: Executor, program: Program, plan: Plan, weights: Sequence[np.ndarray]
) -> list[float]:
    """Of the unit on each natural image of the request; none for an objective without a unit."""
    if plan.unit is None:
        return []
    judged = (executor.judge(program, weights, image).scores for image in plan.natural_images)
    return [float(_units(plan, scores)[plan.unit]) for scores in judged]


def softmax(logits: np.ndarray) -> np.ndarray:
    """Of `[classes]`, in double precision."""
    shifted = np.exp(logits.astype(np.float64) - logits.max())
    return np.asarray(shifted / shifted.sum())


def _robustness(
    executor: Executor,
    program: Program,
    plan: Plan,
    weights: Sequence[np.ndarray],
    pixels: Pixels,
) -> float | None:
    """The share of augmentations under which the unit wins; a neuron has a place of its own."""
    if plan.request.position is not None:
        return None
    wins = [
        int(np.argmax(executor.judge(program, weights, look).scores)) == plan.unit
        for look in augmented(pixels, plan.request.seed)
    ]
    return sum(wins) / len(wins)


def _units(plan: Plan, scores: np.ndarray) -> np.ndarray:
    return unit_scores(plan.layer, scores, plan.request.position)
