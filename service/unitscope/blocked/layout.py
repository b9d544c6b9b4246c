"""A graph on its way into the blocked layout: its nodes, its weights, and who has a twin.

The twin of a plain tensor `[N, C, H, W]` lies in memory as `[N, C/block, H, W, block]`, channels
filled up to a multiple of the block. ONNX Runtime gives it the shape `[N, C, H, W]`, so what does
not look beyond one element runs on it as it is, and what looks along H and W through a view.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper

from unitscope.blocked.shapes import NCHWC, Shape, Shapes

__all__ = ["NCHWC", "STEP", "Layout", "Shape", "attributes_of"]

STEP = {"alpha": float(np.float32(3.0e38)), "beta": 0.0}
"""A HardSigmoid so steep is a step: 0 up to 0, 1 above."""

_COMPARED_ELEMENTS = 4096
"""Weights up to here are kept once: kernels that pick a tap come again and again."""

_REORDERED = 4
"""ReorderInput takes channels in multiples of it, and fills up the last block with zeros."""


class Layout:
    """What the rules read and emit."""

    def __init__(
        self,
        model: onnx.ModelProto,
        weights: Mapping[str, np.ndarray],
        block: int,
    ) -> None:
        """`weights`: those initializers that are not in the model.

        Of blocked tensors, `sums` has those that add up two of one shape, `vanishing` those that
        are 0 where another one is, `masking` those that the model makes masks of.
        """
        self.block = block
        self.nodes: list[onnx.NodeProto] = []
        self.new_weights: dict[str, np.ndarray] = {}
        self.sums: set[str] = set()
        self.vanishing: dict[str, str] = {}
        steps = (self.steps_of(node) for node in model.graph.node)
        self.masking = {name for name in steps if name is not None}
        self._weights = weights
        self._small = {tensor.name: tensor for tensor in model.graph.initializer}
        self._twins: dict[str, str] = {}
        self._producers: dict[str, onnx.NodeProto] = {}
        self._shapes = Shapes(model, block, self._producers)
        self._known: dict[object, str] = {}

    def constant(self, name: str) -> np.ndarray | None:
        """The content of an initializer."""
        if name in self.new_weights or name in self._weights:
            return self.new_weights.get(name, self._weights.get(name))
        tensor = self._small.get(name)
        return None if tensor is None else numpy_helper.to_array(tensor)

    def shape(self, name: str) -> Shape | None:
        """The shape of a tensor, None where it is not known."""
        return self._shapes.of(name)

    def is_float(self, name: str) -> bool:
        """Whether a tensor is known to be of float32."""
        return self._shapes.is_float(name)

    def producer(self, name: str) -> onnx.NodeProto | None:
        """The node that computes `name`."""
        return self._producers.get(name)

    def twin(self, name: str) -> str | None:
        """The blocked twin of a plain tensor, None where it has none."""
        if name in self._twins:
            return self._twins[name]
        shape = self.shape(name)
        lies_alike = shape is not None and len(shape) == 4 and shape[2:] == (1, 1)
        return name if lies_alike and shape and shape[1] % self.block == 0 else None

    def enter(self, name: str) -> str | None:
        """The twin of a plain tensor, made if need be; None where its channels do not allow it."""
        shape = self.shape(name)
        if self.twin(name) is None and shape and len(shape) == 4 and shape[1] % _REORDERED == 0:
            self._twins[name] = self.emit("ReorderInput", [name], domain=NCHWC)
        return self.twin(name)

    def is_paired(self, name: str) -> bool:
        """Whether a plain tensor has a twin that is not itself."""
        return name in self._twins

    def pair(self, plain: str, twin: str) -> None:
        """Say that `twin` is the blocked form of `plain`."""
        self._twins[plain] = twin

    def filled(self, channels: int) -> int:
        """`channels` filled up to whole blocks."""
        return math.ceil(channels / self.block) * self.block

    def meet(self, node: onnx.NodeProto) -> None:
        """Know what `node` computes."""
        self._producers.update(dict.fromkeys(node.output, node))

    def keep(self, node: onnx.NodeProto) -> None:
        """Take `node` over."""
        self.nodes.append(node)
        self.meet(node)

    def emit(
        self,
        op_type: str,
        inputs: Sequence[str],
        *,
        domain: str = "",
        out: str = "",
        **attributes: Any,
    ) -> str:
        """A new node with one output, its name."""
        name = out or f"blocked/{op_type}_{len(self.nodes)}"
        self.keep(helper.make_node(op_type, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def step(self, x: str) -> str:
        """1 where x is above 0, else 0."""
        return self.emit("HardSigmoid", [x], alpha=STEP["alpha"], beta=STEP["beta"])

    def steps_of(self, node: onnx.NodeProto | None) -> str | None:
        """The tensor that `node` is the `step` of."""
        is_step = node is not None and node.op_type == "HardSigmoid" and attributes_of(node) == STEP
        return node.input[0] if node is not None and is_step else None

    def add(self, one: str, other: str) -> str:
        """The sum of two blocked tensors of one shape."""
        total = self.emit("Add", [one, other])
        self.sums.add(total)
        return total

    def split(self, x: str, sizes: Sequence[int]) -> list[str]:
        """A blocked tensor cut along its channels."""
        outs = [f"blocked/Split_{len(self.nodes)}_{index}" for index in range(len(sizes))]
        self.keep(helper.make_node("Split", [x, self.ints(*sizes)], outs, name=outs[0], axis=1))
        return outs

    def view(self, tensor: str, shape: Iterable[int]) -> str:
        """The same memory under another shape."""
        return self.emit("Reshape", [tensor, self.ints(*shape)])

    def ints(self, *values: int) -> str:
        """The name of a constant list of whole numbers."""
        return self.weight(np.array(values, np.int64))

    def weight(self, content: np.ndarray) -> str:
        """The name of an initializer with that content."""
        content = np.ascontiguousarray(content)
        small = content.size <= _COMPARED_ELEMENTS
        key = (content.dtype.str, content.shape, content.tobytes() if small else len(self._known))
        if key not in self._known:
            self._known[key] = name = f"blocked/weight_{len(self._known)}"
            self.new_weights[name] = content
            self._shapes.add(name, content)
        return self._known[key]

    def convolution(
        self,
        x: str,
        kernel: np.ndarray,
        *,
        added: str = "",
        bias: str = "",
        strides: Sequence[int] = (1, 1),
        pads: Sequence[int] = (0, 0, 0, 0),
        group: int = 1,
        out: str = "",
        **activation: Any,
    ) -> str:
        """activation(x ∗ kernel + bias + added), all blocked; `kernel` is in blocked order."""
        inputs = [x, self.weight(kernel), bias, added]
        while not inputs[-1]:
            inputs.pop()
        return self.emit(
            "Conv", inputs, domain=NCHWC, group=group, kernel_shape=kernel.shape[2:],
            strides=strides, dilations=(1, 1), pads=pads, out=out, **activation,
        )  # fmt: skip


def attributes_of(node: onnx.NodeProto) -> dict[str, Any]:
    """The attributes of `node` by name, strings decoded."""
    found = {entry.name: helper.get_attribute_value(entry) for entry in node.attribute}
    return {name: x.decode() if isinstance(x, bytes) else x for name, x in found.items()}
