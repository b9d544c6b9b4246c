"""Lucent, end to end: a step of its `render_vis` at its defaults.

The picture has the size of the model's input, and is scaled back to it after the transforms, which
would else make it larger.
"""

from __future__ import annotations

import importlib
import threading
from typing import Any

from benchmarks import zoo
from benchmarks.peers.case import Case, Tasks

torch: Any = importlib.import_module("torch")
render: Any = importlib.import_module("lucent.optvis.render")
param: Any = importlib.import_module("lucent.optvis.param")

DISTRIBUTION = "torch-lucent"
_LEARNING_RATE = 0.05
_WITHOUT_END = 10**9


def prepare(case: Case) -> Tasks:
    """A step each time the task is run; between them `render_vis` waits in its optimizer."""
    torch.set_num_threads(case.threads)
    module, (_, _, width) = zoo.module_of(case.model)
    begin, end = threading.Semaphore(0), threading.Semaphore(0)

    class Waiting(torch.optim.Adam):  # type: ignore[misc]
        def step(self, closure: Any) -> Any:
            begin.acquire()
            score = super().step(closure)
            end.release()
            return score

    def climb() -> None:
        render.render_vis(
            module,
            "labels:0",
            lambda: param.image(width),
            lambda parameters: Waiting(parameters, lr=_LEARNING_RATE),
            thresholds=(_WITHOUT_END,),
            fixed_image_size=width,
            progress=False,
            show_image=False,
        )

    def step() -> None:
        begin.release()
        end.acquire()

    threading.Thread(target=climb, daemon=True).start()
    return {"Lucent": step}
