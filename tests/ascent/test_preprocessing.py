"""Pictures reach the model as its card says."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.preprocessing import emit_preprocessing, picture_channels
from unitscope.graph.card import Card
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

CARD = Card(
    layout="NCHW", channels="RGB", height_px=4, width_px=5, low=0.0, high=255.0,
    mean=(1.0, 2.0, 3.0), std=(1.0, 2.0, 4.0),
)  # fmt: skip


def prepared(card: Card, picture: np.ndarray) -> np.ndarray:
    op = Emitter(Graph(18))
    given = op.graph.add_input("picture", np.float32, (1, *picture.shape))
    session = ort.InferenceSession(
        op.graph.to_model([emit_preprocessing(op, given, card)]).SerializeToString()
    )
    return np.asarray(session.run(None, {"picture": picture[None]})[0][0])


@pytest.mark.parametrize("layout", ["NCHW", "NHWC"])
@pytest.mark.parametrize("channels", ["RGB", "BGR"])
def test_range_mean_order_and_layout(layout: str, channels: str) -> None:
    card = replace(CARD, layout=layout, channels=channels)
    picture = np.random.default_rng(0).random((3, 4, 5), np.float32)
    ordered = picture[::-1] if channels == "BGR" else picture
    expected = (ordered * 255 - np.reshape(card.mean, (3, 1, 1))) / np.reshape(card.std, (3, 1, 1))
    expected = np.moveaxis(expected, 0, -1) if layout == "NHWC" else expected
    np.testing.assert_allclose(prepared(card, picture), expected, rtol=1e-5, atol=1e-4)
    assert picture_channels(card) == "RGB"


@pytest.mark.parametrize("count", [1, 2, 13])
def test_channels_without_colour_keep_their_place(count: int) -> None:
    card = replace(CARD, channels="X" * count, high=1.0, mean=(0.0,) * count, std=(1.0,) * count)
    picture = np.random.default_rng(0).random((count, 4, 5), np.float32)
    np.testing.assert_allclose(prepared(card, picture), picture, atol=1e-6)
