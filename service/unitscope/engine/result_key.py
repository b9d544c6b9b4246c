"""What a picture depends on, as one digest: requests that share it get the same bytes."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from unitscope.engine.defaults import state_defaults
from unitscope.engine.device import Device
from unitscope.engine.loaded import ModelInfo
from unitscope.engine.record import DELIVERY, SCHEMA, circumstances, without
from unitscope.engine.request import MaximizeRequest


def result_key(request: MaximizeRequest, info: ModelInfo, device: Device) -> str:
    """SHA-256, in hex, of what decides the bytes of the answer to a valid `request` on `device`.

    It is what the record holds beside metrics, with the images as they came, and the labels of the
    model, which metrics name. Nothing of how the answer travels is in it.
    """
    return _digest(
        {
            "schema": SCHEMA,
            "request": without(state_defaults(request, info), DELIVERY),
            "model": info.fingerprint,
            **circumstances(device.computes_with),
        }
    )


def request_digest(request: MaximizeRequest) -> str:
    """SHA-256, in hex, of all that was asked, but for what the request is called."""
    return _digest(without(request, ("request_id",)))


def _digest(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
