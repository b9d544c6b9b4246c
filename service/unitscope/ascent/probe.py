"""A layer and its gradient by the picture, on their own: what is proven and measured of a model."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.ascent.subject import Subject, emit_subject, first_rows, fit, port
from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import active_values, differentiate
from unitscope.graph.ir import Node, Parts, Value, needed
from unitscope.graph.lower import emitter_for
from unitscope.graph.target import PROCESSOR, Target


@dataclass(frozen=True, slots=True)
class Probe:
    """The graphs of one layer for N pictures.

    `forward`: `picture` `[N, C, H, W]` in 0..1 → what the model is fed, and the layer.
    `gradient`: `picture`, `cotangent` (as the layer) → the layer and the gradient by the picture.
    `path`: the nodes that the gradient goes through. `emitted_count`: nodes that the layer is
    computed with.
    """

    forward: Parts
    gradient: Parts
    layer_shape: tuple[int, ...]
    layer_type: np.dtype[Any]
    path: tuple[Node, ...]
    emitted_count: int

    @property
    def path_length(self) -> int:
        """The nodes on the longest way from the picture to the layer."""
        depth: dict[Value | None, int] = {}
        for node in self.path:
            reached = 1 + max((depth.get(x, 0) for x in node.inputs), default=0)
            depth.update(dict.fromkeys(node.outputs, reached))
        return max(depth.values(), default=0)


def build_probe(subject: Subject, tensor: str, rows: int = 1, target: Target = PROCESSOR) -> Probe:
    """The graphs for the layer `tensor` and `rows` pictures.

    Raises ModelRejected where the layer has no gradient.
    """
    op = emitter_for(subject.model, target)
    card = subject.card
    shape = (rows, len(card.channels), card.height_px, card.width_px)
    picture = op.graph.add_input(port("picture"), np.float32, shape)
    fed = fit(op, subject, emit_preprocessing(op, picture, card))
    begun = len(op.graph.nodes)
    layer = first_rows(op, emit_subject(op, subject, fed)[tensor], rows)
    nodes = list(op.graph.nodes)
    cotangent = op.graph.add_input(port("cotangent"), layer.dtype, layer.shape or ())
    gradient = differentiate(op, output=layer, wrt=picture, cotangent=cotangent, rules=RULES)
    active = active_values(nodes, picture, RULES)
    used = needed(nodes[begun:], [layer])
    return Probe(
        forward=op.graph.to_parts([fed, layer], inputs=[picture]),
        gradient=op.graph.to_parts([layer, gradient]),
        layer_shape=layer.static_shape or (),
        layer_type=layer.dtype,
        path=tuple(node for node in used if any(y in active for y in node.outputs)),
        emitted_count=len(used),
    )
