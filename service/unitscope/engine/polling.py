"""Looking at the models again, every so many seconds."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from unitscope.engine.service import Models

_log = logging.getLogger(__name__)


@contextmanager
def polling(models: Models, seconds: float) -> Iterator[None]:
    """Refresh `models` every `seconds` on a thread of its own while the block runs; 0 = never."""
    left = threading.Event()

    def poll() -> None:
        while not left.wait(seconds):
            try:
                models.refresh()
            except Exception as error:  # a store may be away for a while, and every kind differs
                _log.warning("cannot look for models: %s", error)

    thread = threading.Thread(target=poll, name="unitscope-poll", daemon=True)
    if seconds > 0:
        thread.start()
    try:
        yield
    finally:
        left.set()
        if seconds > 0:
            thread.join()
