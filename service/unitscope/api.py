"""The whole of it in one call, in this process."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from unitscope.config import read_settings
from unitscope.engine.attribution import AttributeRequest, Attribution
from unitscope.engine.attributor import Attributor
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.repository import Repository
from unitscope.engine.request import Caller, Event, Maximization, MaximizeRequest, Progress
from unitscope.errors import InvalidRequest

ProgressListener = Callable[[Progress], None]


def maximize(
    unit: int | str | None = None,
    *,
    model: str | os.PathLike[str] = "",
    layer: str = "",
    steps: int | None = None,
    seed: int = 0,
    on_progress: ProgressListener | None = None,
    **options: Any,
) -> Maximization:
    """The picture that `unit` of `layer` prefers.

    `model`: the name of the embedded model ("" = default) or the path of an ONNX file. `options`:
    the other fields of `MaximizeRequest`. The device and its like are read from the environment, as
    a server's are. Raises InvalidRequest, NotFound, ModelRejected or DeadGradient. Every call
    compiles anew; keep an `Engine` to climb many units.
    """
    repository = Repository()
    name = open_model(repository, model)
    request = MaximizeRequest(unit=unit, model=name, layer=layer, steps=steps, seed=seed, **options)
    with Engine(repository, read_settings(EngineSettings)) as engine:
        return follow(engine.submit(request, _caller(on_progress)).events(), on_progress)


def maximize_several(
    unit: int | str | None = None,
    *,
    pictures: int,
    model: str | os.PathLike[str] = "",
    on_progress: ProgressListener | None = None,
    **options: Any,
) -> Iterator[Maximization]:
    """So many `pictures` of one unit that differ: each is made from the next seed, `unlike` those
    before it. Else as `maximize`.
    """
    repository = Repository()
    name = open_model(repository, model)
    with Engine(repository, read_settings(EngineSettings)) as engine:

        def ask(**given: Any) -> Maximization:
            request = MaximizeRequest(unit=unit, model=name, **given)
            return follow(engine.submit(request, _caller(on_progress)).events(), on_progress)

        yield from several(ask, pictures, **options)


def several(
    maximize: Callable[..., Maximization],
    pictures: int,
    *,
    seed: int = 0,
    attempts: int = 1,
    unlike: tuple[bytes, ...] = (),
    **options: Any,
) -> Iterator[Maximization]:
    """What `maximize` gives from seeds that it had not yet, each time `unlike` what it gave before.

    Raises InvalidRequest for several arrays or transparent pictures: only what can be shown to the
    model can be kept away from.
    """
    if pictures > 1 and (options.get("image_format") == "npy" or options.get("transparent")):
        raise InvalidRequest("pictures", pictures, "1 for an array or a transparent picture")
    for index in range(pictures):
        first = seed + index * attempts
        result = maximize(seed=first, attempts=attempts, unlike=unlike, **options)
        yield result
        unlike = (*unlike, result.image)


def attribute(
    image: bytes, unit: int | str, *, model: str | os.PathLike[str] = "", **options: Any
) -> Attribution:
    """Which pixels of an encoded `image` the activation of `unit` depends on.

    `model`: the name of the embedded model ("" = default) or the path of an ONNX file. `options`:
    the other fields of `AttributeRequest`. Raises InvalidRequest, NotFound, ModelRejected,
    DeadGradient or NotFinite. Every call loads its model; keep an `Attributor` to ask often.
    """
    repository = Repository()
    name = open_model(repository, model)
    request = AttributeRequest(image=image, unit=unit, model=name, **options)
    with Attributor(repository) as attributor:
        return attributor.submit(request).result()


def _caller(on_progress: ProgressListener | None) -> Caller:
    return Caller(progress_every_steps=1 if on_progress else 0)


def open_model(repository: Repository, model: str | os.PathLike[str]) -> str:
    """The name in `repository` of a model given by name or by the path of its file."""
    path = Path(model)
    if path.suffix == ".onnx" or path.is_file():
        return repository.add(path).info.name
    return os.fspath(model)


def follow(events: Iterable[Event], on_progress: ProgressListener | None) -> Maximization:
    """Read `events` to the end, telling `on_progress`; the last one is the result."""
    last: Event | None = None
    for last in events:
        if on_progress is not None and isinstance(last, Progress):
            on_progress(last)
    if not isinstance(last, Maximization):
        raise RuntimeError(f"the events ended with {last!r}, not with a result")
    return last
