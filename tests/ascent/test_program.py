"""Programs: every combination climbs, the gradient is right, rows do not meet."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.graph.test_lower import lowered
from tests.models import SIZE, small_classifier
from unitscope.ascent.objectives import OBJECTIVES, one_hot, unit_scores
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.program import (
    ProgramSpec,
    build_judge,
    build_render,
    build_step,
)
from unitscope.ascent.subject import port, subject_of
from unitscope.ascent.transforms import draw
from unitscope.engine.executor import open_session
from unitscope.graph.card import infer_card
from unitscope.graph.ir import Parts
from unitscope.graph.layers import catalogue, find_layer
from unitscope.graph.model import digest, load

LAYER = "relu_out"
IMAGE = ImageSpec(3, SIZE, SIZE)


def spec_of(layer: str = LAYER, image: ImageSpec = IMAGE, **options: Any) -> ProgramSpec:
    proto = small_classifier()
    model = load(proto)
    card = infer_card(("N", 3, SIZE, SIZE), class_count=5)
    graph, values = lowered(proto, shape=(1, 3, SIZE, SIZE))
    found = find_layer(catalogue(model, values, graph.nodes, graph.inputs[0]), layer)
    subject = subject_of(digest(proto), model, card)
    return ProgramSpec(subject=subject, logits="logits", layer=found, image=image, **options)


def session_of(parts: Parts) -> ort.InferenceSession:
    return open_session(parts, ort.SessionOptions(), ["CPUExecutionProvider"])


def run(parts: Parts, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = session_of(parts)
    names = [output.name.removeprefix("unitscope/") for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {port(k): v for k, v in feed.items()}), strict=True))


def first_feed(
    spec: ProgramSpec, seeds: list[int], position: tuple[int, int] | None = None
) -> dict[str, np.ndarray]:
    initial = PARAMETERIZATIONS[spec.parameterization].initial
    feed = {name: np.zeros(spec.parameter_shape, np.float32) for name in spec.state_names}
    feed["parameters"] = np.stack([initial(seed, spec.image) for seed in seeds])
    feed["weights"] = np.stack([one_hot(spec.layer, 1, position)] * len(seeds))
    feed["step"] = np.ones(len(seeds), np.float32)
    feed["learning_rate"] = np.full(
        len(seeds), OPTIMIZERS[spec.optimizer].learning_rate, np.float32
    )
    if spec.views:
        draws = [
            draw(("jitter", "rotate"), seed=s, step=1, height_px=SIZE, width_px=SIZE) for s in seeds
        ]
        feed["matrices"] = np.stack(draws)
    return feed


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_every_combination_ascends(parameterization: str, objective: str, optimizer: str) -> None:
    spec = spec_of(
        parameterization=parameterization, objective=objective, optimizer=optimizer, views=False
    )
    position = (2, 3) if objective == "neuron" else None
    feed = first_feed(spec, [0], position)
    session = session_of(build_step(spec))
    activations = []
    for number in range(1, 31):
        feed["step"] = np.full(1, number, np.float32)
        *state, activation, _ = session.run(None, {port(key): value for key, value in feed.items()})
        feed |= dict(zip(spec.state_names, state, strict=True))
        activations.append(float(activation[0]))
    assert activations[-1] > activations[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_the_step_goes_along_the_gradient(parameterization: str, objective: str) -> None:
    """Plain ascent moves along g / rms(g): check one projection by central differences."""
    spec = spec_of(
        parameterization=parameterization, objective=objective, optimizer="gradient_ascent"
    )
    feed = first_feed(spec, [0], (2, 3) if objective == "neuron" else None)
    feed["learning_rate"] = np.ones(1, np.float32)
    model = build_step(spec)
    after = run(model, feed)
    moved = after["next_parameters"] - feed["parameters"]
    gradient = moved * after["gradient_norm"] / np.linalg.norm(moved)
    rng = np.random.default_rng(1)
    probe = (
        gradient / np.linalg.norm(gradient)
        + rng.standard_normal(gradient.shape) / gradient.size**0.5
    )
    epsilon = 1e-2 * np.abs(feed["parameters"]).max()
    up, down = (
        run(
            model,
            feed | {"parameters": (feed["parameters"] + sign * epsilon * probe).astype(np.float32)},
        )
        for sign in (1, -1)
    )
    slope = (up["activation"] - down["activation"]) / (2 * epsilon)
    np.testing.assert_allclose(slope, float((gradient * probe).sum()), rtol=0.02)
    np.testing.assert_allclose(np.sqrt(np.mean(moved**2)), 1.0, rtol=1e-3)


@pytest.mark.parametrize("redirect", [False, True])
def test_rows_do_not_meet(redirect: bool) -> None:
    together = run(
        build_step(spec_of(rows=2, redirect=redirect)), first_feed(spec_of(rows=2), [3, 4])
    )
    for row, seed in enumerate([3, 4]):
        alone = run(build_step(spec_of(redirect=redirect)), first_feed(spec_of(), [seed]))
        for name, value in alone.items():
            np.testing.assert_allclose(
                together[name][row], value[0], rtol=1e-4, atol=1e-6, err_msg=name
            )


def test_render_rounds_and_judge_sees_what_the_model_sees() -> None:
    spec = spec_of("logits")
    parameters = first_feed(spec, [0])["parameters"]
    picture = run(build_render(spec), {"parameters": parameters})["picture"]
    assert picture.dtype == np.uint8 and picture.shape == (1, 3, SIZE, SIZE)
    seen = run(build_judge(spec), {"picture": picture})
    graph, values = lowered(small_classifier())
    session = ort.InferenceSession(graph.to_model([values["logits"]]).SerializeToString())
    expected = session.run(None, {"image": picture.astype(np.float32) / 255})[0]
    np.testing.assert_allclose(seen["scores"], expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(seen["scores"], seen["logits"])


def test_a_larger_image_is_shown_at_the_models_size() -> None:
    spec = spec_of("logits", image=ImageSpec(3, 2 * SIZE, 2 * SIZE))
    grey = np.full((1, 3, 2 * SIZE, 2 * SIZE), 128, np.uint8)
    same = np.full((1, 3, SIZE, SIZE), 128, np.uint8)
    np.testing.assert_allclose(
        run(build_judge(spec), {"picture": grey})["logits"],
        run(build_judge(spec_of("logits")), {"picture": same})["logits"],
        rtol=1e-4,
    )


def test_scores_of_the_objectives() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    neurons = run(build_judge(spec_of(objective="neuron")), {"picture": picture})["scores"][0]
    channels = run(build_judge(spec_of()), {"picture": picture})["scores"][0]
    layer = spec_of().layer
    maps = neurons.reshape(layer.shape)
    np.testing.assert_allclose(channels, maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(unit_scores(layer, neurons, (2, 3)), maps[:, 3, 2])
    assert float(neurons @ one_hot(layer, 1, (2, 3))) == maps[1, 3, 2]
    assert float(channels @ one_hot(layer, 1, None)) == channels[1]
