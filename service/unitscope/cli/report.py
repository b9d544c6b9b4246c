"""A checkup for people to read."""

from __future__ import annotations

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from unitscope.engine.checkup import Checkup
from unitscope.engine.preprocessing_check import PreprocessingCheck

_MIB = 2**20
_MOST_REFUSALS = 3


def print_checkup(checkup: Checkup, out: Console) -> None:
    """One line for each thing that was found, the verdict last."""
    table = Table(show_header=False, box=None)
    for name, text in _rows(checkup):
        table.add_row(f"[bold]{name}[/]", escape(text))
    out.print(table)
    if checkup.preprocessing.candidates:
        out.print(_candidates(checkup.preprocessing))
    for remark in checkup.preprocessing.remarks:
        out.print(f"[yellow]note:[/] {escape(remark)}", highlight=False)
    colour = "green" if checkup.verdict == "proven" else "red"
    out.print(f"[{colour}]{checkup.verdict}[/]")


def _rows(checkup: Checkup) -> list[tuple[str, str]]:
    proof = checkup.gradient
    error = checkup.forward_error
    return [
        ("model", f"{checkup.model}, opset {checkup.opset}, sha256 {checkup.sha256[:12]}…"),
        ("layer", f"{checkup.layer} (tensor {checkup.tensor}), {checkup.unit_count} units"),
        ("layers", _layers(checkup)),
        (
            "forward",
            f"differs from the file by {error:.1e} of the largest value"
            if error is not None
            else f"not compared: {checkup.forward_note}",
        ),
        (
            "gradient",
            f"{proof.agreeing} of {proof.attempts} central differences agree, "
            f"median error {proof.median_error:.1e}"
            + (f", {proof.zero} without any gradient" if proof.zero else ""),
        ),
        (
            "graph",
            f"{checkup.file_nodes} nodes in the file, {checkup.emitted_nodes} after lowering, "
            f"{checkup.path_length} on the longest way to the layer",
        ),
        ("operators", ", ".join(f"{name} {n}" for name, n in checkup.operators.items())),
        (
            "memory",
            f"weights {checkup.weights_bytes / _MIB:.1f} MiB, "
            f"activations {checkup.activations_bytes / _MIB:.1f} MiB for one picture",
        ),
        ("rows", "share a run" if checkup.batchable else "one by one"),
        ("preprocessing", _preprocessing(checkup.preprocessing)),
    ]


def _layers(checkup: Checkup) -> str:
    reasons = "".join(f"; {reason}" for reason in checkup.refusals[:_MOST_REFUSALS])
    return f"{checkup.climbable_count} of {checkup.layer_count} can be climbed{reasons}"


def _preprocessing(check: PreprocessingCheck) -> str:
    said = "stated" if check.stated else "inferred"
    own = "; the model normalizes by itself" if check.own_scale else ""
    factor = check.first_layer_factor
    seen = f"; first layer at {factor:.2g} of its training" if factor is not None else ""
    return f"{check.preprocessing} ({said}){own}{seen}"


def _candidates(check: PreprocessingCheck) -> Table:
    table = Table("preprocessing", "top 1", "top 5", "confidence", box=None)
    for candidate in check.candidates:
        shares = [
            "" if share is None else f"{share:.0%}" for share in (candidate.top1, candidate.top5)
        ]
        table.add_row(candidate.preprocessing, *shares, f"{candidate.confidence:.2f}")
    return table
