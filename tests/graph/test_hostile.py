"""Hostile files: each is used or refused in a sentence, soon, in little memory, by a live process.

A child process tries one case after another under a limit of memory; a case that takes longer
than ten seconds ends it.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.graph.hostile.bombs import BOMBS
from tests.graph.hostile.cases import BY_HAND, CASES
from tests.graph.hostile.elsewhere import ELSEWHERE, of_a_branch, of_a_function
from unitscope.errors import ModelRejected
from unitscope.graph.model import load

PEAK_MIB = 3000
PORTIONS = 4


def outcomes(first: int, last: int) -> dict[str, dict[str, Any]]:
    """What came of the cases, by number and name; fails where one does not end well."""
    command = [sys.executable, "-m", "tests.graph.hostile.trial", str(first), str(last)]
    child = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [json.loads(line) for line in child.stdout.splitlines()]
    names = [f"{line['number']} {line['name']}" for line in lines[::2]]
    assert child.returncode == 0, f"died of {names[-1:]}: {child.stderr[-2000:]}"
    ended = dict(zip(names, lines[1::2], strict=True))
    faults = [f"{name}: {end['fault']}" for name, end in ended.items() if end["fault"]]
    assert len(ended) == last - first and not faults, "\n".join(faults)
    assert max(end["peak_mib"] for end in ended.values()) < PEAK_MIB
    return ended


def test_files_made_by_hand() -> None:
    ended = outcomes(0, len(BY_HAND))
    refusals = {name.split(" ", 1)[1]: end["refusal"] for name, end in ended.items()}
    for make, sentence in BOMBS.items():
        refusal = refusals[make.__name__]
        assert re.search(sentence, refusal) if sentence else not refusal, make.__name__
    for prepare in ELSEWHERE:
        for place in ("weight", "branch", "function"):
            assert "tensor" in refusals[f"{prepare.__name__} of_a_{place}"]


@pytest.mark.parametrize("portion", range(PORTIONS))
def test_mutations(portion: int) -> None:
    size = (len(CASES) - len(BY_HAND)) // PORTIONS
    first = len(BY_HAND) + portion * size
    ended = outcomes(first, first + size)
    refused = [end for end in ended.values() if end["refusal"]]
    assert len(ended) / 2 < len(refused) < len(ended)


@pytest.mark.parametrize("place", [of_a_branch, of_a_function])
def test_weights_are_not_taken_from_the_working_directory(
    place: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "weights").write_bytes(bytes(432))
    model = place(lambda _: {"location": "weights"}, tmp_path)
    path = tmp_path / "models" / "model.onnx"
    path.write_bytes(model.SerializeToString())
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelRejected, match="cannot read the tensor"):
        load(path)
