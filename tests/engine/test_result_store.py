"""Results on disk: what is read is what was written or nothing, whatever happens to the disk."""

from __future__ import annotations

import logging
import random
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.engine.results import Counts, finished
from unitscope.engine.result_store import ResultStore

MIB = 1 << 20


@contextmanager
def opened(
    directory: Path, limit_bytes: int = MIB, counts: Counts | None = None
) -> Iterator[ResultStore]:
    with closing(ResultStore(directory, limit_bytes, counts or Counts())) as store:
        yield store


def file_of(directory: Path) -> Path:
    (file,) = directory.glob("*.sqlite")
    return file


def test_what_was_put_is_found_also_later(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        assert store.get("a") is None
        store.put("a", finished(1)).result()
        assert store.get("a") == finished(1) and store.get("b") is None
    with opened(tmp_path) as store:
        assert store.get("a") == finished(1)


def test_a_result_put_twice_is_there_once(tmp_path: Path) -> None:
    counts = Counts()
    with opened(tmp_path, counts=counts) as store:
        for seed in (1, 2):
            store.put("a", finished(seed)).result()
        assert store.get("a") == finished(2)
    assert 10_000 < counts.bytes < 20_000


def test_the_least_recently_used_leave(tmp_path: Path) -> None:
    counts = Counts()
    with opened(tmp_path, 100_000, counts) as store:
        for seed in range(5):
            store.put(str(seed), finished(seed, 20_000 if seed else 15_000)).result()
        kept = [seed for seed in range(5) if store.get(str(seed))]
        assert kept == [1, 2, 3, 4]
        store.get("1")
        store.put("5", finished(5, 20_000)).result()
        assert [seed for seed in range(6) if store.get(str(seed))] == [1, 3, 4, 5]
        assert counts.bytes <= 100_000
        store.put("large", finished(6, 100_000)).result()
        assert store.get("large") is None and store.get("5") == finished(5, 20_000)


def test_the_file_is_as_large_as_the_limit_says(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        for seed in range(100):
            store.put(str(seed), finished(seed, 50_000)).result()
    assert file_of(tmp_path).stat().st_size < 1.2 * MIB
    with opened(tmp_path, MIB // 4) as store:
        assert store.get("99") == finished(99, 50_000)
    assert file_of(tmp_path).stat().st_size < 1.2 * MIB / 4


def test_two_servers_share_a_directory(tmp_path: Path) -> None:
    counts = Counts()
    with opened(tmp_path, counts=counts) as one, opened(tmp_path, counts=counts) as other:
        writes = [
            store.put(str(seed), finished(seed)) for seed in range(40) for store in (one, other)
        ]
        for write in writes:
            write.result()
        for store in (one, other):
            assert all(store.get(str(seed)) == finished(seed) for seed in range(40))
    assert counts.failures == 0


# Harm


@pytest.mark.parametrize("change", [b"\x01", b"", b"more"])
@pytest.mark.parametrize("column", ["facts", "image"])
def test_an_altered_entry_is_dropped(
    tmp_path: Path, column: str, change: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    with opened(tmp_path) as store:
        store.put("a", finished(1)).result()
        store.put("b", finished(2)).result()
        with closing(sqlite3.connect(file_of(tmp_path))) as connection, connection:
            (was,) = connection.execute(f"SELECT {column} FROM contents WHERE key = 'a'").fetchone()
            now = change + was[1:] if change else was[:-1]
            connection.execute(f"UPDATE contents SET {column} = ? WHERE key = 'a'", (now,))
        assert store.get("a") is None
        assert "result a was altered on disk" in caplog.text
        assert store.get("b") == finished(2)
    caplog.clear()
    with opened(tmp_path) as store:
        assert store.get("a") is None and "altered" not in caplog.text


def test_an_entry_is_not_served_under_another_key(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.put("a", finished(1)).result()
        with closing(sqlite3.connect(file_of(tmp_path))) as connection, connection:
            connection.execute("UPDATE results SET key = 'b'")
            connection.execute("UPDATE contents SET key = 'b'")
        assert store.get("a") is None and store.get("b") is None


def test_whatever_bytes_rot_nothing_else_is_served(tmp_path: Path) -> None:
    """Many files with damaged places; afterwards the store works again."""
    counts, rng = Counts(), random.Random(0)
    with opened(tmp_path / "whole") as store:
        for seed in range(8):
            store.put(str(seed), finished(seed)).result()
    whole = file_of(tmp_path / "whole").read_bytes()
    served = 0
    for trial in range(40):
        directory = tmp_path / str(trial)
        directory.mkdir()
        rotten = bytearray(whole)
        for _ in range(rng.choice((1, 2, 20))):
            start, length = rng.randrange(len(whole)), rng.choice((1, 16, 256))
            rotten[start : start + length] = rng.randbytes(len(rotten[start : start + length]))
        (directory / "results.sqlite").write_bytes(rotten)
        with opened(directory, counts=counts) as store:
            found = [store.get(str(seed)) for seed in range(8)]
            assert all(got in (None, finished(seed)) for seed, got in enumerate(found))
            served += sum(got is not None for got in found)
            store.put("new", finished(9)).result()
        with opened(directory) as store:
            store.put("new", finished(9)).result()
            assert store.get("new") == finished(9)
    assert 40 < served < 300 and counts.failures > 0


def not_a_database(file: Path) -> None:
    file.write_bytes(b"no database" * 1000)


def of_another_version(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA user_version = 99")


def without_tables(file: Path) -> None:
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE contents")


@pytest.mark.parametrize("harm", [not_a_database, of_another_version, without_tables])
def test_a_file_of_no_use_is_begun_anew(
    tmp_path: Path, harm: Callable[[Path], None], caplog: pytest.LogCaptureFixture
) -> None:
    counts = Counts()
    with opened(tmp_path) as store:
        store.put("a", finished(1)).result()
    harm(file_of(tmp_path))
    with opened(tmp_path, counts=counts) as store:
        assert store.get("a") is None
        store.put("b", finished(2)).result()
        store.put("b", finished(2)).result()
        assert store.get("b") == finished(2)
    assert counts.failures >= 1
    assert caplog.text.count("cannot be read or written") == 1


def test_a_directory_that_is_removed_is_made_again(tmp_path: Path) -> None:
    with opened(tmp_path) as store:
        store.put("a", finished(1)).result()
        for path in tmp_path.iterdir():
            path.unlink()
        tmp_path.rmdir()
        assert store.get("a") is None
        store.put("b", finished(2)).result()
        assert store.get("b") == finished(2)


@pytest.mark.parametrize("place", ["file/cache", "/proc/cache"])
def test_where_nothing_can_be_written_nothing_is_found_and_it_is_said_once(
    tmp_path: Path, place: str, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").touch()
    counts = Counts()
    with opened(tmp_path / place, counts=counts) as store:
        for seed in range(3):
            store.put("a", finished(seed)).result()
            assert store.get("a") is None
    assert counts.failures == 7
    assert caplog.text.count("cannot be read or written") == 1


FULL_DISK = """
import logging, resource, sys
from pathlib import Path
from tests.engine.results import Counts, finished
from unitscope.engine.result_store import ResultStore

logging.basicConfig(level=logging.INFO, format="%(message)s")
counts = Counts()
store = ResultStore(Path(sys.argv[1]), 1 << 24, counts)
store.put("before", finished(1)).result()
hard = resource.getrlimit(resource.RLIMIT_FSIZE)[1]
resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
for seed in range(3):
    store.put("full", finished(seed, 1 << 20)).result()
assert counts.failures == 3, counts.failures
assert store.get("full") is None and store.get("before") == finished(1)
resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
store.put("after", finished(3, 1 << 20)).result()
assert store.get("after") == finished(3, 1 << 20) and store.get("before") == finished(1)
store.close()
"""


def run(script: str, *arguments: object) -> str:
    """What a Python process says on stderr; it must end well."""
    command = [sys.executable, "-c", script, *map(str, arguments)]
    ended = subprocess.run(command, stderr=subprocess.PIPE, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stderr


def test_a_full_disk_keeps_what_is_there_and_is_said_once(tmp_path: Path) -> None:
    said = run(FULL_DISK, tmp_path)
    assert said.count("cannot be read or written") == 1
    assert said.count("results are kept again") == 1


KILLED = """
import os, random, signal, sys, time
from pathlib import Path
from tests.engine.results import Counts, finished
from unitscope.engine.result_store import ResultStore

directory, rng, ended = Path(sys.argv[1]), random.Random(0), time.monotonic() + 60
for round in range(40):
    child = os.fork()
    if child == 0:
        store = ResultStore(directory, 1 << 20, Counts())
        for seed in range(round * 1000, 10**9):
            store.put(str(seed % 64), finished(seed % 64, 1000 * (seed % 64)))
            store.get(str(rng.randrange(64)))
    time.sleep(rng.uniform(0.005, 0.05))
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    assert time.monotonic() < ended
"""


def test_a_process_that_is_killed_while_it_writes_leaves_no_torn_entry(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    counts = Counts()
    run(KILLED, tmp_path)
    with opened(tmp_path, counts=counts) as store:
        found = {seed: store.get(str(seed)) for seed in range(64)}
    kept = {seed: got for seed, got in found.items() if got is not None}
    assert kept == {seed: finished(seed, 1000 * seed) for seed in kept}
    assert len(kept) > 5 and counts.failures == 0 and caplog.text == ""
    with closing(sqlite3.connect(file_of(tmp_path))) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
