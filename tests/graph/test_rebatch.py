"""Models exported for one row, run on several."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper

from tests.graph.test_lower import outputs
from tests.models import SIZE, model_of
from unitscope.ascent.subject import shapes_at_one
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.model import load

ROWS = 3
WIDTH = 4
TOKENS = SIZE * SIZE
Nodes = list[onnx.NodeProto]
Weights = dict[str, np.ndarray]
RNG = np.random.default_rng(0)
FRONT = [
    helper.make_node("Conv", ["image", "kernel"], ["maps"]),
    helper.make_node("Reshape", ["maps", "flat"], ["columns"]),
    helper.make_node("Transpose", ["columns"], ["tokens"], perm=[0, 2, 1]),
]
FRONT_WEIGHTS: Weights = {
    "kernel": RNG.standard_normal((WIDTH, 3, 1, 1)).astype(np.float32),
    "flat": np.array([1, WIDTH, TOKENS]),
}


def class_token() -> tuple[Nodes, Weights]:
    """A constant row in front of the tokens, as vision transformers have it."""
    nodes = [
        helper.make_node("Expand", ["token", "once"], ["class"]),
        helper.make_node("Concat", ["class", "tokens"], ["joined"], axis=1),
        helper.make_node("ReduceMean", ["joined"], ["mixed"], axes=[1], keepdims=0),
        helper.make_node("Relu", ["mixed"], ["output"]),
    ]
    token = RNG.standard_normal((1, 1, WIDTH)).astype(np.float32)
    return nodes, {"token": token, "once": np.array([1, 1, WIDTH])}


def heads_after_tokens() -> tuple[Nodes, Weights]:
    """PyTorch's attention: `[T, B, D]`, then `[T, B · heads, D / heads]`."""
    nodes = [
        helper.make_node("Transpose", ["tokens"], ["first"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["first", "split"], ["heads"]),
        helper.make_node("Transpose", ["heads"], ["batched"], perm=[1, 0, 2]),
        helper.make_node("Transpose", ["batched"], ["turned"], perm=[0, 2, 1]),
        helper.make_node("MatMul", ["batched", "turned"], ["scores"]),
        helper.make_node("MatMul", ["scores", "batched"], ["attended"]),
        helper.make_node("Transpose", ["attended"], ["back"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["back", "merged"], ["rows"]),
        helper.make_node("Transpose", ["rows"], ["output"], perm=[1, 0, 2]),
    ]
    return nodes, {
        "split": np.array([TOKENS, 2, WIDTH // 2]),
        "merged": np.array([TOKENS, 1, WIDTH]),
    }


def rows_after_tokens(first: int) -> tuple[Nodes, Weights]:
    """PyTorch's projections: `[T, B, D]` as a matrix `[T · B, D]` and back."""
    nodes = [
        helper.make_node("Transpose", ["tokens"], ["first"], perm=[1, 0, 2]),
        helper.make_node("Reshape", ["first", "matrix"], ["rows"]),
        helper.make_node("Gemm", ["rows", "weight"], ["projected"]),
        helper.make_node("Reshape", ["projected", "apart"], ["moments"]),
        helper.make_node("Transpose", ["moments"], ["output"], perm=[1, 0, 2]),
    ]
    return nodes, {
        "matrix": np.array([first, WIDTH]),
        "weight": RNG.standard_normal((WIDTH, WIDTH)).astype(np.float32),
        "apart": np.array([TOKENS, 1, WIDTH]),
    }


def written_out() -> tuple[Nodes, Weights]:
    return rows_after_tokens(TOKENS)


def left_open() -> tuple[Nodes, Weights]:
    return rows_after_tokens(-1)


def windows() -> tuple[Nodes, Weights]:
    """Swin's windows, merged into the batch axis and out of it again."""
    nodes = [
        helper.make_node("Reshape", ["tokens", "window"], ["windows"]),
        helper.make_node("Softmax", ["windows"], ["inside"], axis=1),
        helper.make_node("Reshape", ["inside", "whole"], ["output"]),
    ]
    return nodes, {"window": np.array([4, -1, WIDTH]), "whole": np.array([1, TOKENS, WIDTH])}


def grown() -> tuple[Nodes, Weights]:
    """Resize to sizes that count the batch."""
    nodes = [helper.make_node("Resize", ["maps", "", "", "sizes"], ["output"], mode="nearest")]
    return nodes, {"sizes": np.array([1, WIDTH, 2 * SIZE, 2 * SIZE])}


def expanded() -> tuple[Nodes, Weights]:
    """A mean spread again over its row."""
    nodes = [
        helper.make_node("ReduceMean", ["tokens"], ["mean"], axes=[1]),
        helper.make_node("Expand", ["mean", "wide"], ["spread"]),
        helper.make_node("Sub", ["tokens", "spread"], ["output"]),
    ]
    return nodes, {"wide": np.array([1, TOKENS, WIDTH])}


@pytest.mark.parametrize(
    "parts", [class_token, heads_after_tokens, written_out, left_open, windows, grown, expanded]
)
def test_rows_give_what_they_give_alone(parts: Callable[[], tuple[Nodes, Weights]]) -> None:
    nodes, weights = parts()
    used = [*FRONT[:1], *nodes] if parts is grown else [*FRONT, *nodes]
    proto = model_of(used, FRONT_WEIGHTS | weights, image=(1, 3, SIZE, SIZE), output=("a",))
    model = load(proto)
    alone = emitter_for(model)
    image = alone.graph.add_input("image", np.float32, (1, 3, SIZE, SIZE))
    shapes = shapes_at_one(lower(alone, model, {"image": image}, keep=lambda _: True))
    wide = emitter_for(model)
    image = wide.graph.add_input("image", np.float32, (ROWS, 3, SIZE, SIZE))
    tensors = lower(wide, model, {"image": image}, keep=lambda _: True, shapes=shapes)
    pictures = np.random.default_rng(1).random((ROWS, 3, SIZE, SIZE), np.float32)
    session = ort.InferenceSession(wide.graph.to_model([tensors["output"]]).SerializeToString())
    (together,) = session.run(None, {"image": pictures})
    single = np.concatenate([outputs(proto, picture[None]) for picture in pictures])
    np.testing.assert_allclose(together, single, rtol=1e-4, atol=1e-5)
