"""Every rule against mathematics, on ONNX's own node cases.

Each matches central differences, or is refused by name: `verdicts.py` says how that is told, and
`docs/operators.md` which are.
"""

from __future__ import annotations

import pytest

from tests.autodiff.cases import Case, cases
from tests.autodiff.verdicts import judge
from unitscope.autodiff.rules import RULES


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_gradient(case: Case) -> None:
    judge(case)


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {case.operator for case in cases()} == set()
