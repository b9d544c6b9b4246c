"""Make a picture again from its record, and say what differs."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unitscope.api import ProgressListener, follow, open_model
from unitscope.client import Client
from unitscope.config import read_settings
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.plain import brief
from unitscope.engine.record import Record, parse, read
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization, MaximizeRequest
from unitscope.errors import InvalidRequest


@dataclass(frozen=True, slots=True)
class Replay:
    """`result`: the picture made again. `differences`: a sentence each, none for the same bytes."""

    result: Maximization
    differences: tuple[str, ...]


def replay(
    path: Path,
    *,
    model: str = "",
    server: str = "",
    images: Sequence[bytes] = (),
    on_progress: ProgressListener | None = None,
) -> Replay:
    """Make the picture at `path` again from its record, and compare the two.

    `model`: a name or the path of an ONNX file; "" for the name in the record. `server`:
    "host:port" of the one that makes it; "" for this process. `images`: encoded ones, among which
    are the natural images that the record names by their SHA-256. Raises InvalidRequest for a
    picture without a record, a natural image that is missing, or a model with another SHA-256, and
    what `maximize` raises.
    """
    record = read(path)
    request = record.asked_again(images)
    if server:
        result = _at(server, record, request, model, on_progress)
    else:
        result = _here(record, request, model, on_progress)
    return Replay(result, tuple(_differences(path.read_bytes(), record, result)))


def _here(
    record: Record, request: MaximizeRequest, model: str, on_progress: ProgressListener | None
) -> Maximization:
    repository = Repository()
    name = open_model(repository, model) if model else request.model
    if name not in repository.names():
        expected = f"the path of the file with SHA-256 {record.model_sha256}"
        raise InvalidRequest("model", brief(name), expected)
    _check(record, repository.get(name).info)
    with Engine(repository, read_settings(EngineSettings)) as engine:
        ticket = engine.submit(replace(request, model=name, model_version=""))
        return follow(ticket.events(), on_progress)


def _at(
    server: str,
    record: Record,
    request: MaximizeRequest,
    model: str,
    on_progress: ProgressListener | None,
) -> Maximization:
    if model:
        request = replace(request, model=model, model_version="")
    options = {field.name: getattr(request, field.name) for field in fields(request)}
    with Client(server) as client:
        _check(record, client.model(request.model, request.model_version))
        return client.maximize(on_progress=on_progress, **options)


def _check(record: Record, info: ModelInfo) -> None:
    """The model must be the one in the record, bit for bit."""
    if info.sha256 != record.model_sha256:
        got = f"{info.name} with SHA-256 {info.sha256}"
        raise InvalidRequest("model", got, f"the one with SHA-256 {record.model_sha256}")


def _differences(content: bytes, record: Record, again: Maximization) -> Iterator[str]:
    if content != again.image:
        yield from _of_records(record.content, parse(again.record).content)
        yield _of_pixels(_pixels(content), _pixels(again.image))


def _of_records(there: Mapping[str, Any], here: Mapping[str, Any]) -> Iterator[str]:
    for section in sorted(there.keys() & here.keys() - {"schema"}):
        was, now = there[section], here[section]
        for name in sorted(was.keys() | now.keys()):
            if was.get(name) != now.get(name):
                values = f"{brief(was.get(name))} in the file, {brief(now.get(name))} now"
                yield f"{section}.{brief(name)}: {values}"


def _of_pixels(there: np.ndarray, here: np.ndarray) -> str:
    """`[C, H, W]` each, in 0..255 or, in floating point, 0..1."""
    if there.shape != here.shape:
        return f"pixels: {_size(there)} in the file, {_size(here)} now"
    gaps = np.abs(there.astype(np.float64) - here)
    share, largest = (gaps > 0).any(axis=0).mean(), gaps.max()
    if not largest:
        return "pixels: the same"
    return f"pixels: {share:.2%} differ, by at most {largest:.3g} of {_white(here)}"


def _white(pixels: np.ndarray) -> int:
    return 255 if pixels.dtype == np.uint8 else 1


def _size(pixels: np.ndarray) -> str:
    return "×".join(map(str, pixels.shape))


def _pixels(content: bytes) -> np.ndarray:
    if content.startswith(np.lib.format.MAGIC_PREFIX):
        return np.asarray(np.load(io.BytesIO(content), allow_pickle=False))
    with Image.open(io.BytesIO(content)) as image:
        own = image.mode in ("L", "LA", "RGB", "RGBA")
        planes = np.asarray(image if own else image.convert("RGBA"))
    return planes[None] if planes.ndim == 2 else np.moveaxis(planes, -1, 0)
