"""How good pictures are: classes of one network, judged by others that were trained apart.

For each class, the default picture of its logit; then each judge's rank of the class on the
finished PNG, scaled to the judge's size. No judge has any part in the ascent.

    python -m benchmarks.quality ../shared/models [--classes first] [--set NAME=VALUE …]
    python -m benchmarks.quality ../shared/models --model efficientnet_lite0

`first` are twenty classes that a published figure exists for (Lucent 0.1.8 at its defaults: 8 of
20 in EfficientNet-Lite0's top 5, 27 s a picture); `second` are twenty others; by `tuning`
defaults were chosen. `--set` passes options of `unitscope.maximize`, for example steps=64.
`--model` draws the classes of another network, and all others judge.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import dataclasses
import io
import json
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from benchmarks.timing import environment
from unitscope.engine.engine import Engine
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization, MaximizeRequest
from unitscope.graph.card import Card

CLASSES = {
    "first": (
        1, 76, 130, 207, 254, 291, 340, 386, 409, 508,
        555, 587, 620, 717, 779, 817, 920, 950, 963, 985,
    ),
    "second": (
        9, 33, 84, 105, 145, 162, 235, 277, 309, 323,
        350, 402, 430, 468, 496, 562, 638, 701, 859, 937,
    ),
    "tuning": (
        347, 889, 451, 183, 861, 915, 252, 276, 218, 672,
        332, 787, 586, 806, 452, 53, 819, 894, 176, 16,
    ),
}  # fmt: skip
NETWORKS = {
    "squeezenet1_1": Card(
        layout="NCHW", channels="BGR", height_px=227, width_px=227, low=0, high=255,
        mean=(104.006, 116.669, 122.679), std=(1, 1, 1),
    ),
    "efficientnet_lite0": Card(
        layout="NCHW", channels="RGB", height_px=224, width_px=224, low=0, high=255,
        mean=(127, 127, 127), std=(128, 128, 128),
    ),
    "efficientnet_lite1_legacy_export": Card(
        layout="NCHW", channels="RGB", height_px=240, width_px=240, low=0, high=255,
        mean=(127, 127, 127), std=(128, 128, 128),
    ),
}  # fmt: skip
"""Files without their ending, and what they take."""
_STATED = ("layout", "channels", "height_px", "width_px", "low", "high", "mean", "std")


class Judge:
    """Another network: how it ranks a class on a picture."""

    def __init__(self, path: Path, card: Card) -> None:
        import onnxruntime as ort

        self.session = ort.InferenceSession(path)
        self.card = card

    def judge(self, picture: bytes, unit: int) -> dict[str, float]:
        """Its rank, 1 where no other class is more likely, and the logarithm of its probability."""
        with Image.open(io.BytesIO(picture)) as image:
            size = self.card.width_px, self.card.height_px
            scaled = image.convert("RGB").resize(size, Image.Resampling.BICUBIC)
        order = ["RGB".index(letter) for letter in self.card.channels]
        pixels = np.asarray(scaled, np.float32)[..., order]
        normal = (pixels - np.asarray(self.card.mean)) / np.asarray(self.card.std)
        fed = np.moveaxis(normal, -1, 0)[None].astype(np.float32)
        (scores,) = self.session.run(None, {self.session.get_inputs()[0].name: fed})
        logits = scores[0].astype(np.float64) - scores[0].max()
        log_probability = logits[unit] - np.log(np.exp(logits).sum())
        return {
            "rank": 1 + int(np.sum(logits > logits[unit])),
            "log_probability": round(float(log_probability), 3),
        }


def main() -> None:
    """Draw and judge all classes; one JSON line each, then the counts."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("models", type=Path, help="directory of the judges")
    parser.add_argument("--model", choices=NETWORKS, default="squeezenet1_1")
    parser.add_argument("--classes", choices=CLASSES, default="first")
    parser.add_argument("--set", nargs="*", default=[], metavar="NAME=VALUE")
    parser.add_argument("--out", type=Path, help="directory for the pictures")
    arguments = parser.parse_args()
    options = {
        name: ast.literal_eval(value) for name, value in (x.split("=") for x in arguments.set)
    }
    judges = {
        name: Judge(arguments.models / f"{name}.onnx", card)
        for name, card in NETWORKS.items()
        if name != arguments.model
    }
    options["model"] = arguments.model
    rows = []
    with drawing(arguments.models / f"{arguments.model}.onnx") as engine:
        for unit in CLASSES[arguments.classes]:
            rows.append(judged(engine, judges, unit, options, arguments.out))
            print(json.dumps(rows[-1]), flush=True)
    print(json.dumps(counts(rows, judges) | {"options": options} | environment()))


@contextlib.contextmanager
def drawing(path: Path) -> Iterator[Engine]:
    """An engine with the model at `path`; it lies there without a card, so it gets one."""
    with tempfile.TemporaryDirectory() as directory:
        repository = Repository()
        if path.stem not in repository.names():
            card = dataclasses.asdict(NETWORKS[path.stem])
            stated = {name: list(v) if isinstance(v, tuple) else v for name, v in card.items()}
            written = [f"{name} = {json.dumps(stated[name])}" for name in _STATED]
            Path(directory, f"{path.stem}.toml").write_text("\n".join(["[input]", *written]))
            repository.add(Path(shutil.copy(path, directory)))
        with Engine(repository) as engine:
            yield engine


def judged(
    engine: Engine, judges: dict[str, Judge], unit: int, options: dict[str, Any], out: Path | None
) -> dict[str, Any]:
    """One picture: the time it took, its clean activation at the end, the highest on the way and
    after how many steps that was, and what each judge sees.
    """
    begun = time.perf_counter()
    *_, result = engine.submit(MaximizeRequest(unit=unit, **options)).events()
    seconds = time.perf_counter() - begun
    assert isinstance(result, Maximization)
    if out is not None:
        out.mkdir(parents=True, exist_ok=True)
        result.save(out / f"{unit}.png")
    highest = max(result.metrics.trajectory, key=lambda point: point.activation)
    return {
        "unit": unit,
        "label": result.metrics.label,
        "seconds": round(seconds, 2),
        "activation": round(result.metrics.activation_end, 1),
        "highest_activation": round(highest.activation, 1),
        "highest_at_step": highest.step,
        **{name: judge.judge(result.image, unit) for name, judge in judges.items()},
    }


def counts(rows: list[dict[str, Any]], judges: dict[str, Judge]) -> dict[str, Any]:
    """Means, and how many of the classes each judge has first, and among its first five."""
    means = ("seconds", "activation", "highest_activation", "highest_at_step")
    found: dict[str, Any] = {
        name: round(float(np.mean([row[name] for row in rows])), 2) for name in means
    }
    for name in judges:
        ranks = np.array([row[name]["rank"] for row in rows])
        found[name] = {
            "top1": int(np.sum(ranks == 1)),
            "top5": int(np.sum(ranks <= 5)),
            "log_probability": round(np.mean([row[name]["log_probability"] for row in rows]), 3),
        }
    return found | {"of": len(rows)}


if __name__ == "__main__":
    main()
