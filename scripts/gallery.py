"""Draw the pictures of `docs/gallery.md` and write the page: every preset, every kind of objective.

Run by `make gallery`; takes some minutes. `python -m scripts.gallery NAME…` draws these pictures
alone; what is said of the others is in their records.
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from unitscope.ascent.presets import PRESETS
from unitscope.engine.engine import Engine
from unitscope.engine.record import read
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest, Term

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "gallery.md"
PICTURES = ROOT / "docs" / "pictures" / "gallery"
COLUMNS = 3

HEAD = """# Gallery

SqueezeNet 1.1, the embedded model, on two cores. `make gallery` draws these and writes this page;
each picture is one call, and the words under it are its options.

`keras-blog` and `cnn-visual-tensorflow` are faint because their sources are: 20 and 40 steps that
move pixels by 1 of 255 each, every picture shown with a standard deviation of 0.1 around mid-grey.
`maco` looks four times a step here instead of 32 times, and its spectrum is 1/f; the one it was
published with is `spectrum=imagenet`, which is steeper.

"""
PRESET_UNITS: tuple[tuple[str, int | str], ...] = (
    ("", "zebra"),
    ("", "castle"),
    ("fire8_concat", 3),
)


@dataclass(frozen=True, slots=True)
class Exhibit:
    """A picture: what is said of it, and the request; the other fields name further exhibits."""

    name: str
    says: str
    options: dict[str, Any] = field(default_factory=dict)
    start_image: str = ""
    reference: str = ""
    unlike: tuple[str, ...] = ()


def exhibits() -> Iterator[Exhibit]:
    """Presets first, then objectives, then ways to write a picture."""
    for preset in PRESETS:
        fewer = {"views": 4, "steps": 128} if PRESETS[preset].views > 4 else {}
        for layer, unit in PRESET_UNITS:
            says = f"`preset={preset}`, {layer or 'logit'} {unit}" + (
                ", `views=4`" if fewer else ""
            )
            options = {"preset": preset, "layer": layer, "unit": unit} | fewer
            yield Exhibit(f"{preset}_{layer or 'logit'}_{unit}", says, options)
    deep = {"layer": "fire5_concat", "objective": "layer", "preset": "inceptionism", "steps": 80}
    yield Exhibit("deep_dream", "`objective=layer`, from the zebra", deep, "unitscope_logit_zebra")
    for objective in ("caricature", "inversion"):
        options = {"layer": "fire5_concat", "objective": objective}
        says = f"`objective={objective}` of the castle"
        yield Exhibit(objective, says, options, reference="unitscope_logit_castle")
    yield Exhibit(
        "neuron", "`position=6,6` of fire8_concat 3",
        {"layer": "fire8_concat", "unit": 3, "position": (6, 6)},
    )  # fmt: skip
    yield Exhibit(
        "negative",
        "`weight=-1`, fire8_concat 3",
        {"layer": "fire8_concat", "unit": 3, "weight": -1.0},
    )
    yield Exhibit("sum", "zebra + castle", {"unit": "zebra", "terms": (Term(unit="castle"),)})
    yield Exhibit("difference", "tiger − zebra", {"unit": "tiger", "terms": (-Term(unit="zebra"),)})
    for name in ("pyramid", "pixel"):
        options = {"unit": "zebra", "parameterization": name}
        yield Exhibit(f"parameterization_{name}", f"`parameterization={name}`, zebra", options)
    yield Exhibit("octaves", "`octaves=3`, zebra", {"unit": "zebra", "octaves": 3})
    options = {"preset": "maco", "unit": "zebra", "views": 4, "steps": 128, "transparent": True}
    says = "`preset=maco`, `transparent`, `views=4`, zebra"
    yield Exhibit("transparent", says, options | {"image_format": "webp"})
    says = "`preset=maco`, `spectrum=imagenet`, `views=4`, castle"
    options = {"preset": "maco", "unit": "castle", "views": 4, "steps": 128}
    yield Exhibit("spectrum_imagenet", says, options | {"spectrum": "imagenet"})
    castles = ["unitscope_logit_castle"]
    for seed in (1, 2):
        says = f"castle, `unlike` the {seed} before it, `seed={seed}`"
        options = {"unit": "castle", "seed": seed, "steps": 128}
        yield Exhibit(f"unlike_{seed}", says, options, unlike=tuple(castles))
        castles.append(f"unlike_{seed}")


def main(names: Collection[str]) -> None:
    """Draw the exhibits of these `names`, or all, then write the page of all."""
    PICTURES.mkdir(parents=True, exist_ok=True)
    shown = list(exhibits())
    with Engine(Repository()) as engine:
        for exhibit in shown:
            if not names or exhibit.name in names:
                result = engine.submit(asked(exhibit)).result()
                result.save(path_of(exhibit))
                print(exhibit.name, f"{result.metrics.running_seconds:.1f} s", flush=True)
    cells = [cell(exhibit) for exhibit in shown]
    rows = [cells[start : start + COLUMNS] for start in range(0, len(cells), COLUMNS)]
    table = "".join("| " + " | ".join(row) + " |\n" for row in rows)
    DOCUMENT.write_text(HEAD + "| " * COLUMNS + "|\n" + "|---" * COLUMNS + "|\n" + table)


def asked(exhibit: Exhibit) -> MaximizeRequest:
    """The request, with the pictures it begins with, is about or keeps away from."""
    known = {other.name: other for other in exhibits()}
    given = {
        name: path_of(known[getattr(exhibit, name)]).read_bytes()
        for name in ("start_image", "reference")
        if getattr(exhibit, name)
    }
    unlike = tuple(path_of(known[name]).read_bytes() for name in exhibit.unlike)
    return MaximizeRequest(**{"image_format": "jpeg"} | exhibit.options | given, unlike=unlike)


def path_of(exhibit: Exhibit) -> Path:
    """Where the picture of an exhibit lies."""
    suffix = {"jpeg": "jpg"}.get(image_format := exhibit.options.get("image_format", "jpeg"))
    return PICTURES / f"{exhibit.name}.{suffix or image_format}"


def cell(exhibit: Exhibit) -> str:
    """The picture and what is said under it."""
    metrics = read(path_of(exhibit)).content["metrics"]
    best = metrics["top_classes"][0]
    return (
        f"![{exhibit.says}](pictures/gallery/{path_of(exhibit).name})<br>{exhibit.says}<br>"
        f"{metrics['steps']} steps, {metrics['activation_start']:.4g} → "
        f"{metrics['activation_end']:.4g}, seen as {best['label']} ({best['probability']:.2f})"
    )


if __name__ == "__main__":
    main(sys.argv[1:])
