"""The emitter: shapes, folding, broadcasting, refusals."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph, Shape, Value


def emitter(*shapes: Shape) -> tuple[Emitter, list[Value]]:
    op = Emitter(Graph(18))
    return op, [op.graph.add_input(f"x{i}", np.float32, shape) for i, shape in enumerate(shapes)]


def run(value: Value, op: Emitter, *inputs: np.ndarray) -> np.ndarray:
    session = ort.InferenceSession(op.graph.to_model([value]).SerializeToString())
    names = [item.name for item in session.get_inputs()]
    return np.asarray(session.run(None, dict(zip(names, inputs, strict=True)))[0])


def test_shapes_are_inferred_and_constants_folded() -> None:
    op, (x,) = emitter((2, 3, 8, 8))
    pooled = op.GlobalAveragePool(x)
    target = op.Concat(op.Shape(pooled, start=0, end=1), [-1], axis=0)
    assert target.const is not None and target.const.tolist() == [2, -1]
    assert op.Reshape(pooled, target).shape == (2, 3)
    assert [node.op_type for node in op.graph.nodes] == ["GlobalAveragePool", "Reshape"]


def test_floats_take_the_type_of_the_tensor_they_meet() -> None:
    op = Emitter(Graph(18))
    x = op.graph.add_input("x", np.float64, (2,))
    assert op.Mul(x, 0.5).dtype == np.float64


@pytest.mark.parametrize(
    ("wide", "narrow"),
    [((2, 3, 4), (3, 1)), ((2, 3, 4), (1, 1, 4)), ((2, 3, 4), ()), ((5, 3, 4), (1, 3, 4))],
)
def test_sum_to_undoes_broadcasting(wide: tuple[int, ...], narrow: tuple[int, ...]) -> None:
    content = np.random.default_rng(0).standard_normal(wide).astype(np.float32)
    expected = content.sum(
        axis=tuple(
            i for i in range(len(wide)) if i < len(wide) - len(narrow) or narrow[i - len(wide)] == 1
        )
    ).reshape(narrow)
    op, (x, like) = emitter(wide, narrow)
    np.testing.assert_allclose(
        run(op.sum_to(x, like), op, content, np.zeros(narrow, np.float32)), expected, rtol=1e-5
    )
    open_wide: Shape = tuple(f"w{i}" for i in range(len(wide)))
    op, (x, like) = emitter(open_wide, tuple(f"n{i}" for i in range(len(narrow))))
    np.testing.assert_allclose(
        run(op.sum_to(x, like), op, content, np.zeros(narrow, np.float32)), expected, rtol=1e-5
    )


def test_operands_that_do_not_fit_are_refused_by_name() -> None:
    op, (a, b) = emitter((2, 3), (4, 5))
    with pytest.raises(ModelRejected, match=r"'product' \(MatMul\)") as caught:
        op.emit("MatMul", [a, b], name="product")
    assert (caught.value.node, caught.value.operator) == ("product", "MatMul")


def test_names_are_never_given_twice() -> None:
    graph = Graph(18)
    graph.reserve(["relu_1"])
    assert graph.fresh_name("relu") != "relu_1"
    graph.add_input("x", np.float32, (1,))
    with pytest.raises(ValueError, match="'x'"):
        graph.add_input("x", np.float32, (1,))
