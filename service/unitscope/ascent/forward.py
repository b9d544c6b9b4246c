"""The way forward, from the inputs of a row to the activation, as graphs of programs share it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from numpy.typing import DTypeLike

from unitscope.ascent.objectives import OBJECTIVES
from unitscope.ascent.parameterizations import PARAMETERIZATIONS
from unitscope.ascent.preprocessing import emit_preprocessing
from unitscope.ascent.spec import ProgramSpec
from unitscope.ascent.subject import emit_subject, first_rows, fit, port
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lower import emitter_for
from unitscope.graph.target import PROCESSOR, Target
from unitscope.graph.tensors import Tensors


def begin(
    spec: ProgramSpec, count: int | None = None, target: Target = PROCESSOR
) -> tuple[Emitter, list[Value]]:
    """An emitter, and the first `count` of the state's inputs."""
    op = emitter_for(spec.subject.model, target)
    shapes = list(spec.state_shapes.items())[:count]
    return op, [rows_of(op, spec, name, shape) for name, shape in shapes]


def rows_of(
    op: Emitter, spec: ProgramSpec, name: str, shape: Sequence[int], dtype: DTypeLike = np.float32
) -> Value:
    """An input of `shape` for every row, one below the other."""
    rows = [op.graph.add_input(port(name, row), dtype, shape) for row in range(spec.rows)]
    return op.Concat(*rows, axis=0) if len(rows) > 1 else rows[0]


def apart(op: Emitter, spec: ProgramSpec, value: Value, name: str) -> list[Value]:
    """An output for every row of `value`."""
    if spec.rows == 1:
        return [named(op, value, name)]
    sizes = op.const([1] * spec.rows, np.int64)
    rows = op.emit("Split", [value, sizes], {"axis": 0}, outputs=spec.rows)
    return [named(op, one, name, row) for row, one in enumerate(rows)]


def named(op: Emitter, value: Value, name: str, row: int = 0) -> Value:
    """`value` under the name of an output."""
    (output,) = op.emit("Identity", [value], outputs=[port(name, row)])
    return output


def image_of(op: Emitter, spec: ProgramSpec, parameters: Value) -> Value:
    """The images `[N, C, H, W]` of parameters, about in 0..1."""
    prior = {
        name: rows_of(op, spec, name, (1, *shape)) for name, shape in spec.prior_shapes.items()
    }
    return PARAMETERIZATIONS[spec.parameterization].emit(op, parameters, prior, spec.image)


def look(op: Emitter, spec: ProgramSpec, seen: Value) -> Tensors:
    """Show `seen` `[M, C, height, width]` in 0..1 to the model."""
    ready = emit_preprocessing(op, seen, spec.subject.card)
    return emit_subject(op, spec.subject, fit(op, spec.subject, ready))


def tensor_of(op: Emitter, tensors: Tensors, name: str, rows: int) -> Value:
    """The first `rows` of a tensor of the model, in single precision."""
    value = first_rows(op, tensors[name], rows)
    return value if value.dtype == np.float32 else op.Cast(value, to=onnx.TensorProto.FLOAT)


def weights_of(op: Emitter, spec: ProgramSpec) -> list[Value]:
    """The inputs `weights_i` `[N, K]`, one for each term."""
    sizes = [OBJECTIVES[term.objective].size(term.layer) for term in spec.terms]
    return [rows_of(op, spec, f"weights_{index}", (1, size)) for index, size in enumerate(sizes)]


def activation_of(
    op: Emitter, spec: ProgramSpec, tensors: Tensors, weights: Sequence[Value], *, views: int
) -> Value:
    """The sum of the terms `[N]`, the mean over the views of each row."""
    values = []
    for term, row in zip(spec.terms, weights, strict=True):
        activation = tensor_of(op, tensors, term.layer.tensor, spec.rows * views)
        emit = OBJECTIVES[term.objective].emit
        values.append(emit(op, activation, per_view(op, row, views), term.layer))
    total = values[0]
    for value in values[1:]:
        total = op.Add(total, value)
    return over_views(op, total, views)


def over_views(op: Emitter, values: Value, views: int) -> Value:
    """The mean over the views of each row: `[N·V]` → `[N]`."""
    if views == 1:
        return values
    return op.ReduceMean(op.Reshape(values, [-1, views]), [1], keepdims=0)


def per_view(op: Emitter, value: Value, views: int) -> Value:
    """Each row of `value` `[N, …]` once per view: `[N·V, …]`."""
    if views == 1:
        return value
    rows, *shape = (int(dim) for dim in value.shape or ())
    repeated = op.Expand(op.Unsqueeze(value, [1]), [rows, views, *shape])
    return op.Reshape(repeated, [rows * views, *shape])
