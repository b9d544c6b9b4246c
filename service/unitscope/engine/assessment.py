"""What is measured of a finished picture with the model's help, a judgement at a time."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import asdict

import numpy as np

from unitscope.ascent.objectives import unit_scores
from unitscope.engine.executor import Executor, Judgement, Program
from unitscope.engine.measures import (
    NOISE_PICTURES,
    augmented,
    calibrate,
    doubts,
    measure,
    noise_pictures,
    z_score,
)
from unitscope.engine.picture import Pixels
from unitscope.engine.plan import Plan
from unitscope.engine.request import Assessment


def assess(
    executor: Executor,
    program: Program,
    plan: Plan,
    weights: Sequence[np.ndarray],
    pixels: Pixels,
    end: Judgement,
) -> Generator[None, None, Assessment]:
    """Measure the finished picture `[C, H, W]`, of which the model thinks `end`.

    It stops after each judgement, so that others may have a turn. `weights`: `[K]` of each term.
    """
    rank = margin = probability = noise_z_score = robustness = calibration = None
    if plan.unit is not None:
        scores = _units(plan, end.scores)
        own = float(scores[plan.unit])
        others = np.delete(scores, plan.unit)
        rank = 1 + int(np.sum(others > own))
        margin = own - float(others.max()) if others.size else None
        noise = yield from _noise_scores(executor, program, weights)
        noise_z_score = z_score(own, np.stack([_units(plan, row)[plan.unit] for row in noise]))
        robustness = yield from _robustness(executor, program, plan, weights, pixels)
        natural = yield from _natural_activations(executor, program, plan, weights, plan.unit)
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
) -> Generator[None, None, float | None]:
    """The share of augmentations under which the unit wins; a neuron has a place of its own."""
    if plan.request.position is not None:
        return None
    wins = []
    for look in augmented(pixels, plan.request.seed):
        wins.append(int(np.argmax(executor.judge(program, weights, look).scores)) == plan.unit)
        yield
    return sum(wins) / len(wins)


def _natural_activations(
    executor: Executor, program: Program, plan: Plan, weights: Sequence[np.ndarray], unit: int
) -> Generator[None, None, list[float]]:
    """Of the unit on each natural image of the request."""
    found = []
    for image in plan.natural_images:
        scores = executor.judge(program, weights, image).scores
        found.append(float(_units(plan, scores)[unit]))
        yield
    return found


def _noise_scores(
    executor: Executor, program: Program, weights: Sequence[np.ndarray]
) -> Generator[None, None, np.ndarray]:
    """Scores `[pictures, K]` of the first term's units on pictures of noise.

    They are the same for all requests of a program, which go on where another has left off.
    """
    for number, picture in enumerate(noise_pictures(*program.spec.image.shape)):
        known = () if program.noise_scores is None else program.noise_scores
        if len(known) == NOISE_PICTURES:
            break
        if len(known) == number:
            scores = executor.judge(program, weights, picture).scores
            program.noise_scores = np.stack([*known, scores])
        yield
    assert program.noise_scores is not None
    return program.noise_scores


def _units(plan: Plan, scores: np.ndarray) -> np.ndarray:
    return unit_scores(plan.layer, scores, plan.request.position)
