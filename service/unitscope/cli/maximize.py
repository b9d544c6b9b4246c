"""Make the picture that a unit prefers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.markup import escape

from unitscope import api
from unitscope.ascent.objectives import OBJECTIVES
from unitscope.ascent.optimizers import OPTIMIZERS, SCHEDULES
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.presets import PRESETS
from unitscope.ascent.prior import COLORS, SPECTRA
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.transforms import TRANSFORMS
from unitscope.cli import values as given
from unitscope.cli.animation import collecting, frame_every_steps, save_animation
from unitscope.cli.options import (
    JsonOption,
    LayerOption,
    ModelOption,
    PositionOption,
    ServerOption,
    VersionOption,
    known,
)
from unitscope.cli.output import progress_bar, screen, write_picture
from unitscope.client import Client
from unitscope.engine.request import Calibration, Maximization, Metrics


def maximize(
    out: Annotated[Path, typer.Option(help="File to write: .png, .jpg, .webp or .npy.")],
    unit: Annotated[str, typer.Option(help="Index of the unit, or label of a class.")] = "",
    model: ModelOption = "",
    model_version: VersionOption = "",
    layer: LayerOption = "",
    preset: Annotated[
        str, typer.Option(help=f"{known(PRESETS)}: what other options change.")
    ] = "unitscope",
    steps: Annotated[
        int | None, typer.Option(help="Steps of gradient ascent. Default: the preset's.")
    ] = None,
    seed: Annotated[int, typer.Option(help="The same seed gives the same picture.")] = 0,
    position: PositionOption = "",
    objective: Annotated[str, typer.Option(help=f"{known(OBJECTIVES)}.")] = "",
    reference: Annotated[
        Path | None, typer.Option(help="Image, for caricature and inversion.")
    ] = None,
    weight: Annotated[float, typer.Option(help="Below 0: bring the unit down.")] = 1.0,
    term: Annotated[
        list[str] | None,
        typer.Option(help="Add a term, such as unit=5,layer=relu1,weight=-1; may be repeated."),
    ] = None,
    target: Annotated[float | None, typer.Option(help="Activation to reach and stop at.")] = None,
    patience: Annotated[
        int | None, typer.Option(help="Stop after so many steps without a rise.")
    ] = None,
    attempts: Annotated[
        int, typer.Option(help="So many ascents, from SEED on; the best is kept.")
    ] = 1,
    pictures: Annotated[
        int, typer.Option(min=1, help="So many that differ, from SEED on: NAME-1.png, ….")
    ] = 1,
    unlike: Annotated[
        list[Path] | None, typer.Option(help="Picture to keep away from; may be repeated.")
    ] = None,
    diversity: Annotated[
        float, typer.Option(help="Share of its activation that the same texture costs.")
    ] = 1.0,
    start: Annotated[Path | None, typer.Option(help="Image to begin with.")] = None,
    image_size: Annotated[
        int | None, typer.Option(help="Shorter side in pixels. Default: the model's.")
    ] = None,
    octaves: Annotated[int | None, typer.Option(help="Sizes to climb at, small to large.")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Default: the optimizer's.")] = None,
    schedule: Annotated[str | None, typer.Option(help=f"{known(SCHEDULES)}.")] = None,
    parameterization: Annotated[
        str | None, typer.Option(help=f"{known(PARAMETERIZATIONS)}.")
    ] = None,
    images: Annotated[
        Path | None, typer.Option(help="Directory of images to compare the picture with.")
    ] = None,
    colors: Annotated[
        str | None, typer.Option(help=f"{known(COLORS)}: what they are mixed from.")
    ] = None,
    spectrum: Annotated[str | None, typer.Option(help=f"Of maco: {known(SPECTRA)}.")] = None,
    transforms: Annotated[
        str | None,
        typer.Option(help=f'NAME[:LOW[:HIGH]],… of {known(TRANSFORMS)}; "" for none.'),
    ] = None,
    views: Annotated[int | None, typer.Option(help="Random looks in every step.")] = None,
    optimizer: Annotated[str | None, typer.Option(help=f"{known(OPTIMIZERS)}.")] = None,
    penalties: Annotated[
        str | None, typer.Option(help=f'NAME:STRENGTH,… of {known(PENALTIES)}; "" for none.')
    ] = None,
    constraints: Annotated[
        str | None,
        typer.Option(help=f'NAME:STRENGTH[:STEPS],… of {known(CONSTRAINTS)}; "" for none.'),
    ] = None,
    transparent: Annotated[
        bool, typer.Option("--transparent", help="What mattered little is not seen.")
    ] = False,
    animation: Annotated[
        Path | None, typer.Option(help="Also write the ascent to this file: .webp or .gif.")
    ] = None,
    server: ServerOption = "",
    as_json: JsonOption = False,
) -> None:
    """Make the picture that a unit prefers."""
    options: dict[str, Any] = {
        "model_version": model_version,
        "layer": layer,
        "preset": preset,
        "steps": steps,
        "seed": seed,
        "position": given.position(position),
        "objective": objective,
        "reference": given.content("reference", reference),
        "weight": weight,
        "terms": given.terms(term or ()),
        "target": target,
        "patience_steps": patience,
        "attempts": attempts,
        "unlike": tuple(given.content("unlike", path) for path in unlike or ()),
        "diversity": diversity,
        "transparent": transparent,
        "start_image": given.content("start_image", start),
        "image_size_px": image_size,
        "octaves": octaves,
        "learning_rate": learning_rate,
        "schedule": schedule,
        "parameterization": parameterization,
        "natural_images": given.images(images),
        "colors": colors,
        "spectrum": spectrum,
        "transforms": given.transforms(transforms),
        "views": views,
        "optimizer": optimizer,
        "penalties": given.regularizers("penalties", penalties),
        "constraints": given.regularizers("constraints", constraints),
        "image_format": given.image_format(out),
        "preview_every_steps": frame_every_steps(
            animation, attempts * (steps or PRESETS[preset].steps)
        ),
    }
    frames: list[bytes] = []
    made: list[tuple[Maximization, Path]] = []
    with progress_bar(unit or objective) as bar:
        asked = {"model": model, "pictures": pictures, "on_progress": collecting(frames, bar)}
        for index, result in enumerate(_made(server, given.unit(unit), asked | options), start=1):
            path = _numbered(out, index, pictures)
            write_picture(result, path)
            if animation is not None:
                shown = frames if out.suffix == ".npy" else [*frames, result.image]
                save_animation(shown, _numbered(animation, index, pictures))
            frames.clear()
            made.append((result, path))
    if as_json:
        answers = [result.to_dict() | {"path": str(path)} for result, path in made]
        typer.echo(json.dumps(answers[0] if pictures == 1 else answers, indent=2))
    else:
        for result, path in made:
            screen.print(escape(_summary(result, path)))


def _made(server: str, unit: int | str | None, asked: dict[str, Any]) -> Iterator[Maximization]:
    """The pictures, one after another, of this process or of a server."""
    if not server:
        yield from api.maximize_several(unit, **asked)
        return
    with Client(server) as client:
        yield from client.maximize_several(unit, **asked)


def _numbered(path: Path, index: int, count: int) -> Path:
    return path if count == 1 else path.with_stem(f"{path.stem}-{index}")


def _summary(result: Maximization, out: Path) -> str:
    metrics = result.metrics
    best = metrics.top_classes[0]
    unit = "" if metrics.unit is None else f"unit {metrics.unit} {metrics.label} of "
    rank = "" if metrics.rank is None else f"rank {metrics.rank} of {metrics.unit_count}; "
    return (
        f"{out}: {unit}{metrics.tensor} on {metrics.model}: "
        f"activation {metrics.activation_start:.2f} → {metrics.activation_end:.2f}, {rank}"
        f"{_beside_images(metrics.calibration)}{_among(metrics)}"
        f"the model sees {best.label or best.index} ({best.probability:.3f}); "
        f"{metrics.steps_per_second:.1f} steps/s, {metrics.running_seconds:.1f} s"
    )


def _among(metrics: Metrics) -> str:
    """What there is to say of the attempts."""
    early = "" if metrics.ending == "steps" else f"{metrics.ending} after {metrics.steps} steps; "
    if len(metrics.attempts) == 1:
        return early
    return f"best of {len(metrics.attempts)} attempts, with seed {metrics.seed}; {early}"


def _beside_images(calibration: Calibration | None) -> str:
    if calibration is None:
        return ""
    best = calibration.exemplars[0]
    return (
        f"more than {calibration.percentile:.0f}% of the images (best: {best.index} with "
        f"{best.activation:.2f}); "
    )
