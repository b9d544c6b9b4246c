"""Prove what unitscope makes of a model: that it computes the same and its gradient is right.

The lowered forward pass is compared with the file itself, and a projection of the gradient with
central differences of the lowered forward pass, both through ONNX Runtime. A user runs this on a
new model first.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unitscope.ascent.probe import Probe, build_probe
from unitscope.ascent.subject import Subject
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import load_model
from unitscope.engine.preprocessing_check import PreprocessingCheck, check_preprocessing
from unitscope.engine.session import FileSession, Session
from unitscope.errors import ModelRejected

ATTEMPTS = 6
STEP_RMS = (1e-3, 1e-4, 3e-5, 1e-5, 3e-6)
"""How far a picture in 0..1 is moved, as root mean square over its values. Larger steps cross
kinks, smaller ones drown in rounding; which is best differs, so the best counts.
"""
GRADIENT_TOLERANCE = 1e-2
FORWARD_TOLERANCE = 1e-3
REDUCED_PRECISION_TOLERANCE = 0.1
"""Of files in half precision or 8 bits, which are computed in single precision without rounding."""

Verdict = Literal["proven", "forward differs", "gradient differs", "no gradient arrives"]


@dataclass(frozen=True, slots=True)
class Proof:
    """Central differences against the projected gradient, at several random pictures.

    `agreeing` of `attempts` agree within the tolerance for some step size; more than half must,
    since at a kink (ReLU, MaxPool) two sides differ. `zero`: of them had no gradient at all.
    """

    attempts: int
    agreeing: int
    zero: int
    median_error: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkup:
    """Everything that `unitscope check` says.

    `forward_error`: largest difference between file and lowered graph over the largest value of
    the layer; None where ONNX Runtime does not run the file (`forward_note` says why).
    `operators`: on the gradient's path, after lowering. `file_nodes` became `emitted_nodes`.
    """

    verdict: Verdict
    model: str
    sha256: str
    opset: int
    layer: str
    tensor: str
    unit_count: int
    class_count: int
    layer_count: int
    climbable_count: int
    refusals: tuple[str, ...]
    batchable: bool
    forward_error: float | None
    forward_note: str
    gradient: Proof
    operators: dict[str, int]
    path_length: int
    file_nodes: int
    emitted_nodes: int
    weights_bytes: int
    activations_bytes: int
    preprocessing: PreprocessingCheck


def check_model(path: Path, layer: str = "", photographs: Path | None = None) -> Checkup:
    """Check the model at `path`, the gradient that of `layer` ("" = the logits).

    `photographs`: a directory with one folder of labelled images per class. Raises ModelRejected
    or NotFound where there is nothing to check.
    """
    model = load_model(path)
    chosen = model.find_layer(layer)
    probe = build_probe(model.subject, chosen.tensor)
    error, note = _forward_error(path, model.subject, chosen.tensor, probe)
    proof = prove(probe)
    graph = model.subject.model.graph
    return Checkup(
        verdict=_verdict(model, error, proof),
        model=model.info.name,
        sha256=model.info.sha256,
        opset=model.subject.model.opset,
        layer=chosen.name,
        tensor=chosen.tensor,
        unit_count=chosen.unit_count,
        class_count=model.info.class_count,
        layer_count=len(model.layers),
        climbable_count=sum(not other.refusal for other in model.layers),
        refusals=tuple(dict.fromkeys(x.refusal for x in model.layers if x.refusal)),
        batchable=model.info.batchable,
        forward_error=error,
        forward_note=note,
        gradient=proof,
        operators=dict(Counter(node.op_type for node in probe.path).most_common()),
        path_length=probe.path_length,
        file_nodes=len(graph.node),
        emitted_nodes=probe.emitted_count,
        weights_bytes=sum(weight.nbytes for weight in model.subject.model.weights.values()),
        activations_bytes=probe.gradient.peak_bytes,
        preprocessing=check_preprocessing(path, model, photographs),
    )


def prove(probe: Probe, attempts: int = ATTEMPTS) -> Proof:
    """Compare gradient · direction with central differences at random pictures and cotangents.

    Half of the direction is the gradient itself: no other gradient of that length has the same
    slope along it.
    """
    rng = np.random.default_rng(0)
    forward, backward = Session(probe.forward), Session(probe.gradient)
    errors, zero = [], 0
    for _ in range(attempts):
        picture = _random_picture(probe, rng)
        cotangent = rng.standard_normal(probe.layer_shape)
        gradient = backward.run(picture, cotangent.astype(probe.layer_type))[1]
        length = float(np.linalg.norm(gradient))
        if length == 0:
            zero += 1
            continue
        noise = rng.standard_normal(picture.shape)
        direction = gradient / length + noise / np.linalg.norm(noise)
        slope = float(np.sum(gradient * direction, dtype=np.float64))
        steps = [rms * np.sqrt(picture.size) / np.linalg.norm(direction) for rms in STEP_RMS]
        errors.append(
            min(
                abs(_difference(forward, picture, direction, cotangent, step) - slope) / abs(slope)
                for step in steps
            )
        )
    agreeing = sum(error <= GRADIENT_TOLERANCE for error in errors)
    median = float(np.median(errors)) if errors else float("nan")
    return Proof(attempts, agreeing, zero, median)


def _difference(
    forward: Session, picture: np.ndarray, direction: np.ndarray, cotangent: np.ndarray, step: float
) -> float:
    up, down = (
        forward.run((picture + sign * step * direction).astype(np.float32))[1] for sign in (1, -1)
    )
    rise = np.asarray(up, np.float64) - np.asarray(down, np.float64)
    return float(np.sum(rise * cotangent) / (2 * step))


def _random_picture(probe: Probe, rng: np.random.Generator) -> np.ndarray:
    shape = [dim.dim_value for dim in probe.forward.model.graph.input[0].type.tensor_type.shape.dim]
    return rng.uniform(0.2, 0.8, shape).astype(np.float32)


def _forward_error(
    path: Path, subject: Subject, tensor: str, probe: Probe
) -> tuple[float | None, str]:
    """How far the file's own tensor is from ours, on a picture of whole pixel values."""
    picture = _random_picture(probe, np.random.default_rng(1))
    picture = np.rint(picture * 255) / np.float32(255)
    fed, ours = Session(probe.forward).run(picture)
    try:
        theirs = FileSession(path, subject, tensor).run(fed)
    except ModelRejected as reason:
        return None, str(reason)
    difference = np.abs(theirs[: len(ours)].astype(np.float64) - ours)
    return float(difference.max() / max(np.abs(ours).max(), 1e-12)), ""


def _verdict(model: LoadedModel, error: float | None, proof: Proof) -> Verdict:
    reduced = model.subject.model.is_reduced
    tolerance = REDUCED_PRECISION_TOLERANCE if reduced else FORWARD_TOLERANCE
    if error is not None and not error <= tolerance:
        return "forward differs"
    if proof.zero == proof.attempts:
        return "no gradient arrives"
    enough = 2 * proof.agreeing > proof.attempts - proof.zero
    return "proven" if enough else "gradient differs"
