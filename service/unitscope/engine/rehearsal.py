"""Loading in a process of its own first, where a model is served that must not die of it."""

from __future__ import annotations

from collections.abc import Iterable

from unitscope.engine.calls import Inquiry
from unitscope.engine.pipe import Ended, Message, Said, Setup
from unitscope.engine.process import WorkerProcess


class Rehearsal:
    """A worker that loads versions of a model and is there for nothing else.

    Raises OSError if the system starts no more processes.
    """

    def __init__(self, setup: Setup, versions: Iterable[str]) -> None:
        self._inquiry = Inquiry(setup.model, "rehearse", setup.model, tuple(versions))
        self._worker = WorkerProcess(setup, self._received, self._died)
        self._worker.give(0, self._inquiry)

    def fault(self) -> str:
        """Wait for it, and end it: how loading ended the worker, "" if it did not."""
        found: str = self._inquiry.future.result()
        self.dismiss()
        self._worker.join()
        return found

    def dismiss(self) -> None:
        """End it at once."""
        self._worker.dismiss()

    def _received(self, _: WorkerProcess, message: Message) -> None:
        match message:
            case Said(_, content):
                self._inquiry.said(content)
            case Ended(_, error):
                self._inquiry.ended(error)

    def _died(self, worker: WorkerProcess, manner: str) -> None:
        if not self._inquiry.future.done():
            self._inquiry.said(worker.fault(manner))
            self._inquiry.ended(None)
