"""Every rule against mathematics, on ONNX's own node cases.

Each matches central differences, or is refused by name: `verdicts.py` says how that is told, and
`docs/operators.md` which are.
"""

from __future__ import annotations

import onnx
import pytest

from scripts.operators_table import DOCUMENT, document
from tests.autodiff.cases import Case, cases
from tests.autodiff.verdicts import judge
from unitscope.autodiff.rules import RULES


@pytest.mark.parametrize("case", cases(), ids=lambda case: case.id)
def test_gradient(case: Case) -> None:
    judge(case)


def test_the_table_in_the_documentation_says_so() -> None:
    written = DOCUMENT.read_text(encoding="utf-8")
    if f"onnx\n{onnx.__version__})" not in written:
        pytest.skip("another version of ONNX has other cases")
    assert written == document(), "run make operators"


def test_every_rule_has_a_case() -> None:
    assert set(RULES) - {case.operator for case in cases()} == set()
