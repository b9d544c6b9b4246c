"""Attributions come back from the wire equal; what only the wire can get wrong is refused."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.rpc.test_convert import int32s, int64s, numbers, preprocessings, seconds, texts, tuples
from unitscope._gen.unitscope.v1 import attribute_pb2 as pb
from unitscope.engine.attribution import AttributeRequest, Attribution, Completeness
from unitscope.engine.request import ClassScore
from unitscope.errors import InvalidRequest
from unitscope.rpc.convert_attribute import from_request, from_response, to_request, to_response


@given(
    st.builds(
        AttributeRequest,
        image=st.binary(),
        unit=int32s | texts,
        model=texts,
        model_version=texts,
        layer=texts,
        position=st.none() | st.tuples(int32s, int32s),
        method=st.text(min_size=1),
        samples=st.none() | int32s,
        noise=st.none() | numbers,
        seed=st.none() | int64s,
        baseline=st.none() | numbers,
    )
)
def test_a_request_comes_back_equal(request: AttributeRequest) -> None:
    sent = pb.AttributeRequest.FromString(to_request(request).SerializeToString())
    assert from_request(sent) == request


@given(
    st.builds(
        Attribution,
        model=texts,
        model_version=texts,
        model_sha256=texts,
        layer=texts,
        tensor=texts,
        unit=int32s,
        label=texts,
        method=texts,
        samples=int32s,
        noise=st.none() | numbers,
        seed=st.none() | int64s,
        baseline=st.none() | numbers,
        activation=numbers,
        completeness=st.none()
        | st.builds(
            Completeness, baseline_activation=numbers, gap=numbers, relative_gap=st.none() | numbers
        ),
        top_classes=tuples(st.builds(ClassScore, index=int32s, label=texts, probability=numbers)),
        values_npy=st.binary(),
        heat_map=st.binary(),
        overlay=st.binary(),
        width_px=int32s,
        height_px=int32s,
        running_seconds=seconds,
        preprocessing=preprocessings,
    )
)
def test_an_attribution_comes_back_equal(result: Attribution) -> None:
    sent = pb.AttributeResponse.FromString(to_response(result).SerializeToString())
    assert from_response(sent) == result


@pytest.mark.parametrize(
    ("field", "value", "expected"),
    [
        ("image", "photo.jpg", "bytes"),
        ("unit", 2**31, "an integer of 32 bits"),
        ("unit", 1.5, "an integer of 32 bits"),
        ("position", (1,), "two integers of 32 bits"),
        ("position", (1, 2**31), "two integers of 32 bits"),
        ("method", 3, "a text"),
        ("samples", 2.5, "an integer of 32 bits"),
        ("seed", 2**63, "an integer of 64 bits"),
        ("noise", "much", "a number"),
    ],
)
def test_a_value_that_no_field_holds_is_named(field: str, value: Any, expected: str) -> None:
    asked: dict[str, Any] = {"image": b"", "unit": 1}
    with pytest.raises(InvalidRequest) as caught:
        to_request(AttributeRequest(**(asked | {field: value})))
    assert (caught.value.field, caught.value.expected) == (field, expected)


def test_a_request_without_a_unit_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="unit: got None"):
        from_request(pb.AttributeRequest(image=b"x"))
