"""Sums whose order does not depend on how many rows the batch has."""

from __future__ import annotations

import math

import numpy as np
import onnx

from unitscope.blocked.layout import Layout


def reduction(layout: Layout, node: onnx.NodeProto) -> bool:
    """A sum or mean over the first axes of every row: a product of matrices, or a pool, for each.

    ONNX Runtime adds up one matrix in another order than several, so what a request gets would
    depend on whether others step with it.
    """
    x, out = node.input[0], node.output[0]
    shape, after = layout.shape(x), layout.shape(out)
    axes = layout.constant(node.input[1]) if len(node.input) > 1 else None
    if shape is None or after is None or axes is None or not layout.is_float(x):
        return False
    reduced = sorted(axis % len(shape) for axis in axes.tolist())
    if not reduced or reduced != list(range(1, len(reduced) + 1)):
        return False
    is_mean, count = node.op_type == "ReduceMean", math.prod(shape[axis] for axis in reduced)
    kept = math.prod(shape[len(reduced) + 1 :])
    if kept > 1:
        weights = layout.weight(np.full((1, count), 1 / count if is_mean else 1.0, np.float32))
        found = layout.emit("MatMul", [weights, layout.view(x, (shape[0], count, kept))])
    elif is_mean:
        found = layout.emit("GlobalAveragePool", [layout.view(x, (shape[0], 1, count))])
    else:
        return False
    layout.emit("Reshape", [found, layout.ints(*after)], out=out)
    return True
