"""The error tree: what went wrong, said to the person who can mend it.

Every error names what was asked, what was found, what is expected and, where there is a
list, the known choices. It knows no transport: ``rpc/status.py`` maps each kind to a status.
"""

from __future__ import annotations

import copyreg
import difflib
from collections.abc import Collection
from typing import Any


class UnitscopeError(Exception):
    """Base of everything unitscope raises on purpose."""

    reason = "INTERNAL"
    """Stable UPPER_SNAKE identifier, for programs."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Copied and pickled with its message as it was written, not written anew from parts."""
        return copyreg.__newobj__, (type(self), *self.args), vars(self)  # type: ignore[attr-defined]


class InvalidRequest(UnitscopeError):
    """A field of a request holds a value that cannot be served."""

    reason = "INVALID_REQUEST"

    def __init__(self, field: str, got: object, expected: str) -> None:
        super().__init__(f"{field}: got {got!r}, expected {expected}")
        self.field = field
        self.got = got
        self.expected = expected


class NotFound(UnitscopeError):
    """A model, layer, unit or registered name that does not exist."""

    reason = "NOT_FOUND"

    def __init__(self, kind: str, name: object, known: Collection[str]) -> None:
        self.kind = kind
        self.name = name
        self.nearest = _nearest(str(name), known)
        hint = ", ".join(self.nearest)
        text = f"unknown {kind} {name!r}" + (f"; did you mean: {hint}" if hint else "")
        super().__init__(text)


class ModelRejected(UnitscopeError):
    """A file that is not a usable ONNX model, or a node that stops the gradient."""

    reason = "MODEL_REJECTED"

    def __init__(self, message: str, *, node: str = "", operator: str = "") -> None:
        super().__init__(message)
        self.node = node
        self.operator = operator


class ModelUnloaded(UnitscopeError):
    """A model that was unloaded on purpose, and not loaded again."""

    reason = "MODEL_UNLOADED"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"version {version} of model {name!r} was unloaded; load it to use it")
        self.name = name
        self.version = version


class ModelControlOff(UnitscopeError):
    """Callers may not have models loaded and unloaded here."""

    reason = "MODEL_CONTROL_OFF"

    def __init__(self) -> None:
        super().__init__(
            "this server loads models when they are first asked for, and lets no caller load or "
            "unload them; it does where it is started with UNITSCOPE_MODEL_CONTROL_MODE=explicit"
        )


class DeadGradient(UnitscopeError):
    """The gradient of the unit with respect to the image is exactly zero and stays so."""

    reason = "DEAD_GRADIENT"


class NotFinite(UnitscopeError):
    """The activation or its gradient became infinite or not a number."""

    reason = "NOT_FINITE"


class QueueFull(UnitscopeError):
    """No place for another request at the moment."""

    reason = "QUEUE_FULL"

    def __init__(self, waiting: int, retry_after_seconds: float, *, model: str = "") -> None:
        queue = f"queue of model {model!r}" if model else "queue"
        when = f"retry in {retry_after_seconds:.1f} s"
        super().__init__(f"the {queue} is full ({waiting} requests waiting); {when}")
        self.waiting = waiting
        self.retry_after_seconds = retry_after_seconds


class DeadlineExceeded(UnitscopeError):
    """The time that the caller gave is over, or too short for what it asked."""

    reason = "DEADLINE_EXCEEDED"


class WorkerDied(UnitscopeError):
    """The process that a model runs in died of a request, or of the model itself."""

    reason = "WORKER_DIED"

    def __init__(self, model: str, what: str, retry_after_seconds: float) -> None:
        super().__init__(f"{what}; retry in {retry_after_seconds:.1f} s")
        self.model = model
        self.retry_after_seconds = retry_after_seconds


class OutOfMemory(UnitscopeError):
    """A request takes more memory than the process of its model may have."""

    reason = "OUT_OF_MEMORY"


class ProgramTooLarge(UnitscopeError):
    """A program would take more memory than there is for it."""

    reason = "PROGRAM_TOO_LARGE"

    def __init__(self, estimated_bytes: int, available_bytes: int) -> None:
        super().__init__(
            f"the program of this request takes about {estimated_bytes >> 20} MiB, "
            f"{available_bytes >> 20} MiB may be taken"
        )
        self.estimated_bytes = estimated_bytes
        self.available_bytes = available_bytes


class RequestIdTaken(UnitscopeError):
    """A `request_id` that another request has."""

    reason = "REQUEST_ID_TAKEN"

    def __init__(self, request_id: str) -> None:
        super().__init__(
            f"request_id {request_id!r} is that of a request that asks for something else; "
            "give every request an id of its own, and the same one only to repeat it"
        )
        self.request_id = request_id


class Cancelled(UnitscopeError):
    """The caller gave the request up."""

    reason = "CANCELLED"


class ShuttingDown(UnitscopeError):
    """The engine is draining and takes no new requests; another replica may."""

    reason = "SHUTTING_DOWN"


def _nearest(name: str, known: Collection[str], count: int = 5) -> tuple[str, ...]:
    """The known names closest to `name`; all of them when there are only a few."""
    if len(known) <= count:
        return tuple(known)
    folded = {choice.lower(): choice for choice in known}
    near = difflib.get_close_matches(name.lower(), folded, n=count, cutoff=0.5)
    inside = [key for key in folded if name.lower() in key and key not in near]
    return tuple(folded[key] for key in (near + inside)[:count])
