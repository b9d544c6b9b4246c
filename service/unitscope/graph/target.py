"""What will run a graph, as far as it decides in which form operators are emitted.

Execution providers differ here and nowhere else. What suits all of them needs no entry; what is
done to a finished graph for one of them alone (ONNX Runtime's blocked layout) is done when it is
compiled.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """`even_pads`: a transposed convolution is padded alike on both sides of an axis; with other
    pads CUDA's execution provider leaves it to the processor. `half`: a model and the way back
    through it are computed in float16, see `HalfEmitter`; CUDA has kernels for that.
    """

    even_pads: bool = False
    half: bool = False


PROCESSOR = Target()
"""Any processor, and files that others will run."""
