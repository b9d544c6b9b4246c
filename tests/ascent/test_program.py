"""Programs: every combination climbs, the gradient is right, rows do not meet."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest

from tests.graph.test_lower import lowered
from tests.models import SIZE, small_classifier
from unitscope.ascent.finished import build_judge, build_reference, build_render
from unitscope.ascent.inputs import fixed_inputs, step_inputs
from unitscope.ascent.objectives import OBJECTIVES, one_hot, unit_scores
from unitscope.ascent.optimizers import OPTIMIZERS
from unitscope.ascent.parameterizations import PARAMETERIZATIONS, ImageSpec
from unitscope.ascent.presets import Recipe, Regularizer, Start
from unitscope.ascent.prior import prior_of
from unitscope.ascent.program import build_step
from unitscope.ascent.regularizers import CONSTRAINTS, PENALTIES
from unitscope.ascent.spec import ProgramSpec, TermSpec
from unitscope.ascent.subject import port, subject_of
from unitscope.ascent.transforms import Transform
from unitscope.engine.session import open_session
from unitscope.graph.card import infer_card
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Parts
from unitscope.graph.layers import Layer, catalogue, find_layer
from unitscope.graph.model import digest, load

LAYER = "relu_out"
IMAGE = ImageSpec(3, SIZE, SIZE)
STRENGTHS = {
    "decay": 1e-3, "blur": 0.5, "norm": 0.2, "range": 1.0,
    "small_norm": 0.2, "small_contribution": 0.2,
}  # fmt: skip


def spec_of(
    layer: str = LAYER, image: ImageSpec = IMAGE, objective: str = "channel", **options: Any
) -> ProgramSpec:
    proto = small_classifier()
    model = load(proto)
    card = infer_card(("N", 3, SIZE, SIZE), class_count=5)
    graph, values = lowered(proto, shape=(1, 3, SIZE, SIZE))
    found = find_layer(catalogue(model, values, graph.nodes, graph.inputs[0]), layer)
    subject = subject_of(digest(proto), model, card)
    terms = (TermSpec(found, objective),)
    return ProgramSpec(subject=subject, logits="logits", terms=terms, image=image, **options)


def session_of(parts: Parts) -> ort.InferenceSession:
    return open_session(parts, ort.SessionOptions(), ["CPUExecutionProvider"])


def run(parts: Parts, feed: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    session = session_of(parts)
    names = [output.name.removeprefix("unitscope/") for output in session.get_outputs()]
    return dict(zip(names, session.run(None, {port(k): v for k, v in feed.items()}), strict=True))


def first_feed(spec: ProgramSpec, seed: int = 0) -> dict[str, np.ndarray]:
    """The inputs of the first step of one row."""
    feed = {name: np.zeros(shape, np.float32) for name, shape in spec.state_shapes.items()}
    maco = spec.parameterization == "maco"
    start = Start(-np.pi, np.pi, "uniform") if maco else Start(0.0, 0.01)
    feed["parameters"] = start.draw(seed, spec.parameterization, spec.image)[None]
    rate = OPTIMIZERS[spec.optimizer].learning_rate
    jitters = (Transform("jitter"), Transform("rotate")) if spec.views else ()
    filters = tuple(Transform(name) for name in spec.filters)
    recipe = Recipe(
        steps=100,
        optimizer=spec.optimizer,
        learning_rate=rate,
        transforms=(*jitters, *filters),
        views=spec.views,
        penalties=tuple(Regularizer(name, 1e-3) for name in spec.penalties),
        constraints=tuple(Regularizer(name, STRENGTHS[name]) for name in spec.constraints),
        colors="none" if spec.constraints else "imagenet",
    )
    if spec.selective:
        recipe = replace(recipe, selectivity=3.0)
    if spec.features is not None:
        recipe = replace(recipe, purity=0.8)
    target = 3.0 if spec.targeted else None
    weights = [weights_of(spec.terms[0])]
    prior = prior_of(spec.image.channels, colors=recipe.colors, spectrum=recipe.spectrum)
    unlike = None if spec.unlike is None else some_texture(spec.unlike)
    fixed = fixed_inputs(spec, recipe, prior, weights, target, unlike)
    return feed | fixed | step_inputs(spec, recipe, seed, 1)


def some_texture(layer: Layer) -> np.ndarray:
    """One where the climbed unit responds and the others little."""
    alone = np.full(layer.unit_count, 0.2, np.float32)
    alone[1] = 1.0
    return np.asarray(np.outer(alone, alone).ravel() / alone.dot(alone))


def weights_of(term: TermSpec) -> np.ndarray:
    if OBJECTIVES[term.objective].of_image:
        size = OBJECTIVES[term.objective].size(term.layer)
        return np.random.default_rng(7).random(size, np.float32)
    if term.objective == "layer":
        return np.ones(1, np.float32)
    return one_hot(term.layer, 1, (2, 3) if term.objective == "neuron" else None)


def climbed(spec: ProgramSpec, steps: int = 30) -> list[float]:
    feed = first_feed(spec)
    session = session_of(build_step(spec))
    activations = []
    for number in range(1, steps + 1):
        feed["step"] = np.full(1, number, np.float32)
        *state, activation, _ = session.run(None, {port(key): value for key, value in feed.items()})
        feed |= dict(zip(spec.state_shapes, state, strict=True))
        activations.append(float(activation[0]))
    return activations


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("parameterization", PARAMETERIZATIONS)
def test_every_optimizer_ascends_every_parameterization(
    parameterization: str, optimizer: str
) -> None:
    activations = climbed(spec_of(parameterization=parameterization, optimizer=optimizer, views=0))
    assert activations[-1] > activations[0]


@pytest.mark.parametrize("objective", OBJECTIVES)
def test_every_objective_ascends(objective: str) -> None:
    layer = "logits" if objective == "probability" else LAYER
    activations = climbed(spec_of(layer, objective=objective, views=0))
    assert activations[-1] > activations[0]


@pytest.mark.parametrize("constraint", CONSTRAINTS)
def test_the_activation_rises_under_every_constraint(constraint: str) -> None:
    spec = spec_of(
        parameterization="pixel", optimizer="gradient_ascent", constraints=(constraint,), views=0
    )
    activations = climbed(spec)
    assert activations[-1] > activations[0]


VARIANTS: list[dict[str, Any]] = [
    *(
        {"objective": name, "layer": "logits" if name == "probability" else LAYER}
        for name in OBJECTIVES
    ),
    *({"parameterization": name} for name in PARAMETERIZATIONS),
    *({"penalties": (name,), "parameterization": "pixel"} for name in PENALTIES),
    {"filters": ("blur", "noise")},
    {"views": 3},
    {"targeted": True},
    {"views": 0},
]


@pytest.mark.parametrize("variant", VARIANTS, ids=str)
def test_the_step_goes_along_the_gradient(variant: dict[str, Any]) -> None:
    """Plain ascent moves along g: one projection of it against central differences of the score."""
    spec = spec_of(**variant, optimizer="plain_ascent")
    feed = first_feed(spec)
    feed["learning_rate"] = np.ones(1, np.float32)
    if spec.penalties:
        feed["parameters"] = feed["parameters"] * 20
    model = session_of(build_step(spec))
    names = [output.name.removeprefix("unitscope/") for output in model.get_outputs()]

    def at(parameters: np.ndarray) -> dict[str, np.ndarray]:
        given = feed | {"parameters": parameters.astype(np.float32)}
        fed = {port(key): value for key, value in given.items()}
        return dict(zip(names, model.run(None, fed), strict=True))

    def score(parameters: np.ndarray) -> float:
        value = float(at(parameters)["activation"][0])
        if spec.targeted:
            value = -((value - 3.0) ** 2)
        for name in spec.penalties:
            value -= 1e-3 * penalty(name, parameters.astype(np.float32))
        return value

    gradient = at(feed["parameters"])["next_parameters"] - feed["parameters"]
    np.testing.assert_allclose(
        np.linalg.norm(gradient), at(feed["parameters"])["gradient_norm"], rtol=1e-3
    )
    rng = np.random.default_rng(1)
    probe = (
        gradient / np.linalg.norm(gradient)
        + rng.standard_normal(gradient.shape) / gradient.size**0.5
    )
    epsilon = 1e-2 * np.abs(feed["parameters"]).max()
    up, down = (score(feed["parameters"] + sign * epsilon * probe) for sign in (1, -1))
    np.testing.assert_allclose(
        (up - down) / (2 * epsilon), float((gradient * probe).sum()), rtol=0.02
    )


def test_it_is_added_up_how_much_each_pixel_mattered() -> None:
    spec = spec_of(parameterization="pixel", optimizer="plain_ascent", views=0, transparent=True)
    feed = first_feed(spec) | {"learning_rate": np.ones(1, np.float32)}
    feed["colors"] = np.eye(3, dtype=np.float32)[None]
    found = run(build_step(spec), feed)
    pull = np.abs(found["next_parameters"] - feed["parameters"]).mean(1, keepdims=True)
    np.testing.assert_allclose(found["next_opacity"], pull, rtol=1e-2, atol=1e-6)
    again = run(build_step(spec), feed | {"opacity": found["next_opacity"]})
    np.testing.assert_allclose(again["next_opacity"], 2 * found["next_opacity"], rtol=1e-6)


def test_the_step_keeps_away_from_a_texture_as_much_as_the_score_is_worth() -> None:
    """Plain ascent along activation − |activation as it stands| · likeness."""
    layer = spec_of().terms[0].layer
    spec = spec_of(unlike=layer, views=0, optimizer="plain_ascent")
    feed = first_feed(spec, seed=1) | {"learning_rate": np.ones(1, np.float32)}
    feed["parameters"] *= 20
    feed["unlike"] *= 1000  # the small model's textures are nearly the same
    graph, values = lowered(small_classifier(), shape=(1, 3, SIZE, SIZE))
    session = ort.InferenceSession(graph.to_model([values[LAYER]]).SerializeToString())
    step, render = session_of(build_step(spec)), session_of(build_render(spec))

    def score(parameters: np.ndarray) -> np.ndarray:
        """The activation and the likeness."""
        shown = {"parameters": parameters.astype(np.float32), "colors": feed["colors"]}
        image = render.run([port("image")], {port(key): row for key, row in shown.items()})[0]
        units = session.run(None, {"image": image})[0][0].reshape(layer.unit_count, -1)
        gram = (units @ units.T).ravel().astype(np.float64)
        alike = gram @ feed["unlike"][0] / np.linalg.norm(gram)
        return np.array([units[1].mean(), alike])

    fed = {port(key): row for key, row in feed.items()}
    moved, activation, _ = step.run(None, fed)
    gradient = moved - feed["parameters"]
    begun, _ = score(feed["parameters"])
    assert begun == pytest.approx(float(activation[0]), rel=1e-4)
    epsilon = 1e-2 * np.abs(feed["parameters"]).max() / np.abs(gradient).max()
    up, down = (score(feed["parameters"] + sign * epsilon * gradient) for sign in (1, -1))
    rise, likeness = (up - down) / (2 * epsilon)
    expected = float((gradient**2).sum())
    assert rise - abs(begun) * likeness == pytest.approx(expected, rel=0.02)
    assert abs(abs(begun) * likeness) > 0.05 * expected


def test_the_step_makes_the_unit_stand_out_as_much_as_the_score_is_worth() -> None:
    """Plain ascent along activation · correlationˢ, divided by the latter as it stands."""
    spec = spec_of("logits", selective=True, views=0, optimizer="plain_ascent")
    feed = first_feed(spec, seed=1) | {"learning_rate": np.ones(1, np.float32)}
    feed["parameters"] *= 20
    step, render = session_of(build_step(spec)), session_of(build_render(spec))
    graph, values = lowered(small_classifier(), shape=(1, 3, SIZE, SIZE))
    session = ort.InferenceSession(graph.to_model([values["logits"]]).SerializeToString())

    def found(parameters: np.ndarray) -> tuple[float, float]:
        """The activation and the correlation."""
        shown = {"parameters": parameters.astype(np.float32), "colors": feed["colors"]}
        image = render.run([port("image")], {port(key): row for key, row in shown.items()})[0]
        scores = session.run(None, {"image": image})[0][0].astype(np.float64)
        return scores[1], np.corrcoef(scores, feed["weights_0"][0])[0, 1]

    moved, activation, _ = step.run(None, {port(key): row for key, row in feed.items()})
    gradient = moved - feed["parameters"]
    begun, correlation = found(feed["parameters"])
    assert begun == pytest.approx(float(activation[0]), rel=1e-4) and correlation > 0.1
    epsilon = 1e-2 * np.abs(feed["parameters"]).max() / np.abs(gradient).max()
    (above, more), (below, less) = (
        found(feed["parameters"] + sign * epsilon * gradient) for sign in (1, -1)
    )
    rise = (above * (more / correlation) ** 3 - below * (less / correlation) ** 3) / (2 * epsilon)
    assert rise == pytest.approx(float((gradient**2).sum()), rel=0.02)
    assert abs(rise - (above - below) / (2 * epsilon)) > 0.05 * rise


def test_the_step_makes_features_fall_as_much_as_the_score_is_worth() -> None:
    """Plain ascent along activation / normᵖ of the features, divided by the latter as it stands."""
    features = spec_of("relu_out").terms[0].layer
    spec = spec_of("logits", features=features, views=0, optimizer="plain_ascent")
    feed = first_feed(spec, seed=1) | {"learning_rate": np.ones(1, np.float32)}
    feed["parameters"] *= 20
    step, render = session_of(build_step(spec)), session_of(build_render(spec))
    graph, values = lowered(small_classifier(), shape=(1, 3, SIZE, SIZE))
    outputs = [values["logits"], values["relu_out"]]
    session = ort.InferenceSession(graph.to_model(outputs).SerializeToString())

    def found(parameters: np.ndarray) -> tuple[float, float]:
        """The activation and the norm."""
        shown = {"parameters": parameters.astype(np.float32), "colors": feed["colors"]}
        image = render.run([port("image")], {port(key): row for key, row in shown.items()})[0]
        scores, units = session.run(None, {"image": image})
        return float(scores[0, 1]), float(np.linalg.norm(units[0].mean((1, 2))))

    moved, activation, _ = step.run(None, {port(key): row for key, row in feed.items()})
    gradient = moved - feed["parameters"]
    begun, norm = found(feed["parameters"])
    assert begun == pytest.approx(float(activation[0]), rel=1e-4) and begun > 0
    epsilon = 1e-2 * np.abs(feed["parameters"]).max() / np.abs(gradient).max()
    (above, more), (below, less) = (
        found(feed["parameters"] + sign * epsilon * gradient) for sign in (1, -1)
    )
    rise = (above * (more / norm) ** -0.8 - below * (less / norm) ** -0.8) / (2 * epsilon)
    assert rise == pytest.approx(float((gradient**2).sum()), rel=0.02)
    assert abs(rise - (above - below) / (2 * epsilon)) > 0.05 * rise


def penalty(name: str, pixels: np.ndarray) -> float:
    op = Emitter(Graph(18))
    given = op.graph.add_input("pixels", np.float32, pixels.shape)
    colors = prior_of(3, colors="imagenet", spectrum="natural").colors
    mixed = op.MatMul(op.const(colors[None], np.float32), op.Reshape(given, [1, 3, -1]))
    model = op.graph.to_model([PENALTIES[name](op, op.Reshape(mixed, list(pixels.shape)))])
    session = ort.InferenceSession(model.SerializeToString())
    return float(session.run(None, {"pixels": pixels})[0][0])


def test_a_normalised_step_has_a_root_mean_square_of_one() -> None:
    spec = spec_of(optimizer="gradient_ascent")
    feed = first_feed(spec) | {"learning_rate": np.ones(1, np.float32)}
    moved = run(build_step(spec), feed)["next_parameters"] - feed["parameters"]
    np.testing.assert_allclose(np.sqrt(np.mean(moved**2)), 1.0, rtol=1e-3)


@pytest.mark.parametrize(
    "variant",
    [
        {},
        {"redirect": True},
        {"views": 2, "filters": ("blur", "noise")},
        {"objective": "cosine"},
        {"unlike": spec_of().terms[0].layer, "views": 2},
        {"layer": "logits", "selective": True, "views": 2},
        {"layer": "logits", "features": spec_of().terms[0].layer, "views": 2},
        {"parameterization": "pixel", "penalties": tuple(PENALTIES)},
        {"parameterization": "pixel", "constraints": tuple(CONSTRAINTS)},
        {"parameterization": "pyramid", "optimizer": "nadam"},
        {"parameterization": "maco", "optimizer": "adamw", "transparent": True},
    ],
    ids=str,
)
def test_rows_do_not_meet(variant: dict[str, Any]) -> None:
    """A row has the bytes it has alone, in whatever company and place."""
    single = spec_of(**variant)
    feeds = [first_feed(single, seed) for seed in (3, 4, 5)]
    model = session_of(build_step(replace(single, rows=3)))
    fed = {port(name, row): feed[name] for row, feed in enumerate(feeds) for name in feed}
    names = [output.name for output in model.get_outputs()]
    together = dict(zip(names, model.run(None, fed), strict=True))
    for row, feed in enumerate(feeds):
        alone = run(build_step(single), feed)
        for name in single.state_shapes:
            np.testing.assert_array_equal(
                together[port(f"next_{name}", row)], alone[f"next_{name}"]
            )
        for name in ("activation", "gradient_norm"):
            np.testing.assert_array_equal(together[port(name)][row], alone[name][0])


def test_terms_add_up_and_weights_do_not_compound() -> None:
    """a − 2b of two layers is what its parts are, whichever comes first."""
    one, other = spec_of("relu_out").terms[0], spec_of("logits").terms[0]
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    base = spec_of("logits")
    values = {}
    for name, terms, rows in (
        ("a", (one,), [one_hot(one.layer, 1, None)]),
        ("b", (other,), [one_hot(other.layer, 2, None)]),
        ("sum", (one, other), [one_hot(one.layer, 1, None), -2 * one_hot(other.layer, 2, None)]),
        ("mus", (other, one), [-2 * one_hot(other.layer, 2, None), one_hot(one.layer, 1, None)]),
    ):
        feed = {f"weights_{index}": row[None] for index, row in enumerate(rows)}
        judged = run(build_judge(replace(base, terms=terms)), feed | {"picture": picture})
        values[name] = float(judged["activation"][0])
    assert values["sum"] == pytest.approx(values["a"] - 2 * values["b"], rel=1e-5)
    assert values["mus"] == pytest.approx(values["sum"], rel=1e-5)


def test_render_rounds_and_judge_sees_what_the_model_sees() -> None:
    spec = spec_of("logits")
    feed = first_feed(spec)
    shown = {name: feed[name] for name in ("parameters", "colors")}
    picture = run(build_render(spec), shown)["picture"]
    assert picture.dtype == np.uint8 and picture.shape == (1, 3, SIZE, SIZE)
    seen = run(build_judge(spec), judged(spec, picture))
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
        run(build_judge(spec), judged(spec, grey))["logits"],
        run(build_judge(spec_of("logits")), judged(spec, same))["logits"],
        rtol=1e-4,
    )


def test_scores_of_the_units() -> None:
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    neuron, channel = spec_of(objective="neuron"), spec_of()
    neurons = run(build_judge(neuron), judged(neuron, picture))
    channels = run(build_judge(channel), judged(channel, picture))
    layer = channel.terms[0].layer
    maps = neurons["scores"][0].reshape(layer.shape)
    np.testing.assert_allclose(channels["scores"][0], maps.mean(axis=(1, 2)), rtol=1e-5)
    np.testing.assert_array_equal(unit_scores(layer, neurons["scores"][0], (2, 3)), maps[:, 3, 2])
    assert float(neurons["activation"][0]) == pytest.approx(maps[1, 3, 2])
    assert float(channels["activation"][0]) == pytest.approx(channels["scores"][0][1])


def test_an_image_gives_its_own_activation_as_weights() -> None:
    spec = spec_of(objective="inversion")
    picture = np.random.default_rng(0).integers(0, 256, (1, 3, SIZE, SIZE), np.uint8)
    (weights,) = session_of(build_reference(spec, spec.terms[0])).run(
        None, {port("picture"): picture}
    )
    feed = {"picture": picture, "weights_0": weights}
    assert run(build_judge(spec), feed)["activation"][0] == pytest.approx(0, abs=1e-9)


def judged(spec: ProgramSpec, picture: np.ndarray) -> dict[str, np.ndarray]:
    return {"picture": picture, "weights_0": weights_of(spec.terms[0])[None]}
