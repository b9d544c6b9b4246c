"""Maximizations between the wire and the nouns, both ways.

`from_…` takes a message, `to_…` makes one; the server and the client use one half each, so that
a maximization reads the same on both sides.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection
from dataclasses import asdict, replace
from typing import Any

from google.protobuf.message import Message

from unitscope._gen.unitscope.v1 import maximize_pb2 as pb
from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.request import (
    Accepted,
    Attempt,
    Calibration,
    ClassScore,
    Ending,
    Event,
    Exemplar,
    GradientStatus,
    ImageFormat,
    Maximization,
    MaximizeRequest,
    Metrics,
    Progress,
    Term,
    TrajectoryPoint,
)
from unitscope.errors import InvalidRequest
from unitscope.rpc.convert_model import from_preprocessing, to_preprocessing
from unitscope.rpc.fields import fill, from_duration, read_fields, same_fields, to_duration

_FORMATS: dict[ImageFormat, pb.ImageFormat] = {
    "png": pb.IMAGE_FORMAT_PNG,
    "jpeg": pb.IMAGE_FORMAT_JPEG,
    "webp": pb.IMAGE_FORMAT_WEBP,
    "npy": pb.IMAGE_FORMAT_NPY,
}
_GRADIENTS: dict[GradientStatus, pb.GradientStatus] = {
    "ok": pb.GRADIENT_STATUS_OK,
    "redirected": pb.GRADIENT_STATUS_REDIRECTED,
    "saturated": pb.GRADIENT_STATUS_SATURATED,
}
_ENDINGS: dict[Ending, pb.Ending] = {
    "steps": pb.ENDING_STEPS,
    "target": pb.ENDING_TARGET,
    "plateau": pb.ENDING_PLATEAU,
}
_FORMAT_NAMES = {value: name for name, value in _FORMATS.items()}
_GRADIENT_NAMES = {value: name for name, value in _GRADIENTS.items()}
_ENDING_NAMES = {value: name for name, value in _ENDINGS.items()}


# Requests


def from_request(message: pb.MaximizeRequest) -> MaximizeRequest:
    """What is asked; an absent field keeps the noun's default.

    Raises InvalidRequest for what only the wire can get wrong.
    """
    given: dict[str, Any] = {"steps": message.steps} if message.HasField("steps") else {}
    return MaximizeRequest(
        unit=_unit(message),
        model=message.model,
        model_version=message.model_version,
        layer=message.layer,
        request_id=_checked_uuid(message.request_id),
        terms=tuple(map(_from_term, message.terms)),
        **given,
        **_present(message.options),
    )


def to_request(request: MaximizeRequest) -> pb.MaximizeRequest:
    """The message of a request; raises InvalidRequest for a value its field cannot hold."""
    message = pb.MaximizeRequest()
    for name in ("model", "model_version", "layer", "steps", "request_id"):
        _fill(message, name, getattr(request, name))
    _fill_unit(message, request.unit)
    for term in request.terms:
        _fill_term(message.terms.add(), term)
    for field in message.options.DESCRIPTOR.fields:
        _fill(message.options, field.name, getattr(request, field.name))
    return message


def _from_term(message: pb.Term) -> Term:
    return Term(unit=_unit(message), **_present(message, omit=("unit", "label")))


def _fill_term(message: pb.Term, term: Term) -> None:
    _fill_unit(message, term.unit)
    for field in message.DESCRIPTOR.fields:
        if field.name not in ("unit", "label"):
            _fill(message, field.name, getattr(term, field.name))


def _unit(message: pb.MaximizeRequest | pb.Term) -> int | str | None:
    selector = message.WhichOneof("unit_selector")
    return None if selector is None else getattr(message, selector)


def _fill_unit(message: pb.MaximizeRequest | pb.Term, unit: int | str | None) -> None:
    _fill(message, "label" if isinstance(unit, str) else "unit", unit)


def from_stream_request(message: pb.StreamMaximizeRequest) -> tuple[MaximizeRequest, int]:
    """What is asked, and how many steps lie between two messages of progress."""
    if message.progress_every_steps < 0:
        raise InvalidRequest("progress_every_steps", message.progress_every_steps, "0 or more")
    request = from_request(message.maximize)
    every = message.progress_every_steps or 1
    return replace(request, preview_every_steps=message.preview_every_steps), every


def to_stream_request(
    request: MaximizeRequest, *, progress_every_steps: int
) -> pb.StreamMaximizeRequest:
    """The message that asks for `request` with news on the way."""
    message = pb.StreamMaximizeRequest(maximize=to_request(request))
    _fill(message, "preview_every_steps", request.preview_every_steps)
    _fill(message, "progress_every_steps", progress_every_steps)
    return message


def _present(message: Message, omit: Collection[str] = ()) -> dict[str, Any]:
    """The fields that are present, as the noun has them, by name."""
    return {
        field.name: _READ.get(field.name, _unchanged)(value)
        for field, value in message.ListFields()
        if field.name not in omit
    }


def _unchanged(value: Any) -> Any:
    return value


_READ: dict[str, Callable[[Any], Any]] = {
    "transforms": lambda found: tuple(Transform(**read_fields(item)) for item in found.items),
    "penalties": lambda found: tuple(map(_from_regularizer, found.items)),
    "constraints": lambda found: tuple(map(_from_regularizer, found.items)),
    "direction": tuple,
    "natural_images": tuple,
    "unlike": tuple,
    "position": lambda position: (position.x, position.y),
    "image_format": lambda value: _format_name(value),
}


def _from_regularizer(message: pb.Regularizer) -> Regularizer:
    given = {"every_steps": message.every_steps} if message.HasField("every_steps") else {}
    return Regularizer(message.name, message.strength, **given)


def _fill(message: Message, name: str, value: Any) -> None:
    """Set a field, unless the value is None; raises InvalidRequest if the field cannot hold it."""
    if value is None:
        return
    try:
        if name == "image_format":
            setattr(message, name, _format_value(value))
        elif name == "position":
            message.position.x, message.position.y = value  # type: ignore[attr-defined]
        elif name in ("transforms", "penalties", "constraints"):
            items = getattr(message, name)
            items.SetInParent()
            for item in value:
                items.items.add(**asdict(item))
        else:
            fill(message, name, value)
    except (TypeError, ValueError):
        raise InvalidRequest(name, value, "its items") from None


def _checked_uuid(text: str) -> str:
    if text:
        try:
            uuid.UUID(text)
        except ValueError:
            raise InvalidRequest("request_id", text, "a UUID") from None
    return text


def _format_name(value: pb.ImageFormat) -> ImageFormat:
    if value not in _FORMAT_NAMES:
        raise InvalidRequest("image_format", value, "a value of unitscope.v1.ImageFormat")
    return _FORMAT_NAMES[value]


def _format_value(name: ImageFormat) -> pb.ImageFormat:
    if name not in _FORMATS:
        raise InvalidRequest("image_format", name, f"one of {', '.join(_FORMATS)}")
    return _FORMATS[name]


# Events


def to_event(event: Event) -> pb.StreamMaximizeResponse:
    """One message of a stream."""
    if isinstance(event, Accepted):
        return pb.StreamMaximizeResponse(accepted=same_fields(pb.Accepted, event))
    if isinstance(event, Progress):
        return pb.StreamMaximizeResponse(progress=same_fields(pb.Progress, event))
    return pb.StreamMaximizeResponse(result=to_maximization(event))


def from_event(message: pb.StreamMaximizeResponse) -> Event:
    """The event in one message of a stream."""
    kind = message.WhichOneof("event")
    if kind == "accepted":
        return Accepted(**read_fields(message.accepted))
    if kind == "progress":
        return Progress(**read_fields(message.progress))
    return from_maximization(message.result)


def to_maximization(result: Maximization) -> pb.MaximizeResponse:
    """The message of a finished picture."""
    image = pb.Image(
        data=result.image,
        format=_FORMATS[result.image_format],
        width_px=result.width_px,
        height_px=result.height_px,
    )
    return pb.MaximizeResponse(
        request_id=result.request_id,
        image=image,
        metrics=_to_metrics(result.metrics),
        record=result.record,
        cached=result.cached,
    )


def from_maximization(message: pb.MaximizeResponse) -> Maximization:
    """The finished picture in a message."""
    return Maximization(
        request_id=message.request_id,
        image=message.image.data,
        image_format=_FORMAT_NAMES[message.image.format],
        width_px=message.image.width_px,
        height_px=message.image.height_px,
        metrics=_from_metrics(message.metrics),
        record=message.record,
        cached=message.cached,
    )


def _to_metrics(metrics: Metrics) -> pb.Metrics:
    return same_fields(
        pb.Metrics,
        metrics,
        trajectory=[same_fields(pb.TrajectoryPoint, point) for point in metrics.trajectory],
        top_classes=[same_fields(pb.ClassScore, score) for score in metrics.top_classes],
        calibration=_to_calibration(metrics.calibration),
        gradient_status=_GRADIENTS[metrics.gradient_status],
        ending=_ENDINGS[metrics.ending],
        attempts=list(map(_to_attempt, metrics.attempts)),
        queued=to_duration(metrics.queued_seconds),
        compiling=to_duration(metrics.compiling_seconds),
        running=to_duration(metrics.running_seconds),
        measuring=to_duration(metrics.measuring_seconds),
        preprocessing=to_preprocessing(metrics.preprocessing),
    )


def _from_metrics(message: pb.Metrics) -> Metrics:
    plain = read_fields(message, omit=("queued", "compiling", "running", "measuring"))
    return Metrics(
        **plain
        | {
            "trajectory": tuple(TrajectoryPoint(**read_fields(p)) for p in message.trajectory),
            "top_classes": tuple(ClassScore(**read_fields(s)) for s in message.top_classes),
            "calibration": _from_calibration(message),
            "gradient_status": _GRADIENT_NAMES[message.gradient_status],
            "ending": _ENDING_NAMES[message.ending],
            "attempts": tuple(map(_from_attempt, message.attempts)),
            "queued_seconds": from_duration(message.queued),
            "compiling_seconds": from_duration(message.compiling),
            "running_seconds": from_duration(message.running),
            "measuring_seconds": from_duration(message.measuring),
            "preprocessing": from_preprocessing(message.preprocessing),
        }
    )


def _to_attempt(attempt: Attempt) -> pb.Attempt:
    return same_fields(pb.Attempt, attempt, ending=_ENDINGS[attempt.ending])


def _from_attempt(message: pb.Attempt) -> Attempt:
    return Attempt(**read_fields(message) | {"ending": _ENDING_NAMES[message.ending]})


def _to_calibration(calibration: Calibration | None) -> pb.Calibration | None:
    if calibration is None:
        return None
    exemplars = [same_fields(pb.Exemplar, exemplar) for exemplar in calibration.exemplars]
    return same_fields(pb.Calibration, calibration, exemplars=exemplars)


def _from_calibration(message: pb.Metrics) -> Calibration | None:
    if not message.HasField("calibration"):
        return None
    plain = read_fields(message.calibration, omit=("exemplars",))
    exemplars = (Exemplar(**read_fields(found)) for found in message.calibration.exemplars)
    return Calibration(**plain, exemplars=tuple(exemplars))
