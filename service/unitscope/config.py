"""Settings: every knob once, its unit in its name, from the environment and from flags."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from unitscope.errors import InvalidRequest

S = TypeVar("S")

PREFIX = "UNITSCOPE_"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Where the server listens and how it stops.

    `host`: address of both doors; loopback unless told otherwise. A port 0 lets the system choose.
    `models`: directory whose models are served beside the embedded one: `*.onnx` files, or in
    Triton's layout; or its URL, with the extra `fsspec`. `models_poll_seconds`: how often to look
    whether models came, changed or went; 0 = only when somebody asks to load one.
    `model_control_mode`: "explicit" lets every caller have models loaded and unloaded, "none"
    nobody, as in Triton; either way a model is loaded by the first request for it.
    `warm_up`: what is compiled before the doors open, MODEL or MODEL/LAYER with blanks in between;
    a name that cannot be climbed ends the start.
    `max_request_bytes`: larger messages are refused before they are read; there is room for the
    largest image that is taken, 16 MiB.
    `drain_announce_seconds`: after SIGTERM, how long the health service says NOT_SERVING while
    new requests are still taken, so that a load balancer that asks every second has seen it
    twice before the door closes. SIGINT skips it: a person at a terminal has no load balancer.
    `drain_grace_seconds`: how long running requests may then take to finish; with the time
    before less than the 30 s that Kubernetes waits.
    """

    host: str = "127.0.0.1"
    grpc_port: int = 8001
    http_port: int = 8000
    models: str | None = None
    models_poll_seconds: float = 0.0
    model_control_mode: Literal["none", "explicit"] = "none"
    warm_up: str = ""
    max_request_bytes: int = 17 << 20
    drain_announce_seconds: float = 2.0
    drain_grace_seconds: float = 25.0


def read_settings(
    settings_type: type[S], environment: Mapping[str, str] = os.environ, **flags: object
) -> S:
    """Settings from `flags` that are not None, else from `UNITSCOPE_<FIELD>`, else the defaults.

    Raises InvalidRequest naming the variable that cannot be read, or TypeError for an unknown flag.
    """
    given: dict[str, Any] = {name: flag for name, flag in flags.items() if flag is not None}
    kinds = get_type_hints(settings_type)
    for field in fields(settings_type):  # type: ignore[arg-type]  # S is a dataclass
        kind = kinds[field.name]
        variable = PREFIX + field.name.upper()
        if field.name in given:
            continue
        if is_dataclass(kind) and isinstance(kind, type):
            given[field.name] = read_settings(kind, environment)
        elif variable in environment:
            given[field.name] = _read(variable, environment[variable], kind)
    return settings_type(**given)


def _read(variable: str, text: str, kind: Any) -> Any:
    if get_origin(kind) is Literal:
        if text not in get_args(kind):
            raise InvalidRequest(variable, text, f"one of {', '.join(get_args(kind))}")
        return text
    choices = [choice for choice in get_args(kind) or (kind,) if choice is not type(None)]
    try:
        return choices[0](text)
    except ValueError:
        raise InvalidRequest(variable, text, f"a value of type {choices[0].__name__}") from None
