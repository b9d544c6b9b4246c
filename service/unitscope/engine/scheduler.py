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
    """`active`: those of `ending` and the first of `entries`."""

    share: _Share = field(default_factory=_Share)
    entries: list[_Entry[Row]] = field(default_factory=list)
    ending: list[_Entry[Row]] = field(default_factory=list)
    active: list[_Entry[Row]] = field(default_factory=list)
    paused: bool = False


@dataclass(slots=True, eq=False, kw_only=True)
class _Entry(_Peer, Generic[Row]):
    row: Row
    client: _Client[Row]


class Scheduler(Generic[Row]):
    """At most `max_active` requests of a client take turns; behind them, weight and arrival count.

    A request of a larger weight that comes later takes the place of a smaller one, which pauses.
    Those that make room for others have turns besides. Who waits for a place is owed nothing, and
    a client that is paused has no turns until it is resumed.
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
        return sum(len(client.active) for client in self._clients.values())

    def add(self, row: Row, *, client: str = "", weight: float = 1.0) -> None:
        """Let `row` take turns."""
        line = self._line(client)
        if not line.active:
            line.virtual = max(line.virtual, self._share.start(self._present()))
        entry = _Entry(virtual=0.0, weight=weight, row=row, client=line)
        self._entries[row] = entry
        line.entries.append(entry)
        line.entries.sort(key=lambda one: -one.weight)
        self._settle(line)

    def remove(self, row: Row) -> bool:
        """Take `row` out wherever it is; False if it is not here."""
        entry = self._entries.pop(row, None)
        if entry is None:
            return False
        line = entry.client
        (line.ending if entry in line.ending else line.entries).remove(entry)
        self._settle(line)
        return True

    def make_room(self, row: Row) -> None:
        """Let another of its client take turns in place of `row`, which goes on: it is ending."""
        entry = self._entries[row]
        if entry not in entry.client.ending:
            entry.client.entries.remove(entry)
            entry.client.ending.append(entry)
            self._settle(entry.client)

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
        return min(min(present, key=_virtual).active, key=_virtual).row

    def company(self, row: Row, count: int, fits: Callable[[Row], bool]) -> list[Row]:
        """At most `count` other rows that take turns and fit, those furthest behind first."""
        running = (
            entry.row
            for client in sorted(self._present(), key=_virtual)
            for entry in sorted(client.active, key=_virtual)
        )
        return list(islice((other for other in running if other != row and fits(other)), count))

    def charge(self, rows: Sequence[Row], cost: float) -> None:
        """Say what a turn of `rows` cost together; those that have left pay nothing."""
        each = cost / len(rows)
        for entry in (self._entries[row] for row in rows if row in self._entries):
            client = entry.client
            client.share.pay(entry, each, client.active)
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
        return [line for line in self._clients.values() if line.active and not line.paused]

    def _settle(self, line: _Client[Row]) -> None:
        """Say who takes turns, now that requests of `line` came or went: who waited is not owed."""
        before = [entry for entry in line.active if entry.row in self._entries]
        line.active = line.ending + line.entries[: self._max_active]
        for entry in line.active:
            if entry not in before:
                entry.virtual = max(entry.virtual, line.share.start(before))

    def _forget_the_absent(self, now: float) -> None:
        """A client that comes back before its part is used up does not begin anew."""
        self._clients = {
            name: client
            for name, client in self._clients.items()
            if client.active or client.paused or client.virtual > now
        }


def _virtual(peer: _Peer) -> float:
    return peer.virtual
