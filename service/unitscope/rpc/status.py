"""Errors as gRPC statuses with google.rpc details, and back.

One table says it all: the code of each error, what of it travels in `ErrorInfo.metadata`, and
which further detail it has. Texts are cut so that a status always fits into HTTP trailers,
whatever a caller typed.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
from google.protobuf.message import Message
from google.rpc import error_details_pb2 as details_pb
from google.rpc import status_pb2

from unitscope.errors import (
    Cancelled,
    DeadGradient,
    DeadlineExceeded,
    InvalidRequest,
    ModelControlOff,
    ModelRejected,
    ModelUnloaded,
    NotFinite,
    NotFound,
    OutOfMemory,
    ProgramTooLarge,
    QueueFull,
    RequestIdTaken,
    ShuttingDown,
    UnitscopeError,
    WorkerDied,
)
from unitscope.rpc.fields import to_duration

DOMAIN = "unitscope"
DETAILS_KEY = "grpc-status-details-bin"

_MESSAGE_BYTES = 1000
_VALUE_BYTES = 250
_CUT = "…"


class CallFailed(UnitscopeError):
    """A call that ended without an answer from the service: no connection, another protocol.

    `code`: the gRPC status code; its name is the `reason`.
    """

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.reason = code.name


# How each error travels


@dataclass(frozen=True, slots=True)
class _Row:
    """`attributes`: what travels, and how it is read back from text."""

    code: grpc.StatusCode
    attributes: Mapping[str, Callable[[str], Any]] = field(default_factory=dict)
    detail: Callable[[Any, Message | None], Any] | None = None


def _bad_request(error: InvalidRequest, request: Message | None) -> Any:
    path = field_path(request, error.field) if request is not None else error.field
    violation = details_pb.BadRequest.FieldViolation(
        field=_short(path, _VALUE_BYTES),
        description=_short(f"expected {error.expected}", _VALUE_BYTES),
    )
    return details_pb.BadRequest(field_violations=[violation])


def _resource_info(error: NotFound, request: Message | None) -> Any:
    return details_pb.ResourceInfo(
        resource_type=_short(error.kind, _VALUE_BYTES),
        resource_name=_short(str(error.name), _VALUE_BYTES),
    )


def _taken_id(error: RequestIdTaken, request: Message | None) -> Any:
    return details_pb.ResourceInfo(
        resource_type="request", resource_name=_short(error.request_id, _VALUE_BYTES)
    )


def _rejected_node(error: ModelRejected, request: Message | None) -> Any:
    return _precondition(error.reason, error.node, str(error))


def _unloaded_model(error: ModelUnloaded, request: Message | None) -> Any:
    return _precondition(error.reason, error.name, str(error))


def _no_ascent(error: DeadGradient | NotFinite, request: Message | None) -> Any:
    return _precondition(error.reason, "", str(error))


def _precondition(kind: str, subject: str, description: str) -> Any:
    violation = details_pb.PreconditionFailure.Violation(
        type=kind,
        subject=_short(subject, _VALUE_BYTES),
        description=_short(description, _VALUE_BYTES),
    )
    return details_pb.PreconditionFailure(violations=[violation])


def _retry_info(error: QueueFull | WorkerDied, request: Message | None) -> Any:
    return details_pb.RetryInfo(retry_delay=to_duration(error.retry_after_seconds))


def _memory_quota(error: ProgramTooLarge, request: Message | None) -> Any:
    violation = details_pb.QuotaFailure.Violation(
        subject="program_memory_bytes", description=_short(str(error), _VALUE_BYTES)
    )
    return details_pb.QuotaFailure(violations=[violation])


def _read_names(text: str) -> tuple[str, ...]:
    return tuple(json.loads(text))


_ROWS: dict[type[UnitscopeError], _Row] = {
    InvalidRequest: _Row(
        grpc.StatusCode.INVALID_ARGUMENT,
        {"field": str, "got": str, "expected": str},
        _bad_request,
    ),
    NotFound: _Row(
        grpc.StatusCode.NOT_FOUND,
        {"kind": str, "name": str, "nearest": _read_names},
        _resource_info,
    ),
    ModelRejected: _Row(
        grpc.StatusCode.FAILED_PRECONDITION,
        {"node": str, "operator": str},
        _rejected_node,
    ),
    ModelUnloaded: _Row(
        grpc.StatusCode.FAILED_PRECONDITION,
        {"name": str, "version": str},
        _unloaded_model,
    ),
    ModelControlOff: _Row(grpc.StatusCode.PERMISSION_DENIED),
    DeadGradient: _Row(grpc.StatusCode.FAILED_PRECONDITION, detail=_no_ascent),
    NotFinite: _Row(grpc.StatusCode.FAILED_PRECONDITION, detail=_no_ascent),
    DeadlineExceeded: _Row(grpc.StatusCode.DEADLINE_EXCEEDED),
    QueueFull: _Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        {"waiting": int, "retry_after_seconds": float},
        _retry_info,
    ),
    WorkerDied: _Row(
        grpc.StatusCode.UNAVAILABLE,
        {"model": str, "retry_after_seconds": float},
        _retry_info,
    ),
    OutOfMemory: _Row(grpc.StatusCode.RESOURCE_EXHAUSTED),
    ProgramTooLarge: _Row(
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        {"estimated_bytes": int, "available_bytes": int},
        _memory_quota,
    ),
    RequestIdTaken: _Row(
        grpc.StatusCode.ALREADY_EXISTS,
        {"request_id": str},
        _taken_id,
    ),
    Cancelled: _Row(grpc.StatusCode.CANCELLED),
    ShuttingDown: _Row(grpc.StatusCode.UNAVAILABLE),
    UnitscopeError: _Row(grpc.StatusCode.INTERNAL),
}
_OWN = {
    grpc.StatusCode.CANCELLED: Cancelled,
    grpc.StatusCode.DEADLINE_EXCEEDED: DeadlineExceeded,
}
"""What gRPC itself says on the caller's side, before the server has."""
_CLASSES = {error_type.reason: error_type for error_type in _ROWS}


# To the wire


def to_status(error: UnitscopeError, request: Message | None = None) -> status_pb2.Status:
    """The status of an error; `request` is the message that caused it."""
    row = next(_ROWS[kind] for kind in type(error).__mro__ if kind in _ROWS)
    info = details_pb.ErrorInfo(
        reason=error.reason,
        domain=DOMAIN,
        metadata={name: _text(getattr(error, name)) for name in row.attributes},
    )
    status = status_pb2.Status(code=row.code.value[0], message=_short(str(error), _MESSAGE_BYTES))
    status.details.add().Pack(info)
    if row.detail is not None:
        status.details.add().Pack(row.detail(error, request))
    return status


def code_of(status: status_pb2.Status) -> grpc.StatusCode:
    """The code of a status, as grpc writes it."""
    return next(code for code in grpc.StatusCode if code.value[0] == status.code)


def field_path(message: Message, name: str) -> str:
    """Path of the field `name` in `message` or in the messages inside, such as `options.seed`.

    A name without a field is its own path.
    """
    return _find_path(message.DESCRIPTOR, name) or name


def _find_path(descriptor: Any, name: str) -> str | None:
    if name in descriptor.fields_by_name:
        return name
    for inner in descriptor.fields:
        if inner.message_type is not None:
            path = _find_path(inner.message_type, name)
            if path is not None:
                return f"{inner.name}.{path}"
    return None


def _text(value: object) -> str:
    if isinstance(value, tuple):
        return _names_text(list(value))
    return _short(str(value), _VALUE_BYTES)


def _names_text(names: list[str]) -> str:
    """As many of the names as fit, as a JSON list."""
    text = json.dumps(names, ensure_ascii=False)
    return text if len(text.encode()) <= _MESSAGE_BYTES else _names_text(names[:-1])


def _short(text: str, limit_bytes: int) -> str:
    """`text`, cut so that it takes at most `limit_bytes` in UTF-8."""
    encoded = text.encode(errors="replace")
    if len(encoded) <= limit_bytes:
        return encoded.decode()
    return encoded[: limit_bytes - len(_CUT.encode())].decode(errors="ignore") + _CUT


# From the wire


def from_status(status: status_pb2.Status) -> UnitscopeError:
    """The error that a status tells of: its own class if it is ours, otherwise CallFailed.

    Values that a caller typed come back as text.
    """
    for detail in status.details:
        info = details_pb.ErrorInfo()
        if detail.Unpack(info) and info.domain == DOMAIN and info.reason in _CLASSES:
            return _rebuild(_CLASSES[info.reason], status.message, info.metadata)
    return CallFailed(code_of(status), status.message)


def from_call(call: grpc.Call) -> UnitscopeError:
    """The error that a failed call tells of (`grpc.RpcError`, `grpc.aio.AioRpcError`)."""
    for key, value in call.trailing_metadata() or ():
        if key == DETAILS_KEY:
            return from_status(status_pb2.Status.FromString(value))
    code = call.code()
    message = call.details() or ""
    return _OWN[code](message) if code in _OWN else CallFailed(code, message)


def _rebuild(
    error_type: type[UnitscopeError], message: str, metadata: Mapping[str, str]
) -> UnitscopeError:
    """An error with the message as it was written, not written anew from its parts."""
    error = error_type.__new__(error_type, message)
    for name, read in _ROWS[error_type].attributes.items():
        setattr(error, name, read(metadata[name]))
    return error
