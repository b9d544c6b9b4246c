"""Devices: refused where they are not, and on each of them a step is the same step."""

from __future__ import annotations

import logging
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from tests.models import model_of
from tests.rounding import rounding
from tests.trained import MODELS, needs_trained_models
from unitscope.ascent.inputs import fixed_inputs, step_inputs
from unitscope.ascent.objectives import one_hot
from unitscope.ascent.program import build_step
from unitscope.config import read_settings
from unitscope.engine.device import THE_PROCESSOR, Device, find_device
from unitscope.engine.engine import Engine, EngineSettings
from unitscope.engine.executor import Ascent, Executor, Outcome, Program
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import embedded_model, load_model
from unitscope.engine.plan import Plan, resolve
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.session import compile_placed, nodes_elsewhere, open_session
from unitscope.errors import InvalidRequest
from unitscope.graph.target import Target

HALF = Device(target=Target(even_pads=True, half=True))
"""A processor that computes as a graphics processor would."""
EVEN = Device(target=Target(even_pads=True))


class Climb:
    """An ascent of class 1 along the plain gradient, without an opening."""

    def __init__(self, model: LoadedModel, device: Device) -> None:
        request = MaximizeRequest(unit=1, optimizer="plain_ascent", learning_rate=1.0)
        plan = resolve(request, model)
        self.plan: Plan = replace(plan, recipe=replace(plan.recipe, opening=None))
        self.executor = Executor(device=device)
        self.program: Program = self.executor.compile(self.plan.stages[-1].spec)
        self.ascent = self.begin()

    def begin(self) -> Ascent:
        plan, spec = self.plan, self.program.spec
        parameters = plan.recipe.start.draw(0, spec.parameterization, spec.image)
        weights = [one_hot(plan.layer, 1, None)]
        return Ascent(
            self.program, parameters, fixed_inputs(spec, plan.recipe, plan.prior, weights, None)
        )

    def step(self, number: int = 1) -> Outcome:
        given = step_inputs(self.program.spec, self.plan.recipe, seed=0, step=number)
        return self.executor.step(self.program, [self.ascent], [given])[0]

    def gradient(self) -> np.ndarray:
        """By the parameters, of the first step."""
        before = self.ascent.parameters()
        self.step()
        return np.asarray(self.ascent.parameters() - before, np.float64).ravel()


def cosine(one: np.ndarray, other: np.ndarray) -> float:
    return float(one @ other / (np.linalg.norm(one) * np.linalg.norm(other)))


@pytest.mark.parametrize(
    ("device", "precision", "said"),
    [
        ("gpu", "float32", "device: got 'gpu', expected cpu, cuda or, of several, cuda:N"),
        ("cuda:x", "float32", "device: got 'cuda:x'"),
        ("cpu:0", "float32", "device: got 'cpu:0'"),
        ("cuda", "half", "precision: got 'half', expected float32 on cpu, float32 or float16"),
        ("cpu", "float16", "precision: got 'float16'"),
        ("cuda:977", "float32", "device: got 'cuda:977', expected"),
    ],
)
def test_what_is_not_there_is_refused(device: str, precision: str, said: str) -> None:
    with pytest.raises(InvalidRequest, match=said):
        find_device(device, precision)


def test_nothing_takes_the_place_of_a_device(repository: Repository) -> None:
    given = {"UNITSCOPE_DEVICE": "cuda:977", "UNITSCOPE_PRECISION": "float16"}
    settings = read_settings(EngineSettings, given)
    with pytest.raises(InvalidRequest, match="cuda:977"):
        Engine(repository, settings)


def test_memory_of_what_was_captured_serves_one_ascent_after_another(
    repository: Repository,
) -> None:
    climb = Climb(repository.get("small"), THE_PROCESSOR)
    climb.program.step = replace(climb.program.step, captured=True)
    climb.ascent = climb.begin()
    slot, first = climb.ascent.slot, climb.gradient()
    other = climb.begin()
    assert other.slot is not slot
    del climb.ascent
    climb.ascent = climb.begin()
    assert climb.ascent.slot is slot and climb.gradient().tobytes() == first.tobytes()


def test_other_memory_goes_with_its_ascent(repository: Repository) -> None:
    climb = Climb(repository.get("small"), THE_PROCESSOR)
    del climb.ascent
    assert not climb.program.slots


def test_nodes_that_a_device_did_not_get_are_named(repository: Repository) -> None:
    options = ort.SessionOptions()
    options.add_session_config_entry("session.record_ep_graph_assignment_info", "1")
    spec = Climb(repository.get("small"), THE_PROCESSOR).program.spec
    session = open_session(build_step(spec), options, THE_PROCESSOR.providers())
    assert nodes_elsewhere(session, THE_PROCESSOR) == ()
    assert "Conv /features/conv/Conv" in nodes_elsewhere(session, Device(kind="cuda"))


def test_half_precision_climbs(repository: Repository) -> None:
    model = repository.get("small")
    half, single = Climb(model, HALF), Climb(model, THE_PROCESSOR)
    assert cosine(half.gradient(), single.gradient()) > 0.999
    outcomes = [half.step(number) for number in range(2, 32)]
    assert outcomes[-1].activation > outcomes[0].activation


def normed(tmp_path: Path, *, mix: float = 1.0, head: float = 1.0) -> LoadedModel:
    """A layer norm between two matrices of about these sizes."""
    rng = np.random.default_rng(0)
    weights = {
        "mix": rng.standard_normal((432, 8)).astype(np.float32) * mix,
        "scale": np.ones(8, np.float32),
        "head": rng.standard_normal((8, 5)).astype(np.float32) * head,
    }
    nodes = [
        helper.make_node("Flatten", ["image"], ["flat"]),
        helper.make_node("MatMul", ["flat", "mix"], ["mixed"]),
        helper.make_node("LayerNormalization", ["mixed", "scale"], ["normal"]),
        helper.make_node("MatMul", ["normal", "head"], ["output"]),
    ]
    onnx.save(model_of(nodes, weights), tmp_path / "normed.onnx")
    return load_model(tmp_path / "normed.onnx")


def test_a_layer_norm_of_large_numbers_has_a_gradient_in_half_precision(tmp_path: Path) -> None:
    """Their squares are beyond float16."""
    model = normed(tmp_path, mix=20.0)
    found, expected = (Climb(model, device).gradient() for device in (HALF, THE_PROCESSOR))
    assert cosine(found, expected) > 0.99


def test_the_scale_of_a_gradient_that_overflows_is_lowered_and_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    model = normed(tmp_path, head=1e3)
    half = Climb(model, HALF)
    with caplog.at_level(logging.INFO):
        found = half.gradient()
    assert cosine(found, Climb(model, THE_PROCESSOR).gradient()) > 0.99
    assert 1 < half.ascent.scale < 32768
    assert f"its scale is {half.ascent.scale:g} now" in caplog.text


def test_only_the_way_back_is_a_matter_of_scale() -> None:
    assert Outcome(1.0, math.nan).overflowed and Outcome(1.0, math.inf).overflowed
    assert not Outcome(math.inf, math.nan).overflowed and not Outcome(1.0, 0.0).overflowed


def test_half_precision_keeps_the_direction_of_a_trained_model() -> None:
    model = load_model(embedded_model())
    expected = Climb(model, THE_PROCESSOR).gradient()
    assert cosine(in_half_precision(model), expected) > 0.99


def in_half_precision(model: LoadedModel) -> np.ndarray:
    """The gradient where every tensor in half precision is really rounded."""
    climb = Climb(model, HALF)
    parts = rounding(build_step(climb.program.spec, HALF.target))
    climb.program.step = compile_placed(parts, HALF, threads=0, captured=False)
    climb.ascent = climb.begin()
    return climb.gradient()


@pytest.mark.parametrize("path", sorted(MODELS.glob("*.onnx")), ids=lambda path: path.stem)
class TestTrained:
    pytestmark = needs_trained_models

    def test_a_step_for_cuda_is_the_step(self, path: Path) -> None:
        """In half precision ReLUs and maxima that are close to a tie fall the other way."""
        model = load_model(path)
        expected = Climb(model, THE_PROCESSOR).gradient()
        assert cosine(Climb(model, EVEN).gradient(), expected) > 0.99999
        assert cosine(in_half_precision(model), expected) > 0.9


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_a_graphics_processor_does_all_of_it(precision: str) -> None:
    try:
        device = find_device("cuda", precision)
    except InvalidRequest as absent:
        pytest.skip(str(absent))
    model = load_model(embedded_model())
    there, here = Climb(model, device), Climb(model, THE_PROCESSOR)
    assert there.program.step.captured
    assert [graph.elsewhere for graph in there.program.graphs] == [(), (), ()]
    assert cosine(there.gradient(), here.gradient()) > 0.99
    for number in range(2, 6):  # both sets of the state, captured and replayed
        one, other = there.step(number), here.step(number)
        assert one.activation == pytest.approx(other.activation, rel=0.05)
    picture = there.executor.render(there.program, there.ascent)
    assert picture.shape == there.program.spec.image.shape
