"""Every peer that is timed; one more is one more entry."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

_VENV = Path(__file__).resolve().parents[2] / ".venv"


@dataclass(frozen=True, slots=True, kw_only=True)
class Peer:
    """Somebody else's gradient.

    `module`: in this package. `python`: of the environment that has its packages; None: this one.
    `batches`: numbers of pictures it is asked for. `models`: those it is asked for; none: all.
    `whole_steps`: what it does is compared with a step, not a gradient. `limit_seconds`: to prepare
    a model.
    """

    name: str
    module: str
    python: Path | None = None
    batches: tuple[int, ...] = (1,)
    models: tuple[str, ...] = ()
    whole_steps: bool = False
    limit_seconds: float = 120.0


PEERS = (
    Peer(name="PyTorch", module="pytorch", batches=(1, 8)),
    Peer(name="torch.compile", module="compiled", batches=(1, 8), limit_seconds=240.0),
    Peer(name="onnx-ad", module="onnx_ad"),
    Peer(
        name="ORT training",
        module="ort_training",
        python=_VENV / "bench-training" / "bin" / "python",
    ),
    Peer(name="Lucent", module="lucent", models=("resnet50", "squeezenet1_1"), whole_steps=True),
)
