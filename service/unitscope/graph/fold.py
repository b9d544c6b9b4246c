"""A normalization with fixed statistics goes into the kernel of the convolution before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value


def folded(
    op: Emitter, inputs: Sequence[Value | None], attributes: Mapping[str, Any], name: str
) -> Value | None:
    """The convolution, its result called `name`, that gives what a BatchNormalization of `inputs`
    gives, if there is one.

    The convolution without it stays for those who look at it; otherwise nobody needs it.
    """
    x, *statistics = inputs
    node = next((node for node in reversed(op.graph.nodes) if node.outputs[0] is x), None)
    if node is None or node.op_type != "Conv" or attributes.get("training_mode", 0):
        return None
    image, *weights = node.inputs
    constants = [value.const if value is not None else None for value in (*weights, *statistics)]
    if any(content is None for content in constants):
        return None
    kernel, *bias, scale, shift, mean, variance = (np.asarray(c) for c in constants)
    spread = variance + attributes.get("epsilon", 1e-5)
    one_each = all(x.shape == kernel.shape[:1] for x in (scale, shift, mean, variance))
    if not one_each or np.any(spread <= 0):
        return None
    factor = scale / np.sqrt(spread)
    offset = (bias[0] if bias else 0) - mean
    scaled = kernel * factor.reshape(-1, *[1] * (kernel.ndim - 1))
    shifted = offset * factor + shift
    operands = [image, scaled.astype(kernel.dtype), shifted.astype(kernel.dtype)]
    return op.emit("Conv", operands, node.attributes, outputs=[name])[0]
