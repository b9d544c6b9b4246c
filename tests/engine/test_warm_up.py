"""What is warmed up is there, and what cannot be is said."""

from __future__ import annotations

import pytest

from tests.services import Models, serving
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.warm_up import warm_up
from unitscope.errors import InvalidRequest


def test_a_default_request_finds_its_program(models: Models) -> None:
    with serving(models) as service:
        warm_up(service, " small grey/relu_out  dead ")
        assert service.stats().programs == 3
        for model, layer in (("small", ""), ("grey", "relu_out")):
            asked = MaximizeRequest(unit=2, model=model, layer=layer, steps=8)
            service.submit(asked).result()
        assert service.stats().programs == 3


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("smal", "did you mean: small"),
        ("small/nowhere", "unknown layer 'nowhere'"),
        ("text", "not an ONNX"),
        ("blocked", "Floor"),
    ],
)
def test_what_cannot_be_warmed_up_is_said(models: Models, name: str, reason: str) -> None:
    with serving(models) as service, pytest.raises(InvalidRequest, match=reason) as caught:
        warm_up(service, f"small {name}")
    assert str(caught.value).startswith(f"warm_up: got {name!r}, expected a model or MODEL/LAYER")
