"""A worker process as its supervisor sees it: messages in, messages out, and its death.

A plain child, not a fork: ONNX Runtime and NumPy have threads as soon as they are imported, which a
fork would not survive whole. It takes 0.5 s to import what it needs and 52 MiB of its own
(`benchmarks.isolation`), once for each model.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from queue import SimpleQueue

from unitscope.engine.pipe import Call, Message, Setup


class WorkerProcess:
    """A worker. No method waits for it.

    `received` is told what it says, `ended` how it died, both on a thread of its own.
    Raises OSError if the system starts no more processes.
    """

    def __init__(
        self, setup: Setup, received: Callable[[Message], None], ended: Callable[[str], None]
    ) -> None:
        self._received = received
        self._ended = ended
        self._pipe, theirs = Pipe()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "unitscope.engine.worker", str(theirs.fileno())],
                stdin=subprocess.PIPE,  # its lifeline
                pass_fds=[theirs.fileno()],
                process_group=0,  # a terminal's Ctrl-C is for the server
            )
        self.pid = self._process.pid
        self._outbox: SimpleQueue[Setup | Call | None] = SimpleQueue()
        self._outbox.put(setup)
        self._threads = [
            threading.Thread(target=work, name=f"unitscope-{setup.model}", daemon=True)
            for work in (self._write, self._read)
        ]
        for thread in self._threads:
            thread.start()

    def send(self, call: Call) -> None:
        """Leave a call; a thread of its own writes it, as a large picture may take a while."""
        self._outbox.put(call)

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()

    def join(self) -> None:
        """Wait until it has ended and `ended` was told."""
        for thread in self._threads:
            thread.join()

    def _write(self) -> None:
        while (message := self._outbox.get()) is not None:
            try:
                self._pipe.send(message)
            except OSError:  # it is dead; the reader says so
                return

    def _read(self) -> None:
        try:
            while True:
                self._received(self._pipe.recv())
        except (EOFError, OSError):  # it is dead, perhaps in the middle of a message
            pass
        finally:
            self._process.kill()  # without a pipe it is of no use
            with self._process:  # closes its lifeline and waits
                self._outbox.put(None)
            self._threads[0].join()
            self._pipe.close()
            self._ended(_manner(self._process.returncode))


def _manner(status: int) -> str:
    """How a process ended: "signal 11, SIGSEGV" or "exit status 1"."""
    if status >= 0:
        return f"exit status {status}"
    names = {number.value: f", {number.name}" for number in signal.Signals}
    return f"signal {-status}{names.get(-status, '')}"
