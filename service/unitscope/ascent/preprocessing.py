"""From a picture in 0..1 to what the model was trained on, as its card says."""

from __future__ import annotations

import numpy as np

from unitscope.graph.card import Card
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

PICTURE_CHANNELS = {"BGR": "RGB", "BGRA": "RGBA"}
"""Pictures are shown in this order where the model's order differs."""


def picture_channels(card: Card) -> str:
    """The channel order of the picture, one letter each."""
    return PICTURE_CHANNELS.get(card.channels, card.channels)


def emit_preprocessing(op: Emitter, picture: Value, card: Card) -> Value:
    """`(low + picture · (high − low) − mean) / std`, in the model's channel order and layout.

    A product and a sum: a convolution of so few channels takes five times as long.
    """
    order = [picture_channels(card).index(letter) for letter in card.channels]
    if len(set(order)) < len(order):  # channels without names of their own keep their place
        order = list(range(len(order)))
    if order != sorted(order):
        channels = op.emit("Split", [picture, [1] * len(order)], {"axis": 1}, outputs=len(order))
        picture = op.Concat(*(channels[index] for index in order), axis=1)
    std = np.asarray(card.std)
    scale = (card.high - card.low) / std
    shift = (card.low - np.asarray(card.mean)) / std
    scaled = op.Mul(picture, op.const(scale[:, None, None], np.float32))
    ready = op.Add(scaled, op.const(shift[:, None, None], np.float32))
    return op.Transpose(ready, perm=[0, 2, 3, 1]) if card.layout == "NHWC" else ready
