"""Who climbs next: decides without doing.

The scheduler holds no thread, clock, session or future. Clients share the time equally, however
many requests each of them has, and so do the requests of one client; a weight makes a share larger.
A turn moves the virtual time of those who had it on, and whoever is furthest behind is next
(weighted fair queueing: Demers, Keshav, Shenker 1989). So nobody gets far ahead of anybody who
waits, a short request never waits for a long one to finish, and nobody starves.

    waiting → running → gone        (finished, cancelled or taken out)
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Generic, TypeVar

Row = TypeVar("Row")
"""Whatever identifies a request to the caller; compared by identity of value."""


@dataclass(slots=True, eq=False, kw_only=True)
class _Peer:
    """Somebody who shares time: `virtual` is the time it has had, divided by its weight."""

    virtual: float
    weight: float = 1.0


@dataclass(slots=True, eq=False)
class _Share:
    """What peers share. `clock`: the virtual time of one who has had exactly its part."""

    clock: float = 0.0

    def start(self, peers: Iterable[_Peer]) -> float:
        """Where a newcomer begins: neither owed nor owing anything."""
        self.clock = max(self.clock, min((peer.virtual for peer in peers), default=0.0))
        return self.clock

    def pay(self, payer: _Peer, cost: float, peers: Collection[_Peer]) -> None:
        """Move the payer on, to a turn's distance of whoever is furthest behind.

        One who came along with another's turn, and is ahead of that already, pays nothing: it
        cost nobody anything, and must not be held against it later.
        """
        last = min(peer.virtual for peer in peers)
        paid = max(last + cost / payer.weight - payer.virtual, 0.0)
        payer.virtual += paid
        self.clock += paid * payer.weight / sum(peer.weight for peer in peers)


@dataclass(slots=True, eq=False, kw_only=True)
class _Client(_Peer, Generic[Row]):
    share: _Share = field(default_factory=_Share)
    entries: list[_Entry[Row]] = field(default_factory=list)
    paused: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class _Entry(_Peer, Generic[Row]):
    row: Row
    client: _Client[Row]


class Scheduler(Generic[Row]):
    """At most `max_active` requests of a client take turns; behind them, weight and arrival count.

    A request of a larger weight that comes later takes the place of a smaller one, which pauses.
    The requests of a client that is paused have no turns until it is resumed.
    """

    def __init__(self, *, max_active: int) -> None:
        self._max_active = max_active
        self._share = _Share()
        self._clients: dict[str, _Client[Row]] = {}
        self._entries: dict[Row, _Entry[Row]] = {}

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def running(self) -> int:
        """Rows that take turns."""
        return sum(len(self._active(client)) for client in self._clients.values())

    def add(self, row: Row, *, client: str = "", weight: float = 1.0) -> None:
        """Let `row` take turns."""
        line = self._line(client)
        if not line.entries:
            line.virtual = max(line.virtual, self._share.start(self._present()))
        begin = line.share.start(self._active(line))
        entry = _Entry(virtual=begin, weight=weight, row=row, client=line)
        self._entries[row] = entry
        line.entries.append(entry)
        line.entries.sort(key=lambda one: -one.weight)

    def remove(self, row: Row) -> bool:
        """Take `row` out wherever it is; False if it is not here."""
        entry = self._entries.pop(row, None)
        if entry is None:
            return False
        entry.client.entries.remove(entry)
        return True

    def pause(self, client: str) -> None:
        """Give `client` no turns."""
        self._line(client).paused = True

    def resume(self, client: str) -> None:
        """Give `client` turns again, neither owed nor owing what others had meanwhile."""
        line = self._line(client)
        if line.paused:
            line.paused, line.virtual = False, max(line.virtual, self._share.start(self._present()))

    def schedule(self) -> Row | None:
        """The row whose turn it is, or None when there is nothing to do."""
        present = self._present()
        if not present:
            return None
        return min(self._active(min(present, key=_virtual)), key=_virtual).row

    def company(self, row: Row, count: int, fits: Callable[[Row], bool]) -> list[Row]:
        """At most `count` other rows that take turns and fit, those furthest behind first."""
        running = (
            entry.row
            for client in sorted(self._present(), key=_virtual)
            for entry in sorted(self._active(client), key=_virtual)
        )
        return list(islice((other for other in running if other != row and fits(other)), count))

    def charge(self, rows: Sequence[Row], cost: float) -> None:
        """Say what a turn of `rows` cost together; those that have left pay nothing."""
        each = cost / len(rows)
        for entry in (self._entries[row] for row in rows if row in self._entries):
            client = entry.client
            client.share.pay(entry, each, self._active(client))
            peers = {*self._present(), client}  # it may be paused meanwhile
            self._share.pay(client, each / entry.weight, peers)

    def _line(self, client: str) -> _Client[Row]:
        """What is known of `client`, who may be new."""
        if client not in self._clients:
            start = self._share.start(self._present())
            self._forget_the_absent(start)
            self._clients[client] = _Client(virtual=start)
        return self._clients[client]

    def _present(self) -> list[_Client[Row]]:
        """Clients that may have turns, and have something to do."""
        return [line for line in self._clients.values() if line.entries and not line.paused]

    def _active(self, client: _Client[Row]) -> list[_Entry[Row]]:
        return client.entries[: self._max_active]

    def _forget_the_absent(self, now: float) -> None:
        """A client that comes back before its part is used up does not begin anew."""
        self._clients = {
            name: client
            for name, client in self._clients.items()
            if client.entries or client.paused or client.virtual > now
        }


def _virtual(peer: _Peer) -> float:
    return peer.virtual
