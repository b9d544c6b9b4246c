"""A worker process as its supervisor sees it: its calls, its messages, and its death.

A plain child, not a fork: ONNX Runtime and NumPy have threads as soon as they are imported, which a
fork would not survive whole. It takes 0.5 s to import what it needs and, with SqueezeNet, 82 MiB of
its own (`benchmarks.isolation`), once for each model.
"""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from multiprocessing import Pipe
from queue import SimpleQueue

from unitscope.engine.attributor import MAX_WAITING
from unitscope.engine.calls import OpenCall
from unitscope.engine.pipe import Call, Message, Report, Setup
from unitscope.engine.time_limit import SIGNAL
from unitscope.errors import QueueFull

BUSY_SECONDS = 1.0
"""When to ask again where a worker is busy."""


class WorkerProcess:
    """A worker. No method but `join` waits for it.

    `received` is told what it says, `ended` how it died, both on a thread of its own. `calls`:
    whose answer is not complete, by number. `report`: the last. `dismissed`: its end is meant.
    Raises OSError if the system starts no more processes.
    """

    def __init__(
        self,
        setup: Setup,
        received: Callable[[WorkerProcess, Message], None],
        ended: Callable[[WorkerProcess, str], None],
    ) -> None:
        self.model = setup.model
        self._load_seconds = setup.load_seconds
        self.calls: dict[int, OpenCall] = {}
        self.report: Report | None = None
        self.dismissed = False
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

    def give(self, number: int, call: OpenCall) -> None:
        """Let it answer `call`."""
        call.number = number
        self.calls[number] = call
        self.send(Call(number, call.method, tuple(call.arguments())))

    def send(self, call: Call) -> None:
        """Leave a call; a thread of its own writes it, as a large picture may take a while."""
        self._outbox.put(call)

    def check_room(self) -> None:
        """Raises QueueFull where there are as many attributions as an engine takes.

        More need not even be sent, with their pictures.
        """
        waiting = sum(call.method == "attribute" for call in self.calls.values()) - 1
        if waiting >= MAX_WAITING:
            raise QueueFull(waiting, BUSY_SECONDS)

    def dismiss(self) -> None:
        """End it at once, on purpose."""
        self.dismissed = True
        self._process.kill()

    @property
    def overdue(self) -> bool:
        """Whether it ended because a model took too long to load."""
        return self._process.returncode == -SIGNAL

    def fault(self, manner: str) -> str:
        """What to say of its death."""
        if self.overdue:
            return f"loading model {self.model!r} took longer than {self._load_seconds:g} s"
        if self.calls and not (self.report and self.report.loaded):
            return f"loading model {self.model!r} killed its worker ({manner})"
        return f"the worker of model {self.model!r} died ({manner})"

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
                self._received(self, self._pipe.recv())
        except (EOFError, OSError):  # it is dead, perhaps in the middle of a message
            pass
        finally:
            self._process.kill()  # without a pipe it is of no use
            with self._process:  # closes its lifeline and waits
                self._outbox.put(None)
            self._threads[0].join()
            self._pipe.close()
            self._ended(self, _manner(self._process.returncode))


def _manner(status: int) -> str:
    """How a process ended: "signal 11, SIGSEGV" or "exit status 1"."""
    if status >= 0:
        return f"exit status {status}"
    names = {number.value: f", {number.name}" for number in signal.Signals}
    return f"signal {-status}{names.get(-status, '')}"
