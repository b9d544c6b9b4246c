"""Where a classifier's logits are: the scores before they are squashed into probabilities."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from unitscope.errors import ModelRejected
from unitscope.graph.ir import Node, Value
from unitscope.graph.layers import has_units
from unitscope.graph.lower import outputs_of
from unitscope.graph.model import Model
from unitscope.graph.tensors import Tensors

_UNCHANGED = {
    "Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Dropout",
}  # fmt: skip
_CHOOSING = {"ArgMax", "TopK"}
_LIMITING = {"Clip", "Div", "Add", "Sub", "Mul", "Identity"}
"""What a quantizer is lowered to: limits, a scale and a zero point."""
_SQUASHING = {"Softmax", "LogSoftmax", "Sigmoid", "Hardmax"}
_INSERTED = "_v_"
"""How ONNX's version converter calls its own tensors: before opset 13 a Softmax flattened."""

Producers = Mapping[Value | None, Node]


def find_logits(model: Model, tensors: Tensors, nodes: Sequence[Node]) -> Value:
    """The tensor of `model` with its scores, before a final Softmax, LogSoftmax or Sigmoid.

    A softmax written as exp(x − max) / Σ is seen through, and so are a label chosen by ArgMax and
    the limits of a quantizer. Of several outputs the one with most classes counts. `tensors` and
    `nodes` are what lowering gave. Raises ModelRejected if there are no scores.
    """
    producers: Producers = {value: node for node in nodes for value in node.outputs}
    known = set(tensors.values())
    outputs = [output for output in outputs_of(model, tensors) if output.const is None]
    found = [_logits_of(output, producers, known) for output in outputs]
    scores = [value for value in found if has_units(value)]
    if not scores:
        raise ModelRejected("the model has no output of scores [N, classes] in floats")
    return max(scores, key=_class_count)


def _logits_of(output: Value, producers: Producers, known: Collection[Value]) -> Value:
    scores = _behind(output, _UNCHANGED | _CHOOSING, producers)
    before_limits = _behind(scores, _UNCHANGED | _LIMITING, producers)
    squashed = _squashed(scores, producers) or _squashed(before_limits, producers)
    if squashed is None:
        return output if output.is_float or scores not in known else scores
    while squashed not in known and squashed in producers:
        before = producers[squashed].inputs[0]
        if producers[squashed].op_type not in _LIMITING or before is None:
            return output
        squashed = before
    inserted = squashed.name.startswith(_INSERTED) and squashed in producers
    return (producers[squashed].inputs[0] if inserted else None) or squashed


def _squashed(scores: Value, producers: Producers) -> Value | None:
    """What `scores` are the probabilities of, if they are any."""
    node = producers.get(scores)
    if node is None:
        return None
    if node.op_type in _SQUASHING:
        return node.inputs[0]
    if node.op_type != "Div":
        return None
    above, below = (producers.get(x) for x in node.inputs)
    normalized = below is not None and below.op_type == "ReduceSum"
    if above is None or not normalized or above.op_type != "Exp":
        return None
    exponent = above.inputs[0]
    shift = producers.get(exponent)
    shifted = shift is not None and shift.op_type == "Sub"
    return shift.inputs[0] if shift is not None and shifted else exponent


def _behind(value: Value, passed: Collection[str], producers: Producers) -> Value:
    while value in producers and producers[value].op_type in passed:
        before = producers[value].inputs[0]
        if before is None or before.const is not None:
            break
        value = before
    return value


def _class_count(value: Value) -> int:
    sizes = [dim for dim in (value.shape or ())[1:] if isinstance(dim, int) and dim > 1]
    return sizes[-1] if sizes else 0
