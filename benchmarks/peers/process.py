"""A peer's process, seen from the benchmark."""

from __future__ import annotations

import math
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from multiprocessing import Pipe
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.peers.case import Case, Prepared, Refused
from benchmarks.peers.known import Peer

ROOT = Path(__file__).resolve().parents[2]
_ENVIRONMENT = {"GOMP_SPINCOUNT": "1000"}
"""Threads of PyTorch that wait for each other for longer let others have their core: beside any
other process they would take up to thirty times as long.
"""
_HEAD, _TAIL = 20, 160
_START_SECONDS = 120.0
_TURN_SECONDS = 300.0


class PeerProcess:
    """Runs a peer. Whatever fails ends it and is kept as its `refusal`; nothing is raised.

    It has a directory of its own for temporary files: nothing that it compiled before is found.
    """

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.refusal = ""
        self.version = ""
        self._directory = Path(tempfile.mkdtemp(prefix="unitscope-peer-"))
        self._log = self._directory / "log"
        python = peer.python or Path(sys.executable)
        if not python.is_file():
            self.refusal = f"absent: there is no {python.relative_to(ROOT)}"
            return
        self._connection, theirs = Pipe()
        command = [str(python), "-m", "benchmarks.peers.child", peer.module, str(theirs.fileno())]
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=os.environ | _ENVIRONMENT | {"TMPDIR": str(self._directory)},
                pass_fds=[theirs.fileno()],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        theirs.close()
        ready = self._ask(None, _START_SECONDS)
        self.version = "" if ready is None else ready.version

    def prepare(self, case: Case) -> dict[str, Prepared]:
        """The tasks it has for `case`, by their names; none where it refuses."""
        return self._ask(case, self.peer.limit_seconds) or {}

    def turn(self, variant: str, rows: int) -> float:
        """Milliseconds of a task; not a number once the peer has failed."""
        found = self._ask((variant, rows), _TURN_SECONDS)
        return math.nan if found is None else float(found)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if not self.refusal:
            self._end("")
        shutil.rmtree(self._directory, ignore_errors=True)

    def _ask(self, message: object, seconds: float) -> Any:
        """What the child answers, None if it cannot; its first answer needs no question."""
        if self.refusal:
            return None
        try:
            if message is not None:
                self._connection.send(message)
            if not self._connection.poll(seconds):
                return self._end(f"took more than {seconds:.0f} s")
            answer = self._connection.recv()
        except (EOFError, OSError):
            return self._end(f"its process ended: {self._last_words()}")
        return self._end(answer.reason) if isinstance(answer, Refused) else answer

    def _end(self, reason: str) -> None:
        """No more of it; `reason`, in one line, is why."""
        self.refusal = _short(reason)
        self._connection.close()
        os.killpg(self._process.pid, signal.SIGKILL)  # compilers that it started, too
        self._process.wait()

    def _last_words(self) -> str:
        lines = self._log.read_text(errors="replace").split("\n")
        return next((line for line in reversed(lines) if line.strip()), "it said nothing")


def _short(reason: str) -> str:
    """In one line; of long ones the kind, and the end, where most say what it was."""
    line = " ".join(reason.split())
    return line if len(line) <= _HEAD + _TAIL else f"{line[:_HEAD]} … {line[-_TAIL:]}"
