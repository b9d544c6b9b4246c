"""What is timed of one model: unitscope's graphs, the file itself, and PyTorch where it is."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.timing import Task
from unitscope.ascent.inputs import fixed_inputs, step_inputs
from unitscope.ascent.objectives import one_hot
from unitscope.ascent.probe import build_probe
from unitscope.engine.executor import Ascent, Executor
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.plan import resolve
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.session import FileSession, Session
from unitscope.graph.layers import Layer

Array = np.ndarray[Any, Any]


def graph_tasks(path: Path, model: LoadedModel, layer: Layer, rows: int) -> dict[str, Task]:
    """A forward pass of the file up to `layer`, and its gradient, for `rows` pictures."""
    probe = build_probe(model.subject, layer.tensor, rows)
    shown, gradient = Session(probe.forward), Session(probe.gradient)
    rng = np.random.default_rng(0)
    card = model.subject.card
    pictures = rng.random((rows, len(card.channels), card.height_px, card.width_px), np.float32)
    cotangent = rng.standard_normal(probe.layer_shape).astype(probe.layer_type)
    fed = shown.run(pictures)[0]
    file = FileSession(path, model.subject, layer.tensor)
    return {
        "forward": lambda: file.run(fed),
        "gradient": lambda: gradient.run(pictures, cotangent),
    }


def step_task(model: LoadedModel) -> Task:
    """A whole ascent step to the logits: image, transforms, preprocessing, optimizer, Python."""
    plan = resolve(MaximizeRequest(unit=0), model)
    executor = Executor()
    spec = plan.stages[-1].spec
    program = executor.compile(spec)
    parameters = plan.recipe.start.draw(0, spec.parameterization, spec.image)
    weights = [one_hot(plan.layer, 0, None)]
    ascent = Ascent(program, parameters, fixed_inputs(spec, plan.recipe, plan.prior, weights, None))

    def step() -> object:
        return executor.step(program, [ascent], [step_inputs(spec, plan.recipe, seed=0, step=1)])

    return step


def torch_tasks(module: Any, shape: list[int], rows: int) -> dict[str, Task]:
    """PyTorch's gradient of the logits by the picture, its weights frozen: two memory formats."""
    torch: Any = importlib.import_module("torch")
    module.requires_grad_(requires_grad=False)
    picture = torch.randn(rows, *shape)
    cotangent = torch.randn_like(module(picture))

    def gradient(module: Any, picture: Any) -> Task:
        def run() -> object:
            x = picture.detach().requires_grad_()
            return torch.autograd.grad(module(x), x, cotangent)

        return run

    last = torch.channels_last
    return {
        "torch": gradient(module, picture),
        "torch_channels_last": gradient(
            module.to(memory_format=last), picture.to(memory_format=last)
        ),
    }
