"""A server and its workers as processes: what ends whom (docs/promises.md)."""

from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from tests.rpc.live import ENDLESS
from tests.rpc.test_serve import served
from unitscope.client import Client
from unitscope.engine.request import Accepted, Maximization, Progress


def children(pid: int) -> list[int]:
    """The processes that `pid` started and that still are."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return [int(child) for task in tasks for child in (task / "children").read_text().split()]


def test_no_worker_outlives_a_server_that_is_killed(model_directory: Path) -> None:
    with served(model_directory, max_steps=ENDLESS) as (process, target), Client(target) as client:
        for model in ("small", "bare"):
            stream = client.stream(1, model=model, steps=ENDLESS)
            assert isinstance(next(stream), Accepted) and isinstance(next(stream), Progress)
        workers = [os.pidfd_open(pid) for pid in children(process.pid)]
        assert len(workers) == 2
        process.kill()
        for worker in workers:
            assert select.select([worker], [], [], 30)[0]
            os.close(worker)


def test_a_signal_to_all_processes_lets_requests_finish(model_directory: Path) -> None:
    """As service managers send it; Ctrl-C does not even reach workers."""
    with served(model_directory) as (process, target), Client(target, timeout_seconds=60) as client:
        stream = client.stream(1, model="small", steps=300)
        assert isinstance(next(stream), Accepted) and isinstance(next(stream), Progress)
        (worker,) = children(process.pid)
        assert os.getpgid(worker) != os.getpgid(process.pid)
        for pid in (worker, process.pid):
            os.kill(pid, signal.SIGTERM)
        *_, last = stream
        assert isinstance(last, Maximization)
        assert last.metrics.steps == 300
        assert process.wait(60) == 0


def test_nothing_runs_elsewhere_where_workers_are_turned_off(model_directory: Path) -> None:
    with served(model_directory, max_workers=0) as (process, target), Client(target) as client:
        assert client.maximize(1, model="small", steps=3).metrics.steps == 3
        assert not children(process.pid)
