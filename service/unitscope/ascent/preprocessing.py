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

    One 1×1 convolution: scaling, shifting and reordering channels are all linear.
    """
    order = [picture_channels(card).index(letter) for letter in card.channels]
    if len(set(order)) < len(order):  # channels without names of their own keep their place
        order = list(range(len(order)))
    std = np.asarray(card.std)
    kernel = np.eye(len(order))[order] * ((card.high - card.low) / std)[:, None]
    bias = (card.low - np.asarray(card.mean)) / std
    ready = op.Conv(
        picture,
        op.const(kernel[:, :, None, None], np.float32),
        op.const(bias, np.float32),
    )
    return op.Transpose(ready, perm=[0, 2, 3, 1]) if card.layout == "NHWC" else ready
