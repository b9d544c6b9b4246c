"""The catalogue of a model: its layers, their units and names, as its own nodes say them."""

from __future__ import annotations

import itertools
import math
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import onnx

from unitscope.errors import NotFound
from unitscope.graph.ir import Node, Shape, Value
from unitscope.graph.model import Model
from unitscope.graph.tensors import Tensors
from unitscope.graph.unit_axis import unit_axes

_KINDS = {
    "convolution": ("Conv", "ConvTranspose", "FusedConv", "NhwcConv", "QLinearConv", "ConvInteger"),
    "linear": (
        "Gemm", "MatMul", "FusedMatMul", "FusedGemm", "QGemm", "QLinearMatMul", "MatMulNBits",
        "MatMulInteger", "LinearClassifier",
    ),
    "activation": (
        "Relu", "LeakyRelu", "PRelu", "ThresholdedRelu", "Clip", "Sigmoid", "Tanh", "HardSigmoid",
        "HardSwish", "Elu", "Selu", "Celu", "Gelu", "BiasGelu", "FastGelu", "QuickGelu", "Mish",
        "Swish", "Softplus", "Softsign", "QLinearLeakyRelu", "QLinearSigmoid",
    ),
    "pooling": (
        "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "LpPool",
        "QLinearAveragePool", "QLinearGlobalAveragePool",
    ),
    "normalization": (
        "BatchNormalization", "LayerNormalization", "InstanceNormalization", "GroupNormalization",
        "LRN", "RMSNormalization", "SkipLayerNormalization", "SimplifiedLayerNormalization",
    ),
    "attention": ("Attention", "MultiHeadAttention"),
    "recurrent": ("LSTM", "GRU", "RNN"),
    "sum": ("Add", "Sum", "QLinearAdd"),
    "concatenation": ("Concat", "QLinearConcat"),
    "probability": ("Softmax", "LogSoftmax", "QLinearSoftmax"),
}  # fmt: skip
_GATES = {"Sigmoid", "HardSigmoid"}
_HIDDEN = {"QuantizeLinear", "DynamicQuantizeLinear"}
"""Their results are those of the operator before, on a grid."""
_WEIGHT_SLOTS = {"QLinearConv": 3, "QGemm": 3, "QLinearMatMul": 3}
_ON_WEIGHTS = {"DequantizeLinear", "Transpose", "Identity", "Cast"}
_QUANTIZED_WEIGHT = re.compile(r"(_transposed|_quantized|_Q[48])*$")
_QUANTIZED_NODE = re.compile(
    r"(_output_\d+)?(_quant|_QuantizeLinear|_DequantizeLinear|_output_scale_mul|_bias_add|_cast)+$"
)
"""What ONNX Runtime's quantizer appends to names."""
Producers = Mapping[str, onnx.NodeProto]
_KIND_OF = {operator: kind for kind, operators in _KINDS.items() for operator in operators}


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An activation whose units can be climbed.

    `tensor`: its ONNX tensor name, unique in the model. `name`: a friendly, also unique name.
    `shape`: without the batch. `unit_axis`: the axis of `shape` that counts units: channels of
    `[C, H, W]` or `[H, W, C]`, features of `[D]` or of tokens `[T, D]`. `pre_activation`: of an
    activation, the tensor it is computed from, else "". `refusal`: why there is no gradient, or "".
    """

    tensor: str
    name: str
    operator: str
    kind: str
    shape: Shape
    unit_axis: int
    pre_activation: str = ""
    refusal: str = ""

    @property
    def unit_count(self) -> int:
        """Number of units; 0 where the model leaves it open."""
        count = self.shape[self.unit_axis]
        return count if isinstance(count, int) else 0

    @property
    def is_map(self) -> bool:
        """Whether its units have more than one place each, and all sizes are known."""
        sizes = [dim for dim in self.shape if isinstance(dim, int)]
        return len(sizes) == len(self.shape) and math.prod(sizes) > self.unit_count


def catalogue(
    model: Model, tensors: Tensors, nodes: Sequence[Node], image: Value, *, channel_axis: int = 1
) -> tuple[Layer, ...]:
    """The layers of `model` that depend on `image`, in the order of its own nodes.

    `tensors` and `nodes` are what lowering it onto `image` gave.
    """
    axes = unit_axes(nodes, image, channel_axis)
    producers = {name: node for node in model.graph.node for name in node.output}
    layers: list[Layer] = []
    names: set[str] = set()
    counts: dict[str, int] = {}
    for tensor, node in producers.items():
        value = tensors.find(tensor)
        if value is None or value not in axes or not has_units(value) or node.op_type in _HIDDEN:
            continue
        counts[node.op_type] = counts.get(node.op_type, 0) + 1
        name = _friendly_name(node, model, producers, counts[node.op_type], names)
        names.add(name)
        squashed = _pre_activation(node, producers)
        layers.append(
            Layer(
                tensor=tensor,
                name=name,
                operator=node.op_type,
                kind="activation" if squashed else _KIND_OF.get(node.op_type, "other"),
                shape=(value.shape or ())[1:],
                unit_axis=axes[value] - 1,
                pre_activation=squashed,
            )
        )
    return tuple(layers)


def find_layer(layers: Sequence[Layer], name: str) -> Layer:
    """The layer whose tensor name or friendly name is `name`; raises NotFound."""
    for key in ("tensor", "name"):
        for layer in layers:
            if getattr(layer, key) == name:
                return layer
    raise NotFound("layer", name, [layer.name for layer in layers])


def features_of(model: Model, layers: Sequence[Layer], layer: Layer) -> Layer | None:
    """What the last weights on the way to `layer` are applied to, None where its gradient is
    refused or the way forks: of logits, the features that they are a linear map of.
    """
    known = {found.tensor: found for found in layers}
    producers = {name: node for node in model.graph.node for name in node.output}
    tensor = layer.tensor
    while tensor in producers:
        node = producers[tensor]
        before = {name for name in node.input if name in known}
        if len(before) != 1:
            return None
        (tensor,) = before
        if _KIND_OF.get(node.op_type) in ("convolution", "linear"):
            return None if known[tensor].refusal else known[tensor]
    return None


def has_units(value: Value) -> bool:
    """True for a float tensor with an axis besides the batch."""
    return value.is_float and value.shape is not None and len(value.shape) >= 2


def _pre_activation(node: onnx.NodeProto, producers: Producers) -> str:
    """The tensor an activation is computed from; x · σ(x) is one, though written in two nodes.

    So is a pair of quantizers: ONNX Runtime leaves the ReLU to their limits.
    """
    if _KIND_OF.get(node.op_type) == "activation":
        return node.input[0]
    if node.op_type == "DequantizeLinear" and node.input[0] in producers:
        quantizer = producers[node.input[0]]
        return quantizer.input[0] if quantizer.op_type == "QuantizeLinear" else ""
    if node.op_type == "Mul":
        for x, gate in (node.input, [*node.input][::-1]):
            opened = producers.get(gate)
            if opened is not None and opened.op_type in _GATES and opened.input[0] == x:
                return x
    return ""


def _friendly_name(
    node: onnx.NodeProto, model: Model, producers: Producers, index: int, taken: Collection[str]
) -> str:
    """The module the node belongs to, however its exporter says it, made unique by a number."""
    stem = (
        _weight_owner(node, model, producers)
        or _scope(node)
        or _path(node)
        or f"{node.op_type.lower()}_{index}"
    )
    names = itertools.chain([stem], (f"{stem}_{count}" for count in itertools.count(1)))
    return next(name for name in names if name not in taken)


def _weight_owner(node: onnx.NodeProto, model: Model, producers: Producers) -> str:
    """``layer1.0.conv1`` of a node whose weight is called ``layer1.0.conv1.weight``."""
    slot = _WEIGHT_SLOTS.get(node.op_type, 1)
    weight = node.input[slot] if len(node.input) > slot else ""
    while weight in producers and producers[weight].op_type in _ON_WEIGHTS:
        weight = producers[weight].input[0]
    if weight not in model.weights:
        return ""
    plain = _QUANTIZED_WEIGHT.sub("", weight)
    return plain.removesuffix(".weight") if plain.endswith(".weight") else ""


def _scope(node: onnx.NodeProto) -> str:
    """The innermost module of the path that PyTorch's exporter leaves in a node's metadata."""
    for entry in node.metadata_props:
        if entry.key == "pkg.torch.onnx.name_scopes":
            path = re.findall(r"'([^']*)'", entry.value)
            return str(path[-2]) if len(path) > 1 else ""
    return ""


def _path(node: onnx.NodeProto) -> str:
    """The path in the node's name, without repetition: ``/layer1/layer1.0/conv1/Conv``."""
    path: list[str] = []
    name = _QUANTIZED_NODE.sub("", node.name)
    segments = [segment for segment in name.split("/") if segment]
    last = segments[-1] if len(segments) > 1 else ""
    if last and (last.startswith(node.op_type) or node.op_type.endswith(last)):
        segments.pop()
    for segment in segments:
        if path and segment.startswith(path[-1] + "."):
            path[-1] = segment
        else:
            path.append(segment)
    return ".".join(path)
