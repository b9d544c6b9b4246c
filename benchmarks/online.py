"""The service under load, through gRPC: one JSON line per experiment.

    python -m benchmarks.online [--model FILE.onnx] [--layers NAME …] [--steps 64] [--seconds 20]

A server is started and asked, and an engine in this process does the same work for comparison:

- *lone*: one request at a time, here and there in turn: what the way through gRPC adds.
- *crowd*: 32 callers of one layer at once, against one after another.
- *load*: Poisson arrivals from several client processes, mixed layers and units, at stated parts
  of what the engine does offline; the last is beyond what it can.
- *saturation*: as many requests as keep everybody busy for a while, asked of the engine by itself
  and of the server, in turn. Where the machine has other work, the seconds of
  the processor that each took say more.
- *soak*: thousands of requests of few steps: does memory grow, does the last wait longer?
- *sizes*: pictures of other sizes, with little room for programs: does memory grow with the
  shapes that were seen?

Where there are many at once, callers have the last core for themselves, server and engine the
others.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import re
import statistics
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

from benchmarks.arrivals import Load, arrive, crowd
from benchmarks.timing import environment
from scripts.demo import Addresses, running_server
from unitscope.client import Client
from unitscope.engine.engine import Engine
from unitscope.engine.repository import Repository
from unitscope.engine.request import Caller, MaximizeRequest
from unitscope.engine.sharing import share_threads
from unitscope.errors import DeadGradient

Result = dict[str, Any]

CROWD = 32
UNITS = 8
CLIENTS = 4
RATES = (0.5, 0.8, 1.5)
LONE_CALLS = 20
BUSY_SECONDS = 5
ROUNDS = 5
SOAK_WARM_UP = 500
SIZES_PX = range(64, 768)
LITTLE_ROOM_BYTES = 1 << 28
"""For compiled programs: they leave one another no room soon, and memory grows no further."""


def main() -> None:
    """Run every experiment, and print what was found."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", type=Path)
    parser.add_argument("--layers", nargs="+", default=[""])
    parser.add_argument("--steps", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--soak", type=int, default=0, metavar="REQUESTS")
    parser.add_argument("--sizes", type=int, default=0, metavar="REQUESTS")
    options = parser.parse_args()
    *cores, last = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, cores or [last])  # before there are threads and servers that inherit it
    share_threads(0)  # as the server does
    repository = Repository(options.model.parent if options.model else None)
    name = options.model.stem if options.model else repository.default_name
    words = ("--models", str(options.model.parent)) if options.model else ()
    with Engine(repository) as engine, running_server(*words) as addresses:
        units = [unit for layer in options.layers for unit in alive(engine, name, layer)]
        bench = Bench(engine, addresses, name, units, options.steps, last)
        bench.say("lone", bench.lone())
        bench.say("crowd", bench.crowd())
        offline = bench.offline()
        for rate in RATES:
            bench.say("load", bench.load(rate, offline, options.seconds))
        bench.say("saturation", bench.saturation(offline))
        if options.soak:
            bench.say("soak", bench.soak(options.soak))
    if options.sizes:
        os.environ["UNITSCOPE_PROGRAM_MEMORY_BYTES"] = str(LITTLE_ROOM_BYTES)
        with running_server(*words) as addresses:
            say("sizes", sizes(addresses, units[0], name, options.sizes), name)


def alive(engine: Engine, model: str, layer: str) -> Iterator[tuple[str, int]]:
    """The first units of a layer that can be climbed, at most UNITS."""
    for unit in range(engine.models.get(model).find_layer(layer).unit_count)[:UNITS]:
        request = MaximizeRequest(unit=unit, model=model, layer=layer, steps=4)
        with contextlib.suppress(DeadGradient):
            engine.submit(request).result()
            yield layer, unit


def say(experiment: str, result: Result, model: str) -> None:
    """Print a line of JSON."""
    about = {"experiment": experiment, "model": model}
    print(json.dumps(about | result | environment()), flush=True)


def sizes(
    addresses: Addresses, unit_of_layer: tuple[str, int], model: str, requests: int
) -> Result:
    """Resident memory over pictures of so many sizes."""
    layer, unit = unit_of_layer
    memory = []
    with Client(addresses.grpc) as client:
        for size in random.Random(0).sample(SIZES_PX, requests):
            client.maximize(unit, model=model, layer=layer, steps=2, seed=0, image_size_px=size)
            memory.append(_resident_bytes(addresses.pid) >> 20)
    third = max(requests // 3, 1)
    return {
        "requests": requests,
        "resident_mb_highest_of_thirds": [
            max(memory[begin : begin + third]) for begin in range(0, 3 * third, third)
        ],
    }


class Bench:
    """A server, and an engine beside it that is idle while the server is asked."""

    def __init__(
        self,
        engine: Engine,
        addresses: Addresses,
        model: str,
        units: Sequence[tuple[str, int]],
        steps: int,
        callers_core: int,
    ) -> None:
        self._engine = engine
        self._addresses = addresses
        self._model = model
        self._units = units
        self._steps = steps
        self._callers_core = callers_core
        self._client = Client(addresses.grpc, name="bench")

    def say(self, experiment: str, result: Result) -> None:
        """Print a line of JSON."""
        say(experiment, {"steps": self._steps} | result, self._model)

    def lone(self) -> Result:
        """Median seconds of a call here and there, taking turns."""
        times: dict[str, list[float]] = {"engine": [], "service": []}
        for seed in range(LONE_CALLS + 2):
            for name, ask in (("engine", self._here), ("service", self._there)):
                begun = time.perf_counter()
                ask(seed)
                times[name].append(time.perf_counter() - begun)
        medians = {name: statistics.median(values[2:]) for name, values in times.items()}
        added = medians["service"] - medians["engine"]
        return {f"{name}_ms": _ms(value) for name, value in medians.items()} | {
            "added_ms": _ms(added)
        }

    def crowd(self) -> Result:
        """Seconds for CROWD requests of one layer: one after another, and all at once, in turn."""
        self._ask_for_all(self._there, at_once=CROWD)
        alone, together = [], []
        for _ in range(3):
            alone.append(_seconds(partial(self._ask_for_all, self._there, at_once=1)))
            together.append(_seconds(partial(self._ask_for_all, self._there, at_once=CROWD)))
        one, all_ = statistics.median(alone), statistics.median(together)
        return {"one_by_one_s": one, "at_once_s": all_, "times_faster": round(one / all_, 2)}

    def offline(self) -> float:
        """Requests a second that the engine does by itself, with as many callers as it likes."""
        self._ask_for_all(self._here, at_once=CROWD)
        return CROWD / _seconds(partial(self._ask_for_all, self._here, at_once=CROWD))

    def load(self, part: float, offline: float, seconds: float) -> Result:
        """Latency and throughput at `part` of the offline rate."""
        loads = self._loads(part * offline / CLIENTS, seconds)
        before = self._fill()
        with _clients() as pool:
            answers = [answer for found in pool.map(arrive, loads) for answer in found]
        done = [answer for answer in answers if answer.finished is not None]
        took = max(one.arrived + one.finished for one in done if one.finished is not None)
        after = self._fill()
        return {
            "part_of_offline": part,
            "offline_per_s": round(offline, 2),
            "arrived_per_s": round(len(answers) / seconds, 2),
            "done_per_s": round(len(done) / took, 2),
            "done_by_offline": round(len(done) / took / offline, 2),
            "refused": len(answers) - len(done),
            "latency": _spread([one.finished for one in done]),
            "first_progress": _spread([one.first_progress for one in done]),
            "rows_per_step": round((after[0] - before[0]) / max(after[1] - before[1], 1), 2),
        }

    def saturation(self, offline: float) -> Result:
        """Throughput beside that of the engine by itself; both have the same requests."""
        each = max(min(int(BUSY_SECONDS * offline), 4 * CROWD), CROWD) // CLIENTS
        loads, server = self._loads(0.0, 0.0), self._addresses.pid
        rounds = []
        with _clients() as pool:
            for _ in range(1 + ROUNDS):
                begun = _cpu_seconds(os.getpid()), _cpu_seconds(server)
                here = _seconds(partial(self._crowd_here, each))
                there = max(pool.map(partial(crowd, requests=each), loads))
                ended = _cpu_seconds(os.getpid()), _cpu_seconds(server)
                rounds.append((here, there, ended[0] - begun[0], ended[1] - begun[1]))
        here, there, here_cpu, there_cpu = map(statistics.median, zip(*rounds[1:], strict=True))
        return {
            "requests": CLIENTS * each,
            "engine_s": round(here, 2),
            "service_s": round(there, 2),
            "done_by_offline": round(here / there, 3),
            "cpu_of_engine_by_service": round(here_cpu / there_cpu, 3),
        }

    def soak(self, requests: int) -> Result:
        """Resident memory and latency over many short requests."""
        latencies, memory = [], []
        for number in range(requests):
            layer, unit = self._units[number % len(self._units)]
            steps = 1 + number % 4
            begun = time.perf_counter()
            self._client.maximize(unit, model=self._model, layer=layer, steps=steps, seed=number)
            latencies.append(time.perf_counter() - begun)
            if number % 100 == 99:
                memory.append(_resident_bytes(self._addresses.pid))
        first, last = latencies[SOAK_WARM_UP : SOAK_WARM_UP + 1000], latencies[-1000:]
        warm = memory[SOAK_WARM_UP // 100]
        return {
            "requests": requests,
            "resident_mb_warm": warm >> 20,
            "resident_mb_end": memory[-1] >> 20,
            "growth": round(memory[-1] / warm - 1, 4),
            "latency_first_thousand_ms": _ms(statistics.median(first)),
            "latency_last_thousand_ms": _ms(statistics.median(last)),
        }

    def _loads(self, rate: float, seconds: float) -> list[Load]:
        """Of each client."""
        return [
            Load(
                target=self._addresses.grpc,
                model=self._model,
                rate=rate,
                seconds=seconds,
                units=self._units,
                steps=self._steps,
                seed=seed,
                core=self._callers_core,
            )
            for seed in range(CLIENTS)
        ]

    def _crowd_here(self, each: int) -> None:
        """What `crowd` asks, of the engine."""
        tickets = []
        for number, client in product(range(each), range(CLIENTS)):
            layer, unit = self._units[number % len(self._units)]
            request = MaximizeRequest(
                unit=unit, model=self._model, layer=layer, steps=self._steps, seed=number
            )
            caller = Caller(f"client-{client}", progress_every_steps=0)
            tickets.append(self._engine.submit(request, caller))
        for ticket in tickets:
            ticket.result()

    def _here(self, seed: int) -> object:
        layer, unit = self._units[0]
        request = MaximizeRequest(
            unit=unit, model=self._model, layer=layer, steps=self._steps, seed=seed
        )
        return self._engine.submit(request, Caller(progress_every_steps=0)).result()

    def _there(self, seed: int) -> object:
        layer, unit = self._units[0]
        return self._client.maximize(
            unit, model=self._model, layer=layer, steps=self._steps, seed=seed
        )

    def _ask_for_all(self, ask: Callable[[int], object], *, at_once: int) -> None:
        """CROWD calls, by so many callers on their core."""
        core = [self._callers_core]
        with ThreadPoolExecutor(at_once, "caller", os.sched_setaffinity, (0, core)) as pool:
            list(pool.map(ask, range(CROWD)))

    def _fill(self) -> tuple[float, float]:
        """Rows and steps so far."""
        with urllib.request.urlopen(f"http://{self._addresses.http}/metrics", timeout=10) as page:
            text = page.read().decode()
        found = re.search(r"unitscope_step_rows_count (\S+)\nunitscope_step_rows_sum (\S+)", text)
        assert found is not None
        return float(found[2]), float(found[1])


def _clients() -> ProcessPoolExecutor:
    return ProcessPoolExecutor(CLIENTS, mp_context=multiprocessing.get_context("spawn"))


def _seconds(work: Callable[[], object]) -> float:
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def _ms(seconds: float) -> float:
    return round(seconds * 1e3, 2)


def _spread(values: Sequence[float | None]) -> dict[str, float]:
    known = sorted(value for value in values if value is not None)
    if not known:
        return {}
    return {
        "p50_ms": _ms(known[len(known) // 2]),
        "p99_ms": _ms(known[min(int(len(known) * 0.99), len(known) - 1)]),
    }


def _resident_bytes(pid: int) -> int:
    """Of a process and those it started."""
    own = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    return (int(own[1]) << 10 if own else 0) + sum(map(_resident_bytes, _children(pid)))


def _children(pid: int) -> list[int]:
    lists = Path(f"/proc/{pid}/task").glob("*/children")
    return [int(child) for found in lists for child in found.read_text().split()]


def _cpu_seconds(pid: int) -> float:
    """Of a process so far, and of its workers."""
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    workers = 0.0 if pid == os.getpid() else sum(map(_cpu_seconds, _children(pid)))
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK") + workers


if __name__ == "__main__":
    main()
