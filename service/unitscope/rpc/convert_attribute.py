"""Attributions between the wire and the nouns, both ways."""

from __future__ import annotations

from typing import Any

from unitscope._gen.unitscope.v1 import attribute_pb2 as pb
from unitscope._gen.unitscope.v1 import maximize_pb2
from unitscope.engine.attribution import AttributeRequest, Attribution, Completeness
from unitscope.engine.request import ClassScore
from unitscope.errors import InvalidRequest
from unitscope.rpc.convert_model import from_preprocessing, to_preprocessing
from unitscope.rpc.fields import fill, from_duration, read_fields, same_fields, to_duration

_OPTIONS = ("samples", "noise", "seed", "baseline")


def from_request(message: pb.AttributeRequest) -> AttributeRequest:
    """What is asked; raises InvalidRequest where no unit is named."""
    selector = message.WhichOneof("unit_selector")
    if selector is None:
        raise InvalidRequest("unit", None, "an index or a label")
    plain = read_fields(message, omit=("unit", "label", "position", "method"))
    given: dict[str, Any] = {"method": message.method} if message.method else {}
    if message.HasField("position"):
        given["position"] = (message.position.x, message.position.y)
    return AttributeRequest(unit=getattr(message, selector), **plain, **given)


def to_request(request: AttributeRequest) -> pb.AttributeRequest:
    """The message of a request; raises InvalidRequest for a value its field cannot hold."""
    message = pb.AttributeRequest()
    fill(message, "label" if isinstance(request.unit, str) else "unit", request.unit)
    for name in ("model", "model_version", "layer", "image", "method", *_OPTIONS):
        fill(message, name, getattr(request, name))
    if request.position is not None:
        try:
            message.position.x, message.position.y = request.position
        except (TypeError, ValueError):
            expected = "two integers of 32 bits"
            raise InvalidRequest("position", request.position, expected) from None
    return message


def to_response(result: Attribution) -> pb.AttributeResponse:
    """The message of an attribution."""
    complete = result.completeness
    return same_fields(
        pb.AttributeResponse,
        result,
        completeness=None if complete is None else same_fields(pb.Completeness, complete),
        top_classes=[same_fields(maximize_pb2.ClassScore, score) for score in result.top_classes],
        running=to_duration(result.running_seconds),
        preprocessing=to_preprocessing(result.preprocessing),
    )


def from_response(message: pb.AttributeResponse) -> Attribution:
    """The attribution in a message."""
    complete = message.completeness if message.HasField("completeness") else None
    others: dict[str, Any] = {
        "completeness": None if complete is None else Completeness(**read_fields(complete)),
        "top_classes": tuple(ClassScore(**read_fields(score)) for score in message.top_classes),
        "running_seconds": from_duration(message.running),
        "preprocessing": from_preprocessing(message.preprocessing),
    }
    return Attribution(**read_fields(message, omit=("running",)) | others)
