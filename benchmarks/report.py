"""Results as tables: what was aimed at, what it is, and what others do; then every model.

python -m benchmarks.report < LINES    # of `make bench`, whole or cut off
"""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from benchmarks.timed import HEAVY, PYTORCH, Result, Timed

_BATCH = 8
_UNKNOWN = "not measured"
_OTHERS = ("onnx-ad", "ORT training")
_COLUMNS = (
    "model", "batch", "forward ms", "gradient ÷ forward", "target", "batch gains",
    "middle ÷ 2 forward", "PyTorch ÷ ours", *(f"{name} ÷ ours" for name in _OTHERS),
    "step ÷ gradient", "load s", "program s",
)  # fmt: skip
Row = tuple[str, ...]


def report(results: Sequence[Result]) -> str:
    """Both tables in Markdown, then what was refused or failed."""
    timed = [Timed(result) for result in results if result["kind"] == "model"]
    alone = {result["kind"]: result for result in results if result["kind"] != "model"}
    goals = [*_speed(timed), *_building(timed, alone), *_batches(timed)]
    parts = [
        _table(("what", "target", "ours", "others"), goals),
        _table(_COLUMNS, [_row(one, batch) for one in timed for batch in one.batches]),
        "\n".join(_remarks(timed, results)),
    ]
    return "\n\n".join(part for part in parts if part)


def _speed(timed: Sequence[Timed]) -> list[Row]:
    heavy = [one for one in timed if one.name in HEAVY]
    light = [one for one in timed if one.name not in HEAVY]
    climbed = [one for one in timed if one.median("Lucent") is not None]
    return [
        _passes("gradient ÷ forward, batch 1 / 8: heavy models", "≤ 1.9", heavy),
        _passes("the same, light models", "≤ 2.3", light),
        (
            "PyTorch's best ÷ gradient, all models, batch 1 and 8",
            "≥ 1.3 on all, ≥ 2 on half",
            _counted(timed),
            _winners(timed),
        ),
        (
            "whole step ÷ gradient",
            "≤ 1.10 resnet50, ≤ 1.25 squeezenet1_1",
            _each(timed, lambda one: one.ratio("step", "gradient")),
            "",
        ),
        (
            "steps per second ÷ Lucent's (in a request of 64 steps, all included)",
            "≥ 6",
            _each(
                climbed,
                lambda one: one.ratio("Lucent", "step"),
                lambda one: one.ratio("Lucent", "request"),
            ),
            _each(climbed, lambda one: 1e3 / (one.median("Lucent") or 0), unit=" a second"),
        ),
        (
            "gradient of a middle layer ÷ 2 passes up to it",
            "≤ 1.10",
            _each(timed, Timed.middle),
            "",
        ),
    ]


def _passes(what: str, target: str, models: Sequence[Timed]) -> Row:
    ours = [
        lambda one, batch=batch: one.ratio("gradient", "forward", batch) for batch in (1, _BATCH)
    ]
    theirs = [lambda one, batch=batch: one.against("forward", batch) for batch in (1, _BATCH)]
    return what, target, _each(models, *ours), f"PyTorch: {_each(models, *theirs)}"


def _building(timed: Sequence[Timed], alone: dict[str, Result]) -> list[Row]:
    built, kept = alone.get("building"), alone.get("memory")
    compiled = [
        f"torch.compile {found['prepare_seconds']:.0f} s"
        for one in timed
        if built and one.name == built["model"] and (found := one.result["peers"].get("compile/1"))
    ]
    return [
        (
            "building a program, resnet50: from the file to the first step; at hand",
            "≤ 2 s; ≤ 50 ms",
            _built(built) if built else _UNKNOWN,
            "".join(compiled),
        ),
        (
            "memory of 20 layers' programs, resnet50, once all have run ÷ weights",
            "≤ 2.2",
            f"{kept['times_weights']:.1f} ({kept['run_mib']:.0f} MiB)" if kept else _UNKNOWN,
            "",
        ),
    ]


def _built(found: Result) -> str:
    parts = "load {load_seconds:.2f}, program {program_seconds:.2f}, step {first_step_seconds:.2f}"
    cold = f"{found['cold_seconds']:.2f} s ({parts.format(**found)})"
    again, step = (f"{1e3 * found[key]:.1f}" for key in ("again_seconds", "step_seconds"))
    return f"{cold}; {again} ms and a step of {step}"


def _batches(timed: Sequence[Timed]) -> list[Row]:
    gains = [lambda one, task=task: one.best_gain(task, _BATCH) for task in ("gradient", "step")]
    theirs = _each(timed, lambda one: _pytorch_gain(one))
    return [
        (
            "8 pictures one by one ÷ in the batches that take least time, gradient / step",
            "≥ 1; ≥ 1.15 where the model allows",
            _each(timed, *gains),
            f"PyTorch: {theirs}",
        ),
        (
            "same bytes: a row alone and among 8; in another process",
            "all",
            f"{_agreeing(timed, f'rows/{_BATCH}')}; {_agreeing(timed, 'runs')}",
            "",
        ),
    ]


def _pytorch_gain(one: Timed) -> float | None:
    alone, together = one.best(), one.best(batch=_BATCH)
    if alone is None or together is None:
        return None
    return _BATCH * (one.median(alone) or 0) / (one.median(together, _BATCH) or 1)


def _agreeing(timed: Sequence[Timed], what: str) -> str:
    asked = [one for one in timed if what in one.result["same_bytes"]]
    not_same = [one.name for one in asked if not one.result["same_bytes"][what]]
    said = f"{len(asked) - len(not_same)} of {len(asked)}"
    return f"{said} (not {', '.join(not_same)})" if not_same else said


def _each(
    models: Iterable[Timed], *figures: Callable[[Timed], float | None], unit: str = ""
) -> str:
    """The figures of every model that has any."""
    found = [(one.name, [figure(one) for figure in figures]) for one in models]
    said = [f"{name} {' / '.join(map(_number, all_of))}" for name, all_of in found if any(all_of)]
    return ", ".join(f"{one}{unit}" for one in said) or _UNKNOWN


def _counted(timed: Sequence[Timed]) -> str:
    found = [
        ratio
        for one in timed
        for batch in one.batches
        if (ratio := one.against("gradient", batch)) is not None
    ]
    if not found:
        return _UNKNOWN
    above = {least: sum(ratio >= least for ratio in found) for least in (1.3, 2)}
    counts = ", ".join(f"≥ {least} on {count} of {len(found)}" for least, count in above.items())
    return f"{min(found):.2f} to {max(found):.2f}; {counts}"


def _winners(timed: Sequence[Timed]) -> str:
    best = Counter(one.best(batch=batch) for one in timed for batch in one.batches)
    return ", ".join(f"{name} best {count} times" for name, count in best.most_common() if name)


def _row(one: Timed, batch: int) -> Row:
    best, first = one.best(batch=batch), batch == 1
    return (
        one.name,
        str(batch),
        f"{one.median('forward', batch):.1f}",
        _number(one.ratio("gradient", "forward", batch)),
        str(one.target),
        "" if first else _number(one.gain("gradient", batch)),
        _number(one.middle()) if first else "",
        f"{_number(one.against('gradient', batch))} ({best})" if best else "",
        *(_peer(one, name) if first else "" for name in _OTHERS),
        _number(one.ratio("step", "gradient", batch)),
        str(one.result["load_seconds"]) if first else "",
        str(one.result["program_seconds"]) if first else "",
    )


def _peer(one: Timed, name: str) -> str:
    if name in one.result["refused"]:
        return "absent" if one.result["refused"][name].startswith("absent") else "refused"
    wrong = ", differs" if one.differs(name) else ""
    return f"{_number(one.ratio(name, 'gradient'))}{wrong}"


def _remarks(timed: Sequence[Timed], results: Sequence[Result]) -> list[str]:
    """A line for each reason, with the models it holds for."""
    whom: dict[str, list[str]] = {}
    for one in timed:
        for peer, reason in one.result["refused"].items():
            whom.setdefault(f"{peer}: {reason}", []).append(one.name)
        for variant in (*PYTORCH, *_OTHERS):
            for batch in one.batches:
                if far := one.differs(variant, batch):
                    whom.setdefault(f"{variant}: another gradient by {far:.1%}", []).append(
                        f"{one.name} (batch {batch})"
                    )
    failed = [f"- {r['what']}: {r['reason']}" for r in results if r["kind"] == "failed"]
    return [f"- {reason} ({', '.join(models)})" for reason, models in whom.items()] + failed


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _table(head: Row, rows: Sequence[Row]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(row)} |" for row in lines)


if __name__ == "__main__":
    print(report([json.loads(line) for line in sys.stdin if line.startswith("{")]))
