"""Every error class has a row, fits into trailers, and comes back as what it was."""

from __future__ import annotations

import pickle
from typing import Any

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from unitscope import errors
from unitscope._gen.unitscope.v1 import maximize_pb2
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
from unitscope.rpc.status import CallFailed, code_of, field_path, from_status, to_status

CASES: list[tuple[UnitscopeError, grpc.StatusCode, type[Any] | None]] = [
    (
        InvalidRequest("learning_rate", float("nan"), "a finite number above 0"),
        grpc.StatusCode.INVALID_ARGUMENT,
        error_details_pb2.BadRequest,
    ),
    (
        NotFound("layer", "conv9", ["conv1", "conv2"]),
        grpc.StatusCode.NOT_FOUND,
        error_details_pb2.ResourceInfo,
    ),
    (
        ModelRejected("no rule", node="n1", operator="Floor"),
        grpc.StatusCode.FAILED_PRECONDITION,
        error_details_pb2.PreconditionFailure,
    ),
    (
        ModelUnloaded("eyes", "2"),
        grpc.StatusCode.FAILED_PRECONDITION,
        error_details_pb2.PreconditionFailure,
    ),
    (ModelControlOff(), grpc.StatusCode.PERMISSION_DENIED, None),
    (
        DeadGradient("the gradient is zero"),
        grpc.StatusCode.FAILED_PRECONDITION,
        error_details_pb2.PreconditionFailure,
    ),
    (
        NotFinite("the activation is infinite"),
        grpc.StatusCode.FAILED_PRECONDITION,
        error_details_pb2.PreconditionFailure,
    ),
    (
        ProgramTooLarge(5 << 30, 4 << 30),
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        error_details_pb2.QuotaFailure,
    ),
    (QueueFull(64, 2.5), grpc.StatusCode.RESOURCE_EXHAUSTED, error_details_pb2.RetryInfo),
    (
        WorkerDied("resnet50", "loading model 'resnet50' killed its worker (signal 11)", 2.0),
        grpc.StatusCode.UNAVAILABLE,
        error_details_pb2.RetryInfo,
    ),
    (OutOfMemory("too large"), grpc.StatusCode.RESOURCE_EXHAUSTED, None),
    (DeadlineExceeded("too late"), grpc.StatusCode.DEADLINE_EXCEEDED, None),
    (RequestIdTaken("an id"), grpc.StatusCode.ALREADY_EXISTS, error_details_pb2.ResourceInfo),
    (Cancelled("given up"), grpc.StatusCode.CANCELLED, None),
    (ShuttingDown("draining"), grpc.StatusCode.UNAVAILABLE, None),
    (UnitscopeError("on purpose"), grpc.StatusCode.INTERNAL, None),
]

everywhere = pytest.mark.parametrize(
    ("error", "code", "detail"), CASES, ids=[type(error).__name__ for error, _, _ in CASES]
)


def test_every_error_class_is_a_case() -> None:
    defined = {member for member in vars(errors).values() if isinstance(member, type)}
    kinds = {kind for kind in defined if issubclass(kind, UnitscopeError)}
    assert kinds == {type(error) for error, _, _ in CASES}


@everywhere
def test_code_and_details(
    error: UnitscopeError, code: grpc.StatusCode, detail: type[Any] | None
) -> None:
    status = to_status(error, maximize_pb2.MaximizeRequest())
    assert code_of(status) is code
    assert status.message == str(error)
    info = error_details_pb2.ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (error.reason, "unitscope")
    further = [any_.TypeName() for any_ in status.details[1:]]
    assert further == ([] if detail is None else [detail.DESCRIPTOR.full_name])


@everywhere
def test_comes_back_as_it_was(
    error: UnitscopeError, code: grpc.StatusCode, detail: type[Any] | None
) -> None:
    again = from_status(to_status(error))
    assert type(again) is type(error)
    assert str(again) == str(error)
    assert {name: str(value) for name, value in vars(again).items()} == {
        name: str(value) for name, value in vars(error).items()
    }


@everywhere
def test_crosses_a_pipe_as_it_was(
    error: UnitscopeError, code: grpc.StatusCode, detail: type[Any] | None
) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), str(again)) == (type(error), str(error))
    assert repr(vars(again)) == repr(vars(error))


@everywhere
def test_a_long_text_still_fits_into_trailers(
    error: UnitscopeError, code: grpc.StatusCode, detail: type[Any] | None
) -> None:
    long = "🦓" * 100_000
    for name, value in vars(error).items():
        if isinstance(value, str):
            setattr(error, name, long)
    error.args = (long,)
    status = to_status(error)
    in_header = 3 * len(status.message.encode())  # grpc-message is percent-encoded
    in_details = 4 * len(status.SerializeToString()) / 3  # -bin is base64
    assert in_header + in_details < 8000
    assert from_status(status).args[0].endswith("🦓…")


def test_names_that_do_not_fit_are_left_out() -> None:
    names = [letter * 300 for letter in "abcde"]
    again = from_status(to_status(NotFound("layer", "a", names)))
    assert isinstance(again, NotFound)
    assert again.nearest == tuple(names[:3])


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("steps", "maximize.steps"),
        ("learning_rate", "maximize.options.learning_rate"),
        ("position", "maximize.options.position"),
        ("progress_every_steps", "progress_every_steps"),
        ("elsewhere", "elsewhere"),
    ],
)
def test_bad_request_names_the_path_in_the_message(name: str, path: str) -> None:
    message = maximize_pb2.StreamMaximizeRequest()
    assert field_path(message, name) == path
    violation = error_details_pb2.BadRequest()
    to_status(InvalidRequest(name, 1, "2"), message).details[1].Unpack(violation)
    assert violation.field_violations[0].field == path


def test_a_foreign_status_keeps_its_code() -> None:
    status = status_pb2.Status(code=grpc.StatusCode.UNAUTHENTICATED.value[0], message="who?")
    error = from_status(status)
    assert isinstance(error, CallFailed)
    assert (error.code, error.reason, str(error)) == (
        grpc.StatusCode.UNAUTHENTICATED,
        "UNAUTHENTICATED",
        "who?",
    )
