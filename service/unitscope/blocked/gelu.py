"""GELU there and back from one normal distribution."""

from __future__ import annotations

import math

import numpy as np
import onnx

from unitscope.blocked.layout import Layout, attributes_of

_ROOT_OF_HALF = float(np.float32(math.sqrt(0.5)))


def gelu(layout: Layout, node: onnx.NodeProto) -> bool:
    """x · Φ(x), where the way back has Φ(x) = ½ + ½ erf(x / √2) already."""
    x, steps = node.input[0], [y for y in layout.nodes if y.op_type == "HardSigmoid"]
    shared = [y for y in steps if _is_distribution_of(layout, y, x)]
    if not shared or attributes_of(node).get("approximate", "none") != "none":
        return False
    layout.emit("Mul", [x, shared[0].output[0]], out=node.output[0])
    return True


def _is_distribution_of(layout: Layout, node: onnx.NodeProto, x: str) -> bool:
    erf = layout.producer(node.input[0])
    scaled = layout.producer(erf.input[0]) if erf is not None and erf.op_type == "Erf" else None
    slope = attributes_of(node)
    if slope["alpha"] != 0.5 or slope["beta"] != 0.5 or scaled is None or scaled.op_type != "Mul":
        return False
    factor = layout.constant(scaled.input[1])
    is_root = factor is not None and factor.size == 1 and factor.item() == _ROOT_OF_HALF
    return is_root and scaled.input[0] == x
