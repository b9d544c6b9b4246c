"""Results as a table: ratios of one run beside their targets."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from typing import Any

_HEAVY = {"resnet50", "vgg16", "inception_v3", "densenet121", "vit_b_16"}
_COLUMNS = ("model", "batch", "forward ms", "gradient ÷ forward", "target", "middle",
            "PyTorch ÷ gradient", "step ÷ gradient", "load s", "program s")  # fmt: skip


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of `results`, one row each."""
    rows = [_COLUMNS, tuple("---" for _ in _COLUMNS), *(_row(result) for result in results)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(result: dict[str, Any]) -> tuple[str, ...]:
    medians = {name: times["median_ms"] for name, times in result["tasks"].items()}
    torch = [value for name, value in medians.items() if name.startswith("torch")]
    return (
        result["model"],
        str(result["batch"]),
        f"{medians['forward']:.1f}",
        f"{medians['gradient'] / medians['forward']:.2f}",
        "1.9" if result["model"] in _HEAVY else "2.3",
        f"{medians['middle_gradient'] / medians['middle_forward']:.2f}",
        f"{min(torch) / medians['gradient']:.2f}" if torch else "",
        f"{medians['step'] / medians['gradient']:.2f}" if "step" in medians else "",
        str(result["load_seconds"]),
        str(result["program_seconds"] or ""),
    )


if __name__ == "__main__":
    print(table([json.loads(line) for line in sys.stdin if line.startswith("{")]))
