"""What goes over the wire comes back equal; what only the wire can get wrong is refused."""

from __future__ import annotations

import dataclasses
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from unitscope._gen.unitscope.v1 import maximize_pb2 as pb
from unitscope.ascent.presets import Regularizer
from unitscope.ascent.transforms import Transform
from unitscope.engine.loaded import ModelInfo, ModelVersion
from unitscope.engine.request import (
    Accepted,
    Attempt,
    Calibration,
    ClassScore,
    Ending,
    Event,
    Exemplar,
    ImageFormat,
    Maximization,
    MaximizeRequest,
    Metrics,
    Preprocessing,
    Progress,
    Term,
    TrajectoryPoint,
)
from unitscope.errors import InvalidRequest
from unitscope.graph.layers import Layer
from unitscope.rpc import convert, convert_model

texts = st.text(max_size=20)
int32s = st.integers(0, 2**31 - 1)
int64s = st.integers(0, 2**63 - 1)
numbers = st.floats(allow_nan=False)
seconds = st.integers(0, 10**12).map(lambda nanos: nanos // 10**9 + nanos % 10**9 / 1e9)
formats = st.sampled_from(get_args(ImageFormat))


def tuples(items: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, ...]]:
    return st.lists(items, max_size=4).map(tuple)


transforms = st.builds(Transform, name=texts, low=st.none() | numbers, high=st.none() | numbers)
regularizers = st.builds(Regularizer, name=texts, strength=numbers, every_steps=int32s)
a_term: dict[str, st.SearchStrategy[Any]] = {
    "unit": st.none() | int32s | texts,
    "layer": texts,
    "position": st.none() | st.tuples(int32s, int32s),
    "direction": tuples(numbers),
    "reference": st.binary(max_size=20),
    "objective": texts,
    "weight": numbers,
}
states = st.sampled_from(("not_loaded", "ready", "unavailable"))
requests = st.builds(
    MaximizeRequest,
    **a_term,
    model=texts,
    model_version=texts,
    terms=tuples(st.builds(Term, **a_term)),
    target=st.none() | numbers,
    patience_steps=st.none() | int32s,
    seed=int64s,
    attempts=int32s,
    unlike=tuples(st.binary(max_size=20)),
    diversity=numbers,
    transparent=st.booleans(),
    image_size_px=st.none() | int32s,
    start_image=st.binary(max_size=20),
    image_format=formats,
    preview_every_steps=int32s,
    request_id=st.uuids().map(str) | st.just(""),
    preset=texts,
    steps=st.none() | int32s,
    parameterization=st.none() | texts,
    natural_images=tuples(st.binary(max_size=20)),
    colors=st.none() | texts,
    spectrum=st.none() | texts,
    transforms=st.none() | tuples(transforms),
    views=st.none() | int32s,
    optimizer=st.none() | texts,
    learning_rate=st.none() | numbers,
    schedule=st.none() | texts,
    penalties=st.none() | tuples(regularizers),
    constraints=st.none() | tuples(regularizers),
    octaves=st.none() | int32s,
)
endings = st.sampled_from(get_args(Ending))
preprocessings = st.builds(
    Preprocessing,
    layout=texts,
    channels=texts,
    height_px=int32s,
    width_px=int32s,
    low=numbers,
    high=numbers,
    mean=tuples(numbers),
    std=tuples(numbers),
    inferred=st.booleans(),
)
metrics = st.builds(
    Metrics,
    model=texts,
    model_version=texts,
    model_sha256=texts,
    layer=texts,
    tensor=texts,
    unit=st.none() | int32s,
    unit_count=int32s,
    label=texts,
    activation_start=numbers,
    activation_end=numbers,
    activation_best=numbers,
    margin=st.none() | numbers,
    probability=st.none() | numbers,
    noise_z_score=st.none() | numbers,
    robustness=st.none() | numbers,
    total_variation=numbers,
    clipped_share=numbers,
    high_frequency_share=numbers,
    calibration=st.none()
    | st.builds(
        Calibration,
        percentile=numbers,
        ratio=st.none() | numbers,
        exemplars=tuples(st.builds(Exemplar, index=int32s, activation=numbers)),
    ),
    doubts=tuples(texts),
    trajectory=tuples(st.builds(TrajectoryPoint, step=int32s, activation=numbers)),
    rank=st.none() | int32s,
    top_classes=tuples(st.builds(ClassScore, index=int32s, label=texts, probability=numbers)),
    gradient_norm=numbers,
    gradient_status=st.sampled_from(("ok", "redirected", "saturated")),
    steps=int32s,
    ending=endings,
    seed=int64s,
    attempts=tuples(
        st.builds(Attempt, seed=int64s, steps=int32s, activation=numbers, ending=endings)
    ),
    queued_seconds=seconds,
    compiling_seconds=seconds,
    running_seconds=seconds,
    measuring_seconds=seconds,
    steps_per_second=numbers,
    preprocessing=preprocessings,
)
events = st.one_of(
    st.builds(
        Accepted,
        request_id=texts,
        model=texts,
        model_version=texts,
        tensor=texts,
        unit=st.none() | int32s,
        label=texts,
        steps=int32s,
        image_width_px=int32s,
        image_height_px=int32s,
    ),
    st.builds(
        Progress,
        step=int32s,
        steps=int32s,
        activation=numbers,
        gradient_norm=numbers,
        preview=st.none() | st.binary(),
    ),
    st.builds(
        Maximization,
        request_id=texts,
        image=st.binary(),
        image_format=formats,
        width_px=int32s,
        height_px=int32s,
        metrics=metrics,
        record=texts,
        cached=st.booleans(),
    ),
)


@given(request=requests, every=st.integers(1, 100))
def test_a_request_comes_back_equal(request: MaximizeRequest, every: int) -> None:
    message = convert.to_stream_request(request, progress_every_steps=every)
    sent = pb.StreamMaximizeRequest.FromString(message.SerializeToString())
    assert convert.from_stream_request(sent) == (request, every)


@given(events)
def test_an_event_comes_back_equal(event: Event) -> None:
    sent = pb.StreamMaximizeResponse.FromString(convert.to_event(event).SerializeToString())
    assert convert.from_event(sent) == event


@given(
    st.builds(
        ModelInfo,
        name=texts,
        version=texts,
        state=states,
        versions=tuples(
            st.builds(ModelVersion, version=texts, state=states, sha256=texts, error=texts)
        ),
        title=texts,
        license=texts,
        source=texts,
        sha256=texts,
        class_count=int32s,
        logits_tensor=texts,
        preprocessing=st.none() | preprocessings,
        layer_count=int32s,
        labels_known=st.booleans(),
        error=texts,
    )
)
def test_a_model_comes_back_equal(info: ModelInfo) -> None:
    assert convert_model.from_model(convert_model.to_model(info)) == info


@given(
    st.builds(
        Layer,
        tensor=texts,
        name=texts,
        operator=texts,
        kind=texts,
        shape=st.tuples(int32s, int32s, int32s),
        unit_axis=st.integers(0, 2),
    )
)
def test_a_layer_comes_back_equal(layer: Layer) -> None:
    assert convert_model.from_layer(convert_model.to_layer(layer)) == layer


def test_an_open_axis_of_a_layer_becomes_0() -> None:
    layer = Layer(
        tensor="t", name="n", operator="Conv", kind="convolution", shape=(8, "h", 4), unit_axis=0
    )
    assert convert_model.to_layer(layer).shape == [8, 0, 4]


def test_what_is_absent_has_the_default_of_the_noun() -> None:
    assert convert.from_request(pb.MaximizeRequest(unit=7)) == MaximizeRequest(unit=7)


def test_an_explicit_zero_is_not_absent() -> None:
    message = pb.MaximizeRequest(unit=7, steps=0, options=pb.MaximizeOptions(learning_rate=0.0))
    request = convert.from_request(message)
    assert (request.steps, request.learning_rate) == (0, 0.0)


def test_no_transforms_are_not_the_default_transforms() -> None:
    options = pb.MaximizeOptions(transforms=pb.Transforms())
    assert convert.from_request(pb.MaximizeRequest(unit=7, options=options)).transforms == ()


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (pb.MaximizeRequest(unit=1, request_id="no uuid"), "request_id"),
        (
            pb.MaximizeRequest(unit=1, options=pb.MaximizeOptions(image_format=99)),  # type: ignore[arg-type]
            "image_format",
        ),
    ],
)
def test_the_server_refuses(message: pb.MaximizeRequest, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        convert.from_request(message)
    assert caught.value.field == field


def test_the_server_refuses_a_negative_cadence() -> None:
    message = pb.StreamMaximizeRequest(maximize=pb.MaximizeRequest(unit=1), progress_every_steps=-1)
    with pytest.raises(InvalidRequest, match="progress_every_steps: got -1"):
        convert.from_stream_request(message)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("unit", 2**31),
        ("steps", 2**31),
        ("seed", 2**63),
        ("learning_rate", "fast"),
        ("layer", 3),
        ("image_format", "gif"),
        ("views", 2**31),
        ("direction", ("up",)),
        ("colors", True),
        ("natural_images", ("cat.jpg",)),
        ("transforms", (Transform("pad", "wide"),)),  # type: ignore[arg-type]
        ("position", (1, 2, 3)),
    ],
)
def test_the_client_refuses_what_the_wire_cannot_hold(field: str, value: object) -> None:
    given: dict[str, Any] = {"unit": 1} | {field: value}
    with pytest.raises(InvalidRequest) as caught:
        convert.to_request(MaximizeRequest(**given))
    assert caught.value.field == field


def test_every_option_of_the_noun_is_in_the_contract() -> None:
    names = {field.name for field in dataclasses.fields(MaximizeRequest)}
    names -= {*pb.MaximizeRequest.DESCRIPTOR.fields_by_name, "preview_every_steps"}
    assert names == set(pb.MaximizeOptions.DESCRIPTOR.fields_by_name)
