"""Weights that are mapped: their content stays, their memory is given back, their file goes."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import ml_dtypes
import numpy as np
import pytest

from unitscope.engine.loading import embedded_model, load_model
from unitscope.engine.mapping import LARGE_BYTES, MappedWeights, let_go
from unitscope.errors import OutOfMemory

LARGE = LARGE_BYTES + 1
CONTENTS: dict[str, np.ndarray] = {
    "small": np.arange(7, dtype=np.float32),
    "bytes": np.arange(LARGE, dtype=np.uint8),
    "floats": np.random.default_rng(0).standard_normal((3, LARGE)).astype(np.float32),
    "halves": np.ones((LARGE, 1), ml_dtypes.bfloat16),
    "turned": np.arange(2 * LARGE, dtype=np.int64).reshape(2, LARGE).T,
}


def mapped_bytes(what: str) -> int:
    """Sums a figure of /proc/self/smaps over the mappings of our nameless files."""
    ours, total = False, 0
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split(" ", 1)[0]:
            ours = "unitscope-" in line or "/#" in line
        elif ours and line.startswith(f"{what}:"):
            total += int(line.split()[1]) << 10
    return total


def test_contents_stay_what_they_are() -> None:
    mapped = MappedWeights(CONTENTS)
    for _ in range(2):
        for name, content in CONTENTS.items():
            assert mapped[name].dtype == content.dtype and mapped[name].shape == content.shape
            assert np.array_equal(mapped[name], content)
        let_go(mapped)
    assert mapped["small"] is CONTENTS["small"]
    assert mapped["floats"].ctypes.data % 64 == 0
    with pytest.raises(ValueError, match="read-only"):
        mapped["floats"][0] = 0


def test_memory_is_given_back_and_the_file_goes_with_the_last_array() -> None:
    before = mapped_bytes("Size")
    mapped = MappedWeights(CONTENTS)
    large = sum(array.nbytes for array in CONTENTS.values() if array.nbytes >= LARGE_BYTES)
    assert mapped_bytes("Size") - before >= large
    assert float(np.sum(mapped["floats"])) == float(np.sum(CONTENTS["floats"]))
    assert mapped_bytes("Rss") >= CONTENTS["floats"].nbytes
    let_go(mapped)
    assert mapped_bytes("Rss") < LARGE_BYTES
    kept = mapped["floats"]
    del mapped
    assert mapped_bytes("Size") > before
    del kept
    assert mapped_bytes("Size") == before


def test_small_weights_are_taken_as_they_are() -> None:
    mapped = MappedWeights({"small": CONTENTS["small"]})
    let_go(mapped)
    let_go(CONTENTS)
    assert list(mapped) == ["small"]


@contextmanager
def small_files() -> Iterator[None]:
    """No file may grow beyond a page, as on a disk that is full; not even that of the results."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_is_named() -> None:
    with (
        pytest.raises(OutOfMemory, match="temporary file of a model's weights"),
        small_files(),
    ):
        MappedWeights(CONTENTS)


def test_a_loaded_model_takes_memory_while_it_is_read() -> None:
    before = mapped_bytes("Rss")
    model = load_model(embedded_model())
    assert mapped_bytes("Rss") - before < LARGE_BYTES
    assert model.subject.model.weights
