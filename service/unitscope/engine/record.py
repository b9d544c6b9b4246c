"""The record of a picture: what it can be made from again, in the answer and inside the file.

A record is JSON: an object with `schema`, `request`, `natural_images`, `recipe`, `model`,
`preprocessing`, `versions`, `platform` and `metrics`. It holds nothing that two runs of one request
do not share (no times, no identifiers), so the same request on the same versions gives the same
bytes. Of natural images it holds the SHA-256 alone: they would be many times the picture's size.

    PNG    a tEXt chunk, keyed "unitscope"
    JPEG   comments, as many as it takes, each beginning with "unitscope:"
    WebP   Exif, in UserComment
    NPY    nothing; the command line writes it to a file of JSON beside the array
"""

from __future__ import annotations

import functools
import hashlib
import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

from PIL import ExifTags, Image
from PIL.PngImagePlugin import PngInfo

from unitscope.engine.defaults import state_defaults
from unitscope.engine.executor import RUNTIME_VERSION
from unitscope.engine.given_image import write_image
from unitscope.engine.plain import brief, from_plain, to_plain
from unitscope.engine.plan import Plan
from unitscope.engine.request import ImageFormat, MaximizeRequest, Metrics
from unitscope.errors import InvalidRequest

SCHEMA = 1
KEY = "unitscope"
MAX_CHARACTERS = 1 << 25
"""The longest record that is read."""

DELIVERY = ("request_id", "preview_every_steps")
"""Fields of a request that say how the answer travels, not what it is."""

_LIBRARIES = ("unitscope", "numpy", "onnx", "pillow")
_TIMES = ("_seconds", "_per_second")
"""How the names of metrics end that are never the same twice."""
_ELSEWHERE = ("model", "model_version", "model_sha256", "preprocessing")
_SECTIONS = (
    "request", "natural_images", "recipe", "model", "preprocessing", "versions", "platform",
    "metrics",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Record:
    """A record that was read: `content` is all of it, `request` what to ask for again.

    `natural_sha256`: of the files of the natural images, which the request lacks.
    """

    content: Mapping[str, Any]
    request: MaximizeRequest
    natural_sha256: tuple[str, ...]

    def asked_again(self, images: Sequence[bytes]) -> MaximizeRequest:
        """The request with its natural images, found among `images`.

        Raises InvalidRequest for one that is missing.
        """
        known = {_sha256(image): image for image in images}
        for name in self.natural_sha256:
            if name not in known:
                expected = f"among them the image with SHA-256 {brief(name)}"
                raise InvalidRequest("images", f"{len(images)} images", expected)
        natural = tuple(known[name] for name in self.natural_sha256)
        return replace(self.request, natural_images=natural)

    @property
    def model_sha256(self) -> str:
        """SHA-256 of the model; some text or other in a record that is not ours."""
        return str(brief(self.content["model"].get("sha256")))

    @property
    def caption(self) -> str:
        """Tensor and unit, and the label of a class."""
        metrics = self.content["metrics"]
        words = (metrics.get(name) for name in ("tensor", "unit", "label"))
        return " ".join(str(brief(word)) for word in words if word not in (None, ""))


def make(plan: Plan, metrics: Metrics, provider: str) -> str:
    """The record of a finished picture; `provider`: see `Device.computes_with`."""
    info, asked = plan.model.info, _asked(plan)
    content = {
        "schema": SCHEMA,
        "request": without(asked, (*DELIVERY, "natural_images")),
        "natural_images": {"sha256": [_sha256(image) for image in plan.request.natural_images]},
        "recipe": to_plain(asked.recipe()),
        "model": {"name": info.name, "version": info.version, "sha256": info.sha256},
        "preprocessing": to_plain(metrics.preprocessing)
        | {"constants": to_plain(plan.model.subject.card.constants)},
        **circumstances(provider),
        "metrics": without(metrics, _ELSEWHERE),
    }
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


@functools.cache
def circumstances(provider: str) -> dict[str, Any]:
    """What pictures depend on beside request and model, as a record says it."""
    return {
        "versions": {name: version(name) for name in _LIBRARIES} | {"onnxruntime": RUNTIME_VERSION},
        "platform": {"machine": platform.machine(), "provider": provider},
    }


def _asked(plan: Plan) -> MaximizeRequest:
    """The request with its defaults and the images as they were used: cut, scaled and bare.

    So a picture that begins with a picture does not carry that one's record too.
    """
    stated = state_defaults(plan.request, plan.model.info)
    return replace(
        stated,
        start_image=write_image(plan.start),
        unlike=tuple(map(write_image, plan.unlike)),
        reference=write_image(plan.terms[0].reference),
        terms=tuple(
            replace(term, reference=write_image(planned.reference))
            for term, planned in zip(stated.terms, plan.terms[1:], strict=True)
        ),
    )


def _sha256(image: bytes) -> str:
    return hashlib.sha256(image).hexdigest()


def without(noun: Any, names: tuple[str, ...]) -> dict[str, Any]:
    """The noun in plain types, without the fields of these `names` and without times."""
    return {
        name: value
        for name, value in to_plain(noun).items()
        if name not in names and not name.endswith(_TIMES)
    }


def read(path: Path) -> Record:
    """The record in the picture at `path`, or in the file beside an array.

    Raises InvalidRequest where there is none, or none that can be replayed.
    """
    try:
        text = beside(path).read_text() if path.suffix.lower() == ".npy" else _text_in(path)
    except Exception as error:  # Pillow raises half a dozen kinds for nonsense in a file
        raise InvalidRequest("picture", path.name, f"a picture with a record: {error}") from error
    if not text:
        raise InvalidRequest("picture", path.name, "a picture with a record: it has none")
    return parse(text)


def parse(text: str) -> Record:
    """The record that `make` wrote; raises InvalidRequest for anything else."""
    if len(text) > MAX_CHARACTERS:
        raise InvalidRequest("record", f"{len(text)} characters", f"at most {MAX_CHARACTERS}")
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest("record", brief(text), f"JSON: {error}") from error
    if not isinstance(content, dict):
        raise InvalidRequest("record", brief(content), "an object")
    if content.get("schema") != SCHEMA:
        raise InvalidRequest("record.schema", brief(content.get("schema")), f"{SCHEMA}")
    for name in _SECTIONS:
        if not isinstance(content.get(name), dict):
            raise InvalidRequest(f"record.{name}", brief(content.get(name)), "an object")
    return Record(
        content,
        from_plain(MaximizeRequest, content["request"], "record.request"),
        from_plain(
            tuple[str, ...], content["natural_images"].get("sha256"), "record.natural_images.sha256"
        ),
    )


def beside(path: Path) -> Path:
    """Where the record of the array at `path` lies."""
    return path.with_suffix(".json")


# Inside the files

_EXIF_TEXT = b"ASCII\0\0\0"
_COMMENT = KEY.encode() + b":"
_COMMENT_BYTES = 0xFFFF - 2 - len(_COMMENT)
"""What one comment of a JPEG takes; a request that brings an image needs more."""


def embed(record: str, image_format: ImageFormat) -> dict[str, Any]:
    """What `picture.encode` takes to put the record into the file."""
    return _WRITERS[image_format](record)


def _into_png(record: str) -> dict[str, Any]:
    chunks = PngInfo()
    chunks.add_text(KEY, record)
    return {"pnginfo": chunks}


def _into_jpeg(record: str) -> dict[str, Any]:
    return {"extra": b"".join(_comments(record.encode()))}


def _comments(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), _COMMENT_BYTES):
        piece = _COMMENT + content[start : start + _COMMENT_BYTES]
        yield b"\xff\xfe" + (len(piece) + 2).to_bytes(2) + piece


def _into_webp(record: str) -> dict[str, Any]:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = _EXIF_TEXT + record.encode()
    return {"exif": exif.tobytes()}


def _into_npy(record: str) -> dict[str, Any]:
    return {}


def _text_in(path: Path) -> str:
    with Image.open(path, formats=tuple(_READERS)) as image:
        image.load()  # a chunk may follow the pixels
        return _READERS[str(image.format)](image)


def _from_png(image: Any) -> str:
    return str(image.text.get(KEY, ""))


def _from_jpeg(image: Any) -> str:
    comments = [content for marker, content in image.applist if marker == "COM"]
    ours = (content for content in comments if content.startswith(_COMMENT))
    return b"".join(content.removeprefix(_COMMENT) for content in ours).decode()


def _from_webp(image: Any) -> str:
    found = image.getexif().get_ifd(ExifTags.IFD.Exif).get(ExifTags.Base.UserComment, b"")
    ours = isinstance(found, bytes) and found.startswith(_EXIF_TEXT)
    return found.removeprefix(_EXIF_TEXT).decode() if ours else ""


_WRITERS: dict[ImageFormat, Callable[[str], dict[str, Any]]] = {
    "png": _into_png,
    "jpeg": _into_jpeg,
    "webp": _into_webp,
    "npy": _into_npy,
}
_READERS: dict[str, Callable[[Any], str]] = {
    "PNG": _from_png,
    "JPEG": _from_jpeg,
    "WEBP": _from_webp,
}
