"""onnx-ad: its gradient graph, run by the same ONNX Runtime.

It refuses files with an open batch, so it is given folded ones.
"""

from __future__ import annotations

import importlib
from typing import Any

from benchmarks.peers.case import Case, Tasks
from benchmarks.peers.folding import folded, session_of

onnx_ad: Any = importlib.import_module("onnx_ad")

DISTRIBUTION = "onnx-ad"


def prepare(case: Case) -> Tasks:
    """One direction, which it has as the last axis of its seeds and gradients."""
    model = folded(case.path, len(case.pictures))
    reverse = onnx_ad.reverse(model, layout="onnx")
    session = session_of(reverse.SerializeToString(), case.threads)
    fed = zip(session.get_inputs(), (case.pictures, case.cotangent[..., None]), strict=True)
    inputs = {declared.name: array for declared, array in fed}
    gradient = session.get_outputs()[-1].name
    return {"onnx-ad": lambda: session.run([gradient], inputs)[0]}
