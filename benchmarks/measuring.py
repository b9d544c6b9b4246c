"""One model: unitscope's tasks and those of all peers, in turn."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import fresh
from benchmarks.peers.case import Case
from benchmarks.peers.known import PEERS
from benchmarks.peers.process import PeerProcess
from benchmarks.tasks import Climbing, LayerGraphs, climbing
from benchmarks.timing import Turn, summary, take_turns, turn
from unitscope.engine.batches import ROWS
from unitscope.engine.cores import usable_cores
from unitscope.engine.engine import Engine
from unitscope.engine.executor import Executor, Program
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import load_model
from unitscope.engine.repository import Repository
from unitscope.engine.request import MaximizeRequest
from unitscope.engine.session import FileSession
from unitscope.engine.sharing import Weights
from unitscope.graph.layers import Layer

Result = dict[str, Any]
_REQUEST_STEPS = 64
_IN_THE_MIDDLE = ("convolution", "linear", "activation", "sum")


def measure(name: str, path: Path, batches: list[int], seconds: float) -> Result:
    """Times of all tasks, named `task/batch`, for so many seconds of turns.

    Gradients and steps also in the numbers of rows that the engine tries. `name`: in the zoo, else
    the peers that need a module refuse.
    """
    begun = time.perf_counter()
    model = load_model(path)
    loaded = time.perf_counter()
    climb = climbing(model, Executor())
    programs = {1: climb.program(rows=1)}
    compiled = time.perf_counter()
    programs |= {rows: climb.program(rows=rows) for rows in {*batches, *ROWS} if rows > 1}
    weights, middle = Weights(), middle_layer(model)
    logits = _graphs(path, model, model.find_layer(), programs, weights)
    turns = _own_turns(climb, programs, logits)
    turns |= {f"forward/{rows}": partial(turn, logits[rows].forward) for rows in batches}
    inner = _graphs(path, model, middle, [1], weights)[1]
    turns |= {
        "middle_forward/1": partial(turn, inner.forward),
        "middle_gradient/1": partial(turn, inner.gradient),
    }
    with ExitStack() as running:
        peers = _Peers(name, running)
        peers.prepare(path, logits)
        if peers.whole_steps:
            turns["request/1"] = running.enter_context(_request(path))
        times = take_turns(turns | peers.turns, seconds)
        about = peers.about()
    return about | {
        "kind": "model",
        "model": path.stem,
        "middle": middle.name,
        "load_seconds": round(loaded - begun, 2),
        "program_seconds": round(compiled - loaded, 2),
        "tasks": {
            task: summary(found) for task, found in times.items() if all(map(math.isfinite, found))
        },
        "same_bytes": _same_bytes(path, climb, programs),
    }


def middle_layer(model: LoadedModel) -> Layer:
    """The layer nearest the middle that people would climb."""
    layers = [x for x in model.layers if x.kind in _IN_THE_MIDDLE and not x.refusal]
    return layers[len(layers) // 2]


def _graphs(
    path: Path, model: LoadedModel, layer: Layer, batches: Iterable[int], weights: Weights
) -> dict[int, LayerGraphs]:
    file = FileSession(path, model.subject, layer.tensor)
    return {rows: LayerGraphs(file, model, layer, rows, weights) for rows in batches}


def _own_turns(
    climb: Climbing, programs: Mapping[int, Program], logits: Mapping[int, LayerGraphs]
) -> dict[str, Turn]:
    turns: dict[str, Turn] = {}
    for rows, program in programs.items():
        turns[f"gradient/{rows}"] = partial(turn, logits[rows].gradient)
        turns[f"step/{rows}"] = partial(turn, climb.task(program))
    return turns


@contextmanager
def _request(path: Path) -> Iterator[Turn]:
    """Milliseconds of a step where all that a request does besides is counted as its steps'."""
    repository = Repository()
    repository.add(path)
    asked = MaximizeRequest(model=path.stem, unit=0, steps=_REQUEST_STEPS)
    with Engine(repository) as engine:
        yield lambda: turn(lambda: engine.submit(asked).result()) / _REQUEST_STEPS


def _same_bytes(path: Path, climb: Climbing, programs: Mapping[int, Program]) -> dict[str, bool]:
    """Whether results depend on the process, and rows on being alone, as the engine asks it."""
    found = {"runs": climb.digest(programs[1]) == fresh.ask("digest", path)["digest"]}
    for rows, together in programs.items():
        if rows > 1:
            found[f"rows/{rows}"] = climb.executor.rows_agree(programs[1], together)
    return found


class _Peers:
    """The processes of all who are asked for a model; they end with `running`."""

    def __init__(self, model: str, running: ExitStack) -> None:
        self._model = model
        self._processes = [
            running.enter_context(PeerProcess(peer))
            for peer in PEERS
            if not peer.models or model in peer.models
        ]
        self.whole_steps = any(process.peer.whole_steps for process in self._processes)
        self.turns: dict[str, Turn] = {}
        self._prepared: dict[str, dict[str, float | None]] = {}

    def prepare(self, path: Path, logits: Mapping[int, LayerGraphs]) -> None:
        """Give each the batches it is for, and compare its gradient with ours."""
        for process in self._processes:
            for rows in process.peer.batches:
                if rows in logits:
                    self._prepare(process, str(path.resolve()), rows, logits[rows])

    def about(self) -> Result:
        """What is known of them besides their times."""
        refused = {p.peer.name: p.refusal for p in self._processes if p.refusal}
        versions = {p.peer.name: p.version for p in self._processes if p.version}
        return {"peers": self._prepared, "refused": refused, "versions": versions}

    def _prepare(self, process: PeerProcess, path: str, rows: int, ours: LayerGraphs) -> None:
        case = Case(self._model, path, ours.fed, ours.cotangent, usable_cores())
        for variant, found in process.prepare(case).items():
            task = f"{variant}/{rows}"
            self.turns[task] = partial(process.turn, variant, rows)
            differs = None if found.gradient is None else ours.difference(found.gradient)
            self._prepared[task] = {"prepare_seconds": round(found.seconds, 1), "differs": differs}
