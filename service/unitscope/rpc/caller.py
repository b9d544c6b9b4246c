"""Who calls: what the connection and its metadata say."""

from __future__ import annotations

from typing import Any

import grpc

from unitscope.engine.request import PRIORITIES, Caller
from unitscope.errors import InvalidRequest

CLIENT_KEY = "unitscope-client"
PRIORITY_KEY = "unitscope-priority"
MAX_CLIENT_CHARACTERS = 256

Metadata = tuple[tuple[str, str], ...]


def caller_of(context: grpc.aio.ServicerContext[Any, Any]) -> Caller:
    """The caller of an RPC: proved by a certificate, else named by metadata, else by its address.

    Raises InvalidRequest for metadata that cannot be read.
    """
    said = dict(context.invocation_metadata() or ())
    priority = str(said.get(PRIORITY_KEY, "normal"))
    if priority not in PRIORITIES:
        raise InvalidRequest(
            f"metadata {PRIORITY_KEY}", priority, f"one of {', '.join(PRIORITIES)}"
        )
    name = str(said.get(CLIENT_KEY, ""))
    if len(name) > MAX_CLIENT_CHARACTERS:
        expected = f"at most {MAX_CLIENT_CHARACTERS} characters"
        raise InvalidRequest(f"metadata {CLIENT_KEY}", f"{len(name)} characters", expected)
    proved = next(iter(context.peer_identities() or ()), b"").decode()
    client = proved or name or context.peer().rpartition(":")[0]
    return Caller(client, priority, context.time_remaining())


def to_metadata(caller: Caller) -> Metadata:
    """What tells a server who calls; the time it waits goes with every call."""
    named = ((CLIENT_KEY, caller.client),) if caller.client else ()
    return (*named, (PRIORITY_KEY, caller.priority))
