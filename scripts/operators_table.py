"""Write `docs/operators.md`: what becomes of ONNX's node cases, operator by operator.

Run by `make operators`; the test suite, which judges the same cases, compares.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import onnx

from tests.autodiff.cases import APART, Case, cases
from tests.autodiff.verdicts import Verdict, judge
from unitscope.autodiff.rules import RULES
from unitscope.graph.lowerings import LOWERINGS

DOCUMENT = Path(__file__).resolve().parent.parent / "docs" / "operators.md"

TEXT = """\
# Operators

What becomes of ONNX's own test cases of single nodes (`onnx.backend.test.case.node`, onnx
{version}) that take floats and return floats. A case *matches* if the gradient with respect to each
of its float inputs agrees with central differences of the node, both by ONNX's reference evaluator
in float64, and the same gradient in float32 on ONNX Runtime with it, also where sizes are open. A
case is *refused* if for one of its inputs a sentence names the operator and what it lacks. No case
has another outcome: the test suite fails on it. `make operators` writes this page.

**{match} of {differentiable} cases match, {percent:.1f} %; {refused} are refused.** Of {zero} more
the derivative is zero wherever there is one, which a refusal says too.

How a gradient is had: by a *rule* for the operator; from *others* in which it is said; from the
*body* that ONNX defines for it; or it is *zero*. Last column: what is refused (in brackets for how
many inputs of cases), and after *open* what is refused only where sizes are open.

| operator | by | match | refused | |
|---|---|---:|---:|---|
{rows}

Not counted: {apart}; operators of other domains; sequences. Statistics that a rule's operator
returns besides its result, and inputs that only say how large something is (the scales of Resize,
the depth of OneHot), are not differentiated. † ONNX has no case with floats: the project's own.
"""


@dataclass
class Row:
    """What is known of one operator."""

    outcomes: Counter[str] = field(default_factory=Counter)
    refusals: Counter[str] = field(default_factory=Counter)
    open: set[str] = field(default_factory=set)
    own: bool = False


def main() -> None:
    """Judge all cases, which takes minutes, and write the page."""
    DOCUMENT.write_text(document(), encoding="utf-8")


def document() -> str:
    """The page."""
    rows = _rows()
    total = sum((row.outcomes for row in rows.values() if not row.own), Counter[str]())
    return TEXT.format(
        version=onnx.__version__,
        match=total["match"],
        differentiable=total["match"] + total["refused"],
        percent=100 * total["match"] / (total["match"] + total["refused"]),
        refused=total["refused"],
        zero=total["zero"],
        rows="\n".join(_line(operator, row) for operator, row in sorted(rows.items())),
        apart="; ".join(f"{operator} ({why})" for operator, why in APART.items()),
    )


def _rows() -> dict[str, Row]:
    """By operator; a case counts once, whichever of its inputs is differentiated."""
    inputs: dict[str, list[tuple[Case, Verdict]]] = defaultdict(list)
    for case in cases():
        inputs[case.name].append((case, judge(case)))
    rows: dict[str, Row] = defaultdict(Row)
    for judged in inputs.values():
        case = judged[0][0]
        row, verdicts = rows[case.operator], [verdict for _, verdict in judged]
        row.own = case.is_own
        row.outcomes[_outcome(verdicts)] += 1
        row.refusals.update(verdict.refused for verdict in verdicts if verdict.refused)
        row.open.update(why for verdict in verdicts for why in verdict.open)
    return rows


def _outcome(verdicts: Sequence[Verdict]) -> str:
    if any(verdict.refused for verdict in verdicts):
        return "refused"
    return "zero" if all(verdict.zero for verdict in verdicts) else "match"


def _line(operator: str, row: Row) -> str:
    refused = [f"{why} ({count})" for why, count in sorted(row.refusals.items())]
    opened = [f"*open:* {'; '.join(sorted(row.open))}"] if row.open else []
    said = "; ".join([*refused, *opened]).replace("|", "\\|")
    name = f"{operator} †" if row.own else operator
    counts = f"{row.outcomes['match']} | {row.outcomes['refused']}"
    return f"| {name} | {_by(operator, row)} | {counts} | {said} |"


def _by(operator: str, row: Row) -> str:
    """Where the gradient of an operator comes from."""
    if RULES.is_zero(operator):
        return "zero"
    if operator in RULES:
        return "rule"
    if LOWERINGS.find("", operator) is not None:
        return "others"
    return "body" if row.outcomes["match"] else ""


if __name__ == "__main__":
    main()
