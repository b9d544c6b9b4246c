"""Results on disk: bounded, shared by servers, and never the reason that a request fails.

It is one SQLite file in WAL mode, pictures included: a picture of 150 kB is written in 0.2 ms and
read in 0.2 ms, where a file of its own, synced and renamed, takes 8 ms and 0.1 ms; only above some
10 MB files are faster. A transaction is whole or not there, whenever the process ends; what a disk
loses or alters afterwards shows in the SHA-256 of an entry, and the entry is dropped.

Callers read, each over a connection of its own; one thread writes.
"""

from __future__ import annotations

import hashlib
import json
import logging
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, suppress
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from unitscope.engine.plain import from_plain
from unitscope.engine.shared_run import Finished
from unitscope.errors import InvalidRequest

_log = logging.getLogger(__name__)

_SCHEMA = 1
_BUSY_SECONDS = 5.0
_LOG_BYTES = 8 << 20
_SETTINGS = f"""
PRAGMA synchronous = NORMAL;
PRAGMA journal_size_limit = {_LOG_BYTES};
PRAGMA foreign_keys = ON;
"""
_CREATE = f"""
PRAGMA auto_vacuum = INCREMENTAL;
PRAGMA journal_mode = WAL;
BEGIN IMMEDIATE;
CREATE TABLE IF NOT EXISTS results (
    key TEXT PRIMARY KEY, sha256 BLOB NOT NULL, bytes INTEGER NOT NULL, used_ns INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS by_use ON results (used_ns);
CREATE TABLE IF NOT EXISTS contents (
    key TEXT PRIMARY KEY REFERENCES results ON DELETE CASCADE, facts BLOB, image BLOB
);
PRAGMA user_version = {_SCHEMA};
COMMIT;
"""
_FIND = "SELECT sha256, facts, image FROM results JOIN contents USING (key) WHERE key = ?"
_TOUCH = "UPDATE results SET used_ns = ? WHERE key = ?"
_DROP = "DELETE FROM results WHERE key = ?"
_BROKEN = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
"""What SQLite says of a file without our tables, or that is no database any more."""


class _OtherSchema(Exception):
    """A file of another version of this module."""


class CacheObserver(Protocol):
    """Is told what becomes of results; called from any thread."""

    def cache_hit(self) -> None:
        """A request was answered from the store."""

    def cache_miss(self) -> None:
        """A request was not in the store."""

    def cache_failed(self) -> None:
        """The store could not be read or written."""

    def cache_bytes(self, count: int) -> None:
        """So much is in the store."""

    def joined(self) -> None:
        """A request shared the run of another, or got its result by its `request_id`."""


class ResultStore:
    """Of results in `directory` by key, at most `limit_bytes`; the least recently used leave first.

    What goes wrong with the disk is logged when it begins and counted; then nothing is found.
    """

    def __init__(self, directory: Path, limit_bytes: int, observer: CacheObserver) -> None:
        self._file = directory / "results.sqlite"
        self._limit_bytes = limit_bytes
        self._observer = observer
        self._failing = False
        self._opened: tuple[sqlite3.Connection, int | None] | None = None
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="unitscope-store")
        self._write(self._make_room).result()

    def get(self, key: str) -> Finished | None:
        """The result, if it is there and whole."""
        try:
            with closing(self._open()) as connection:
                row = connection.execute(_FIND, (key,)).fetchone()
        except Exception as error:  # whatever it is, the request is not to fail
            self._writer.submit(self._failed, error)
            return None
        if row is None:
            return None
        finished = _read(key, *row)
        if finished is None:
            _log.warning("result %s was altered on disk and is dropped", key)
            self._write(lambda connection: connection.execute(_DROP, (key,)))
        else:
            used = time.time_ns()
            self._write(lambda connection: connection.execute(_TOUCH, (used, key)))
        return finished

    def put(self, key: str, finished: Finished) -> Future[None]:
        """Keep a result. The future is done when it is kept, or when that failed."""
        facts, image = _facts(finished), finished.result.image
        return self._write(lambda connection: self._insert(connection, key, facts, image))

    def close(self) -> None:
        """Finish writing."""
        self._writer.shutdown()
        self._disconnect()

    def _write(self, action: Callable[[sqlite3.Connection], object]) -> Future[None]:
        return self._writer.submit(self._attempt, action)

    # On the writer's thread

    def _attempt(self, action: Callable[[sqlite3.Connection], object]) -> None:
        try:
            action(self._connection())
        except Exception as error:  # an altered file may hold anything
            self._failed(error)
            return
        if self._failing:
            _log.info("results are kept again in %s", self._file)
        self._failing = False

    def _insert(self, connection: sqlite3.Connection, key: str, facts: bytes, image: bytes) -> None:
        size = len(facts) + len(image)
        if size > self._limit_bytes:
            return
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            connection.execute(_DROP, (key,))
            row = key, _digest(key, facts, image), size, time.time_ns()
            connection.execute("INSERT INTO results VALUES (?, ?, ?, ?)", row)
            connection.execute("INSERT INTO contents VALUES (?, ?, ?)", (key, facts, image))
            self._evict(connection)

    def _make_room(self, connection: sqlite3.Connection) -> None:
        """The limit may be lower than it was: give back what it no longer allows."""
        with connection:
            connection.execute("BEGIN IMMEDIATE")
            self._evict(connection)
        connection.executescript("PRAGMA incremental_vacuum")  # `execute` frees one page

    def _evict(self, connection: sqlite3.Connection) -> None:
        (total,) = connection.execute("SELECT coalesce(sum(bytes), 0) FROM results").fetchone()
        oldest = connection.execute("SELECT key, bytes FROM results ORDER BY used_ns")
        leaving: list[tuple[str]] = []
        while total > self._limit_bytes:
            key, size = oldest.fetchone()
            leaving.append((key,))
            total -= size
        connection.executemany(_DROP, leaving)
        self._observer.cache_bytes(total)

    def _connection(self) -> sqlite3.Connection:
        """The one that is open, if its file is still the one that others find."""
        if self._opened is not None:
            connection, inode = self._opened
            if inode == self._inode():
                return connection
            self._disconnect()
        connection = self._open()
        self._opened = connection, self._inode()
        return connection

    def _inode(self) -> int | None:
        try:
            return self._file.stat().st_ino
        except FileNotFoundError:
            return None

    def _disconnect(self) -> None:
        if self._opened is not None:
            self._opened[0].close()
            self._opened = None

    def _failed(self, error: Exception) -> None:
        self._disconnect()
        self._observer.cache_failed()
        if not self._failing:
            _log.error("results in %s cannot be read or written: %s", self._file, error)
        self._failing = True
        if _is_broken(error):
            self._begin_anew()

    def _begin_anew(self) -> None:
        """Other servers notice that the file is another one, and follow."""
        for suffix in ("-wal", "-shm", ""):
            with suppress(OSError):
                Path(f"{self._file}{suffix}").unlink()

    # On any thread

    def _open(self) -> sqlite3.Connection:
        self._file.parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(
            self._file, _BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            connection.executescript(_SETTINGS)
            (found,) = connection.execute("PRAGMA user_version").fetchone()
            if found == 0:
                connection.executescript(_CREATE)
            elif found != _SCHEMA:
                raise _OtherSchema(f"it has schema {found}, expected {_SCHEMA}")
        except BaseException:
            connection.close()
            raise
        return connection


def _is_broken(error: Exception) -> bool:
    """Whether the file is of no use, rather than the disk full or the directory locked."""
    if isinstance(error, sqlite3.Error):
        return (getattr(error, "sqlite_errorcode", 0) & 0xFF) in _BROKEN
    return not isinstance(error, OSError)


def _facts(finished: Finished) -> bytes:
    """All but the image, as JSON; also numbers that are not finite."""
    plain = asdict(finished)
    plain["result"]["image"] = ""
    return json.dumps(plain).encode()


def _read(key: str, sha256: Any, facts: Any, image: Any) -> Finished | None:
    """What was kept under `key`; None if it is not what is there now."""
    if not (isinstance(facts, bytes) and isinstance(image, bytes)):
        return None
    if sha256 != _digest(key, facts, image):
        return None
    try:
        finished: Finished = from_plain(Finished, json.loads(facts), "result")
    except InvalidRequest:  # another build of the same version kept it
        return None
    return replace(finished, result=replace(finished.result, image=image))


def _digest(key: str, facts: bytes, image: bytes) -> bytes:
    parts = (hashlib.sha256(part).digest() for part in (key.encode(), facts, image))
    return hashlib.sha256(b"".join(parts)).digest()
