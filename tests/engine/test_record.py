"""The record: in every format, without a trace in the pixels, and refused when it is nonsense."""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
from PIL import ExifTags, Image

from tests.images import encoded, random_pixels
from unitscope.engine.defaults import state_defaults
from unitscope.engine.engine import Engine
from unitscope.engine.picture import decode, encode
from unitscope.engine.record import MAX_CHARACTERS, beside, embed, parse, read
from unitscope.engine.request import ImageFormat, Maximization, MaximizeRequest, Term
from unitscope.errors import InvalidRequest

FORMATS: tuple[ImageFormat, ...] = get_args(ImageFormat)
PICTURES = tuple(name for name in FORMATS if name != "npy")
formats = pytest.mark.parametrize("image_format", FORMATS)
pictures = pytest.mark.parametrize("image_format", PICTURES)


def climbed(engine: Engine, **options: Any) -> Maximization:
    asked: dict[str, Any] = {"unit": 2, "model": "small", "steps": 3, "seed": 7} | options
    return engine.submit(MaximizeRequest(**asked)).result()


def caricature(image: bytes) -> Term:
    return Term(objective="caricature", reference=image, layer="relu_out")


def saved(result: Maximization, directory: Path) -> Path:
    path = result.save(directory / f"picture.{result.image_format}")
    if result.image_format == "npy":
        beside(path).write_text(result.record)
    return path


@formats
def test_the_record_says_what_to_ask_for(
    engine: Engine, image_format: ImageFormat, tmp_path: Path
) -> None:
    result = climbed(engine, image_format=image_format, preview_every_steps=2)
    record = read(saved(result, tmp_path))
    assert record.content == json.loads(result.record)
    asked = MaximizeRequest(unit=2, model="small", steps=3, seed=7, image_format=image_format)
    assert record.request == state_defaults(asked, engine.models.info("small"))
    assert record.model_sha256 == result.metrics.model_sha256
    assert record.caption == "logits 2 cat"
    assert record.content["metrics"]["activation_end"] == result.metrics.activation_end
    assert set(record.content["versions"]) == {
        "unitscope", "onnxruntime", "numpy", "onnx", "pillow"
    }  # fmt: skip
    assert record.content["platform"]["provider"] == "CPUExecutionProvider"
    assert record.content["preprocessing"]["channels"] == "RGB"


@pytest.mark.parametrize("image_format", ["png", "webp", "npy"])
def test_alpha_is_added_and_nothing_else_changed(
    engine: Engine, image_format: ImageFormat, tmp_path: Path
) -> None:
    options: dict[str, Any] = {"preset": "maco", "views": 2, "image_format": image_format}
    clear, opaque = (climbed(engine, transparent=flag, **options) for flag in (True, False))
    np.testing.assert_array_equal(decode(clear.image, 3), decode(opaque.image, 3))
    assert clear.metrics.trajectory == opaque.metrics.trajectory
    assert read(saved(clear, tmp_path)).request.transparent
    assert clear.image == climbed(engine, transparent=True, **options).image


@formats
def test_the_same_request_gives_the_same_bytes(engine: Engine, image_format: ImageFormat) -> None:
    first = climbed(engine, image_format=image_format)
    again = climbed(
        engine,
        image_format=image_format,
        learning_rate=None,
        preview_every_steps=1,
        request_id="3b241101-e2bb-4255-8caf-4136c566a962",
    )
    assert (again.image, again.record) == (first.image, first.record)
    assert "seconds" not in first.record and first.request_id not in first.record
    assert climbed(engine, image_format=image_format, seed=8).image != first.image


@pictures
@pytest.mark.parametrize("channels", [1, 3, 4, 13])
@pytest.mark.parametrize("length", [1, 5_000, 200_000])
def test_the_pixels_know_nothing_of_it(
    image_format: ImageFormat, channels: int, length: int, tmp_path: Path
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (channels, 8, 12), np.uint8)
    record = json.dumps({"words": "é\0" * length})
    content = encode(pixels, image_format, embed(record, image_format))
    plain = encode(pixels, image_format)
    np.testing.assert_array_equal(decode(content, channels), decode(plain, channels))
    (tmp_path / "picture").write_bytes(content)
    with pytest.raises(InvalidRequest, match=r"record\.schema: got None, expected 1"):
        read(tmp_path / "picture")


@pictures
def test_a_picture_that_begins_with_a_picture_does_not_carry_its_record(
    engine: Engine, image_format: ImageFormat, tmp_path: Path
) -> None:
    result, lengths = climbed(engine, image_format=image_format), []
    for _ in range(4):
        given = result.image
        result = climbed(
            engine, image_format=image_format, start_image=given, terms=(caricature(given),)
        )
        lengths.append(len(result.record))
    request = read(saved(result, tmp_path)).request
    assert b"unitscope" not in request.start_image + request.terms[0].reference
    assert max(lengths) < 1.1 * min(lengths)


def test_natural_images_are_named_by_their_sha256(engine: Engine, tmp_path: Path) -> None:
    images = tuple(encoded(random_pixels(seed)) for seed in range(2))
    result = climbed(engine, natural_images=images)
    plain = climbed(engine, preset="unitscope")
    assert len(result.record) < len(plain.record) + 500
    record = read(saved(result, tmp_path))
    assert record.natural_sha256 == tuple(hashlib.sha256(image).hexdigest() for image in images)
    assert record.request.natural_images == ()
    assert record.asked_again((b"another", *images[::-1])).natural_images == images
    with pytest.raises(InvalidRequest, match="images: got '1 images', expected among them the im"):
        record.asked_again(images[:1])


def test_an_array_is_the_picture_before_it_is_rounded(engine: Engine) -> None:
    array = decode(climbed(engine, image_format="npy").image, 3)
    assert array.dtype == np.float32 and array.min() >= 0 and array.max() <= 1
    picture = decode(climbed(engine).image, 3)
    np.testing.assert_array_equal(np.rint(array * 255), picture)
    assert np.abs(array * 255 - picture).max() > 0.1


# Files that hold no record


def text_chunk(content: bytes, kind: bytes = b"tEXt") -> bytes:
    body = kind + b"unitscope\0" + content
    return len(body[4:]).to_bytes(4) + body + zlib.crc32(body).to_bytes(4)


def png_with(chunk: bytes) -> bytes:
    plain = encode(np.zeros((3, 8, 8), np.uint8), "png")
    return plain[:33] + chunk + plain[33:]


def webp_with(comment: object) -> bytes:
    exif = Image.Exif()
    exif.get_ifd(ExifTags.IFD.Exif)[ExifTags.Base.UserComment] = comment
    return encode(np.zeros((3, 8, 8), np.uint8), "webp", {"exif": exif.tobytes()})


HOSTILE: dict[str, tuple[bytes, str]] = {
    "empty file": (b"", "picture: got 'picture', expected a picture with a record: cannot"),
    "text": (b"no picture", "cannot identify"),
    "no record": (png_with(b""), "expected a picture with a record: it has none"),
    "garbage": (png_with(text_chunk(b"\xff\0\x01")), "record: got .*, expected JSON"),
    "half": (png_with(text_chunk(b'{"schema": 1, ')), "record: got .*, expected JSON"),
    "list": (png_with(text_chunk(b"[1]")), r"record: got '\[1\]', expected an object"),
    "huge": (png_with(text_chunk(b" " * (MAX_CHARACTERS + 1))), "picture|record"),
    "nested": (png_with(text_chunk(b"[" * 100_000)), "record: got .*, expected JSON: maximum rec"),
    "nested request": (
        png_with(text_chunk(b'{"schema":1,"request":' + b'{"unit":' * 900 + b"1" + b"}" * 901)),
        "record",
    ),
    "long number": (png_with(text_chunk(b"1" * 100_000)), "record: got .*, expected JSON"),
    "bomb": (png_with(text_chunk(b"\0" + zlib.compress(b" " * (1 << 24)), b"zTXt")), "picture"),
    "other schema": (png_with(text_chunk(b'{"schema": 2}')), "record.schema: got 2, expected 1"),
    "schema alone": (png_with(text_chunk(b'{"schema": 1}')), "record.request: got None"),
    "broken chunk": (png_with(text_chunk(b"{}")[:-3]), "picture"),
    "a number as comment": (webp_with(9), "it has none"),
    "a comment without code": (webp_with(b"UNICODE\0x"), "it has none"),
    "a comment in words": (webp_with(b"ASCII\0\0\0at sea"), "record: got 'at sea', expected JSON"),
    "a comment of bytes": (webp_with(b"ASCII\0\0\0\xff"), "picture: .* can't decode"),
    "two records": (png_with(text_chunk(b"{}") + text_chunk(b"[]")), "record: got"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_nonsense_is_refused_in_a_sentence(name: str, tmp_path: Path) -> None:
    content, message = HOSTILE[name]
    path = tmp_path / "picture"
    path.write_bytes(content)
    with pytest.raises(InvalidRequest, match=message) as caught:
        read(path)
    assert len(str(caught.value)) < 500


@pictures
def test_a_truncated_file_is_refused(
    engine: Engine, image_format: ImageFormat, tmp_path: Path
) -> None:
    path = saved(climbed(engine, image_format=image_format), tmp_path)
    whole = path.read_bytes()
    for share in (0.1, 0.5, 0.9):
        path.write_bytes(whole[: int(len(whole) * share)])
        with pytest.raises(InvalidRequest, match=r"^(picture|record): "):
            read(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content: content["request"].update(steps="many"), "record.request.steps: got"),
        (lambda content: content["request"].update(colour=1), "record.request: got 'colour'"),
        (lambda content: content.update(request=[]), r"record.request: got '\[\]'"),
        (lambda content: content.update(model=None), "record.model: got None, expected an object"),
        (
            lambda content: content["natural_images"].update(sha256=[7]),
            r"record.natural_images.sha256\[0\]: got 7, expected a text",
        ),
        (lambda content: content.pop("metrics"), "record.metrics: got None, expected an object"),
    ],
)
def test_a_record_that_lies_is_refused_by_path(
    engine: Engine, change: Callable[[dict[str, Any]], object], message: str
) -> None:
    content = json.loads(climbed(engine).record)
    change(content)
    with pytest.raises(InvalidRequest, match=message):
        parse(json.dumps(content))


def test_a_field_that_an_older_record_lacks_has_its_default(engine: Engine) -> None:
    content = json.loads(climbed(engine).record)
    del content["request"]["image_size_px"]
    assert parse(json.dumps(content)).request.image_size_px is None


def test_a_comment_of_another_program_is_no_record(tmp_path: Path) -> None:
    path = tmp_path / "picture.jpg"
    Image.new("RGB", (8, 8)).save(path, comment=b"made by hand")
    with pytest.raises(InvalidRequest, match="it has none"):
        read(path)


def test_an_array_without_its_record_is_refused(engine: Engine, tmp_path: Path) -> None:
    path = climbed(engine, image_format="npy").save(tmp_path / "array.npy")
    with pytest.raises(InvalidRequest, match=r"array\.npy.*array\.json"):
        read(path)
