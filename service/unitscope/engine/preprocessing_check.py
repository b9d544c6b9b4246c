"""Is the preprocessing plausible? What the graph shows, and what photographs say."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.ascent.subject import Subject, build_forward, fit
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.photographs import Photograph, read_photographs
from unitscope.engine.session import FileSession, Session
from unitscope.graph.card import Card
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph
from unitscope.graph.normalization import find_normalization

PICTURES = 4
IMPLAUSIBLE_FACTOR = 8.0
"""Beyond, a first layer does not see what its normalization was trained on."""
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class Candidate:
    """How the model does on the photographs if they are fed in this way.

    `top1`, `top5`: shares of labelled photographs, None without labels. `confidence`: mean
    probability of the first class.
    """

    preprocessing: str
    top1: float | None
    top5: float | None
    confidence: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessingCheck:
    """What speaks for and against the preprocessing in use, and who stated it.

    `own_scale`, `own_shift`: what the model does to its input by itself, empty if nothing.
    `first_layer_factor`: how much stronger the first convolution responds to pictures with a
    natural spectrum than the BatchNormalization behind it was trained on; None without one.
    `candidates`: best first. `remarks`: what looks wrong, in sentences.
    """

    stated: bool
    preprocessing: str
    own_scale: tuple[float, ...]
    own_shift: tuple[float, ...]
    first_layer_factor: float | None
    candidates: tuple[Candidate, ...]
    remarks: tuple[str, ...]


def check_preprocessing(
    path: Path, model: LoadedModel, photographs: Path | None
) -> PreprocessingCheck:
    """Check the preprocessing of the model at `path`.

    `photographs`: a directory of images, or of one folder of images per class, each called by
    its label or index. Raises InvalidRequest where a folder is no class.
    """
    subject = model.subject
    own = find_normalization(subject.model, subject.image)
    factor = _first_layer_factor(subject)
    candidates: tuple[Candidate, ...] = ()
    if photographs is not None:
        shown = read_photographs(photographs, subject.card, model.labels, model.info.class_count)
        candidates = _tried(path, model, shown)
    return PreprocessingCheck(
        stated=not subject.card.inferred,
        preprocessing=describe(subject.card),
        own_scale=own.scale if own else (),
        own_shift=own.shift if own else (),
        first_layer_factor=factor,
        candidates=candidates,
        remarks=tuple(_remarks(subject.card, own.span if own else None, factor, candidates)),
    )


def describe(card: Card) -> str:
    """The card's arithmetic in one line."""
    span = f"{card.channels} {card.low:g}..{card.high:g}"
    plain = not any(card.mean) and set(card.std) == {1.0}
    shifted = f", minus {_numbers(card.mean)}, over {_numbers(card.std)}"
    return span if plain else span + shifted


def _remarks(
    card: Card, span: float | None, factor: float | None, candidates: Sequence[Candidate]
) -> Iterator[str]:
    if card.inferred:
        yield "nobody stated the preprocessing, it is inferred: write a card"
    if span is not None and max(card.low, card.high) != span:
        yield f"the model itself normalizes pictures in 0..{span:g}, the card gives other values"
    if factor is not None and not 1 / IMPLAUSIBLE_FACTOR < factor < IMPLAUSIBLE_FACTOR:
        yield (
            f"the first layer responds {factor:.2g} times as strongly as it was trained to: "
            "the range or the standard deviation is wrong"
        )
    in_use = [c for c in candidates if c.preprocessing == describe(card)]
    if in_use and _shares(candidates[0]) > _shares(in_use[0]):
        yield f"on the photographs the model does better with {candidates[0].preprocessing}"


def _shares(candidate: Candidate) -> tuple[float, float]:
    """What decides between two candidates: hits where there are labels, else confidence."""
    if candidate.top1 is None or candidate.top5 is None:
        return candidate.confidence, 0.0
    return candidate.top1, candidate.top5


def _first_layer_factor(subject: Subject) -> float | None:
    """Observed over trained standard deviation where the first convolution is normalized."""
    graph, weights = subject.model.graph, subject.model.weights
    first = next((node for node in graph.node if node.op_type == "Conv"), None)
    users = [node for node in graph.node if first is not None and first.output[0] in node.input]
    if first is None or [node.op_type for node in users] != ["BatchNormalization"]:
        return None
    trained = weights.get(users[0].input[4])
    if trained is None:
        return None
    session = Session(build_forward(subject, 1, [first.output[0]]))
    seen = [session.run(picture[None])[0][0] for picture in natural_pictures(subject.card)]
    observed = np.var(np.stack(seen, axis=1).reshape(len(trained), -1), axis=1)
    return float(np.sqrt(np.median(observed / np.maximum(trained, 1e-12))))


def natural_pictures(card: Card) -> np.ndarray:
    """Pictures `[N, C, H, W]` in 0..1 whose amplitudes fall as 1/f, as in photographs."""
    shape = (PICTURES, 1, card.height_px, card.width_px)
    rows = np.fft.fftfreq(card.height_px)[:, None]
    columns = np.fft.rfftfreq(card.width_px)[None]
    frequency = np.maximum(np.hypot(rows, columns), 1 / max(shape))
    noise = np.fft.rfft2(np.random.default_rng(0).standard_normal(shape))
    plane = np.fft.irfft2(noise / frequency, s=shape[2:])
    plane /= plane.std(axis=(2, 3), keepdims=True)
    grey = np.clip(0.45 + 0.22 * plane, 0, 1).astype(np.float32)
    return np.repeat(grey, len(card.channels), axis=1)


def _tried(
    path: Path, model: LoadedModel, photographs: Sequence[Photograph]
) -> tuple[Candidate, ...]:
    """Every candidate on every photograph, through the file itself."""
    session = FileSession(path, model.subject, model.info.logits_tensor)
    labels = [photograph.label for photograph in photographs if photograph.label is not None]
    found = []
    for card in _candidate_cards(model.subject.card):
        op = Emitter(Graph(model.subject.model.opset))
        shape = photographs[0].pixels[None].shape
        picture = op.graph.add_input("picture", np.float32, shape)
        fed = fit(op, model.subject, emit_preprocessing(op, picture, card))
        feeder = Session(op.graph.to_parts([fed]))
        scores = np.stack(
            [session.run(feeder.run(p.pixels[None])[0])[0].ravel() for p in photographs]
        )
        order = np.argsort(-scores, axis=1)
        hits = [order[i] == p.label for i, p in enumerate(photographs) if p.label is not None]
        found.append(
            Candidate(
                preprocessing=describe(card),
                top1=float(np.mean([hit[0] for hit in hits])) if labels else None,
                top5=float(np.mean([hit[:5].any() for hit in hits])) if labels else None,
                confidence=float(_softmax(scores).max(axis=1).mean()),
            )
        )
    return tuple(sorted(found, key=lambda c: (_shares(c), c.confidence), reverse=True))


def _candidate_cards(card: Card) -> Iterator[Card]:
    """The card in use, and what else people feed networks of as many channels."""
    count = len(card.channels)
    base = _reordered(card) if card.channels == "BGR" else card
    plain = replace(base, low=0.0, high=1.0, mean=(0.0,) * count, std=(1.0,) * count)
    cards = [base, plain, replace(plain, high=255.0), replace(plain, low=-1.0)]
    if count == 1:
        cards.append(replace(plain, low=1.0, high=0.0))
    if count == 3:
        bytes_mean = tuple(255 * mean for mean in _IMAGENET_MEAN)
        cards.append(replace(plain, mean=_IMAGENET_MEAN, std=_IMAGENET_STD))
        cards.append(replace(plain, high=255.0, mean=bytes_mean))
        cards += [_reordered(c) for c in cards]
    yield from {describe(c): c for c in (card, *cards)}.values()


def _reordered(card: Card) -> Card:
    """The same arithmetic for each colour, the colours in the other order."""
    return replace(card, channels=card.channels[::-1], mean=card.mean[::-1], std=card.std[::-1])


def _softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def _numbers(values: Sequence[float]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"
