"""The catalogue of a model: its layers, their units, and the logits."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from unitscope.errors import ModelRejected, NotFound
from unitscope.graph.ir import Node, Shape, Value

_KINDS = {
    "convolution": ("Conv", "ConvTranspose"),
    "linear": ("Gemm", "MatMul"),
    "activation": (
        "Relu", "LeakyRelu", "PRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid", "HardSwish",
        "Elu", "Selu", "Celu", "Gelu", "Mish", "Swish", "Softplus", "Softsign",
    ),
    "pooling": ("MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool"),
    "normalization": (
        "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization",
        "LRN",
    ),
    "sum": ("Add", "Sum"),
    "concatenation": ("Concat",),
    "probability": ("Softmax", "LogSoftmax"),
}  # fmt: skip
_KIND_OF = {operator: kind for kind, operators in _KINDS.items() for operator in operators}
_MAPS = {"convolution", "pooling", "normalization"}
_UNCHANGED = {
    "Identity",
    "Cast",
    "Reshape",
    "Flatten",
    "Squeeze",
    "Unsqueeze",
    "Transpose",
    "Dropout",
}
_INSERTED = "_v_"
"""How ONNX's version converter calls its own tensors: before opset 13 a Softmax flattened."""
_SQUASHING = {"Softmax", "LogSoftmax", "Sigmoid", "Hardmax"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An activation whose units can be climbed.

    `tensor`: its ONNX tensor name, unique in the model. `name`: a friendly, also unique name.
    `shape`: without the batch. `unit_axis`: the axis of `shape` that counts units: channels
    `[C, H, W]`, features `[D]`, or the last axis of tokens `[T, D]`.
    """

    tensor: str
    name: str
    operator: str
    kind: str
    shape: Shape
    unit_axis: int

    @property
    def unit_count(self) -> int:
        """Number of units; 0 where the model leaves it open."""
        count = self.shape[self.unit_axis]
        return count if isinstance(count, int) else 0


def catalogue(
    nodes: Sequence[Node], values: Mapping[str, Value], image: Value
) -> tuple[Layer, ...]:
    """The layers among `values` (a model's tensors by name) that depend on `image`, in order."""
    layers: list[Layer] = []
    names: set[str] = set()
    counts: dict[str, int] = {}
    reached = {image}
    for node in nodes:
        if not any(x in reached for x in node.inputs):
            continue
        reached.update(y for y in node.outputs if y is not None)
        value = node.outputs[0]
        if value is None or values.get(value.name) is not value or not _has_units(value):
            continue
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
        name = _friendly_name(node, counts[node.op_type], names)
        names.add(name)
        layers.append(_layer(node, value, name))
    return tuple(layers)


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer whose tensor name or friendly name is `name`; raises NotFound."""
    for key in ("tensor", "name"):
        for layer in layers:
            if getattr(layer, key) == name:
                return layer
    raise NotFound("layer", name, [layer.name for layer in layers])


def find_logits(nodes: Sequence[Node], outputs: Sequence[Value]) -> Value:
    """The tensor before the final Softmax, LogSoftmax or Sigmoid; else the output itself.

    Of several outputs the float one with most classes counts. Raises ModelRejected if no output
    is a float tensor with units.
    """
    scores = [value for value in outputs if value.const is None and _has_units(value)]
    if not scores:
        raise ModelRejected("the model has no float output of shape [N, classes]")
    output = max(scores, key=_class_count)
    producers = {value: node for node in nodes for value in node.outputs if value is not None}
    value: Value | None = output
    while value in producers and producers[value].op_type in _UNCHANGED:
        value = producers[value].inputs[0]
    if value not in producers or producers[value].op_type not in _SQUASHING:
        return output
    logits = producers[value].inputs[0] or output
    if logits in producers and logits.name.startswith(_INSERTED):
        return producers[logits].inputs[0] or output
    return logits


def _has_units(value: Value) -> bool:
    return value.is_float and value.shape is not None and len(value.shape) >= 2


def _class_count(value: Value) -> int:
    sizes = [dim for dim in (value.shape or ())[1:] if isinstance(dim, int) and dim > 1]
    return sizes[-1] if sizes else 0


def _layer(node: Node, value: Value, name: str) -> Layer:
    kind = _KIND_OF.get(node.op_type, "other")
    shape = (value.shape or ())[1:]
    tokens = len(shape) == 2 and kind not in _MAPS
    return Layer(
        tensor=value.name,
        name=name,
        operator=node.op_type,
        kind=kind,
        shape=shape,
        unit_axis=1 if tokens else 0,
    )


def _friendly_name(node: Node, index: int, taken: Collection[str]) -> str:
    """The module the node belongs to, however its exporter says it, made unique by a number."""
    stem = _weight_owner(node) or node.scope or _path(node) or f"{node.op_type.lower()}_{index}"
    names = itertools.chain([stem], (f"{stem}_{count}" for count in itertools.count(1)))
    return next(name for name in names if name not in taken)


def _weight_owner(node: Node) -> str:
    """``layer1.0.conv1`` of a node whose weight is called ``layer1.0.conv1.weight``."""
    weight = node.inputs[1] if len(node.inputs) > 1 else None
    named = weight is not None and weight.const is not None and weight.name.endswith(".weight")
    return weight.name.removesuffix(".weight") if weight is not None and named else ""


def _path(node: Node) -> str:
    """The path in the node's name, without repetition: ``/layer1/layer1.0/conv1/Conv``."""
    path: list[str] = []
    segments = [segment for segment in node.name.split("/") if segment]
    if len(segments) > 1 and segments[-1].startswith(node.op_type):
        segments.pop()
    for segment in segments:
        if path and segment.startswith(path[-1] + "."):
            path[-1] = segment
        else:
            path.append(segment)
    return ".".join(path)
