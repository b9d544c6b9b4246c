"""Fields that a noun and its message share by name, and durations."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import fields
from typing import TYPE_CHECKING, Any, TypeVar

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message

from unitscope.errors import InvalidRequest

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

M = TypeVar("M", bound=Message)

_WORDS = {
    FieldDescriptor.TYPE_INT32: "an integer of 32 bits",
    FieldDescriptor.TYPE_INT64: "an integer of 64 bits",
    FieldDescriptor.TYPE_DOUBLE: "a number",
    FieldDescriptor.TYPE_STRING: "a text",
    FieldDescriptor.TYPE_BYTES: "bytes",
    FieldDescriptor.TYPE_BOOL: "true or false",
}


def same_fields(message_type: type[M], noun: DataclassInstance, **others: Any) -> M:
    """A message with the noun's values in the fields of the same name, and `others`."""
    known = message_type.DESCRIPTOR.fields_by_name
    names = [field.name for field in fields(noun) if field.name in known]
    return message_type(**{name: getattr(noun, name) for name in names} | others)


def read_fields(message: Message, *, omit: Collection[str] = ()) -> dict[str, Any]:
    """The values of a message by name: repeated fields as tuples, absent optional ones as None."""
    return {
        field.name: _read(message, field)
        for field in message.DESCRIPTOR.fields
        if field.name not in omit
    }


def fill(message: Message, name: str, value: Any) -> None:
    """Set a field of plain values, unless `value` is None.

    Raises InvalidRequest if it cannot hold it.
    """
    if value is None:
        return
    field = message.DESCRIPTOR.fields_by_name[name]
    try:
        if field.is_repeated:
            getattr(message, name).extend(value)
        else:
            setattr(message, name, value)
    except (TypeError, ValueError):
        raise InvalidRequest(name, value, _WORDS[field.type]) from None


def to_duration(seconds: float) -> Duration:
    """A duration, to the nanosecond."""
    whole, nanos = divmod(round(seconds * 1e9), 10**9)
    return Duration(seconds=whole, nanos=nanos)


def from_duration(duration: Duration) -> float:
    """A duration in seconds."""
    return duration.seconds + duration.nanos / 1e9


def _read(message: Message, field: Any) -> Any:
    value = getattr(message, field.name)
    if field.is_repeated:
        return tuple(value)
    if field.has_presence and not message.HasField(field.name):
        return None
    return value
