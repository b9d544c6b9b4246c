"""The mailbox: order is kept, progress is not piled up, waiting readers are woken."""

from __future__ import annotations

import asyncio
import threading

import pytest

from unitscope.engine.mailbox import Mailbox
from unitscope.engine.request import Accepted, Event, Progress
from unitscope.errors import Cancelled

ACCEPTED = Accepted("id", "model", "1", "tensor", 0, "", 9, 8, 8)


def progress(step: int, preview: bytes | None = None) -> Progress:
    return Progress(step, 9, 0.0, 0.0, preview)


def test_a_slow_reader_misses_old_progress_but_no_preview() -> None:
    mailbox = Mailbox()
    events: list[Event] = [ACCEPTED, progress(1), progress(2, b"p"), progress(3), progress(4)]
    for event in events:
        mailbox.put(event)
    mailbox.close()
    assert list(mailbox) == [ACCEPTED, progress(2, b"p"), progress(4)]


def test_unread_previews_are_bounded() -> None:
    mailbox = Mailbox()
    for step in range(1000):
        mailbox.put(progress(step, b"p"))
    mailbox.close()
    kept = list(mailbox)
    assert len(kept) < 20 and kept[-1] == progress(999, b"p")


def test_an_error_ends_the_reading() -> None:
    mailbox = Mailbox()
    mailbox.put(ACCEPTED)
    mailbox.close(Cancelled("given up"))
    events = iter(mailbox)
    assert next(events) is ACCEPTED
    with pytest.raises(Cancelled, match="given up"):
        next(events)


def test_waiting_readers_are_woken() -> None:
    mailbox = Mailbox()
    got: list[Event] = []
    reader = threading.Thread(target=lambda: got.extend(mailbox))
    reader.start()
    mailbox.put(ACCEPTED)
    mailbox.close()
    reader.join(timeout=10)
    assert got == [ACCEPTED]


async def read(mailbox: Mailbox, started: threading.Event) -> list[Event]:
    started.set()
    return [event async for event in mailbox]


def test_waiting_coroutines_are_woken() -> None:
    mailbox, started = Mailbox(), threading.Event()

    def write() -> None:
        started.wait()
        mailbox.put(ACCEPTED)
        mailbox.close()

    writer = threading.Thread(target=write)
    writer.start()
    assert asyncio.run(asyncio.wait_for(read(mailbox, started), 10)) == [ACCEPTED]
    writer.join()


def test_a_reader_that_left_is_not_woken() -> None:
    mailbox = Mailbox()
    mailbox.put(ACCEPTED)

    async def first() -> Event:
        reader = aiter(mailbox)
        event = await anext(reader)
        await reader.aclose()  # type: ignore[attr-defined]  # it is an async generator
        return event

    assert asyncio.run(first()) is ACCEPTED
    mailbox.put(progress(1))  # its event loop is closed
    mailbox.close()
    assert list(mailbox) == [progress(1)]
