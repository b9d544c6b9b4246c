"""The process of a peer: prepares its tasks and runs them when it is told to.

python -m benchmarks.peers.child MODULE FILE_DESCRIPTOR
"""

from __future__ import annotations

import importlib
import sys
import time
from importlib import metadata
from multiprocessing.connection import Connection
from typing import Any

import numpy as np

from benchmarks.memory import let_go
from benchmarks.peers.case import Case, GradientTask, Prepared, Ready, Refused
from benchmarks.timing import turn


def main() -> None:
    """Answer until the other end is closed."""
    name, descriptor = sys.argv[1:]
    connection: Connection[Any, Any] = Connection(int(descriptor))
    tasks: dict[tuple[str, int], GradientTask] = {}
    try:
        peer = importlib.import_module(f"benchmarks.peers.{name}")
        connection.send(Ready(metadata.version(peer.DISTRIBUTION)))
    except ImportError as error:
        connection.send(Refused(f"not installed: {error}"))
        return
    while True:
        try:
            asked = connection.recv()
        except EOFError:
            return
        if isinstance(asked, Case):
            connection.send(_prepare(peer, asked, tasks))
            let_go()  # several copies of all weights, of whoever rewrites graphs
        else:
            connection.send(turn(tasks[asked]))


def _prepare(
    peer: Any, case: Case, tasks: dict[tuple[str, int], GradientTask]
) -> dict[str, Prepared] | Refused:
    """Make the tasks of `case` and run each once; whatever stops that is the peer's refusal."""
    prepared = {}
    try:
        begun = time.perf_counter()
        for variant, task in peer.prepare(case).items():
            found = task()
            gradient = None if found is None else np.asarray(found).reshape(case.pictures.shape)
            prepared[variant] = Prepared(time.perf_counter() - begun, gradient)
            tasks[variant, len(case.pictures)] = task
            begun = time.perf_counter()
    except Exception as error:
        return Refused(f"{type(error).__name__}: {error}")
    return prepared


if __name__ == "__main__":
    main()
