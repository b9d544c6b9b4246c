"""The gradient of a layer with respect to the image, as an ONNX model of its own."""

from __future__ import annotations

from pathlib import Path

import onnx

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.inputs import computed_type, declared_shape, declared_type, image_input
from unitscope.graph.ir import Graph, Value, needed, save_parts
from unitscope.graph.layers import catalogue, find_layer
from unitscope.graph.logits import find_logits
from unitscope.graph.lower import emitter_for, lower
from unitscope.graph.model import ModelSource, load

COTANGENT = "cotangent"
IMAGE_GRADIENT = "image_gradient"
_MAX_FILE_BYTES = 2_000_000_000


def gradient_model(
    model: ModelSource, layer: str | None = None, *, image: str = ""
) -> onnx.ModelProto:
    """Build the vector-Jacobian product of `layer` as a model of standard operators.

    `model`: a path, the file's bytes or a loaded model. `layer`: tensor name or friendly name;
    None means the logits, the tensor before a final Softmax, LogSoftmax or Sigmoid. `image`: the
    input to differentiate by, where the model has several.

    The result takes the model's inputs under their own names and in their declared shapes, open
    sizes included, and `cotangent` in the shape of the layer. It returns the layer's activation
    under its own name and `image_gradient` = cotangentᵀ · ∂activation/∂image in the shape of the
    image. An image of half precision or of whole numbers is taken in float32.

    Raises ModelRejected, naming node and operator, where there is no gradient, and NotFound for
    an unknown layer.
    """
    graph, outputs = _emitted(model, layer, image)
    if _is_too_large(graph, outputs):
        raise ModelRejected("the weights exceed 2 GB, write the model with save_gradient_model")
    return graph.to_model(outputs)


def save_gradient_model(
    path: Path, model: ModelSource, layer: str | None = None, *, image: str = ""
) -> None:
    """Write what `gradient_model` builds to `path`.

    Weights beyond 2 GB in all, which no ONNX file holds, go to ``path + ".data"``.
    """
    graph, outputs = _emitted(model, layer, image)
    if _is_too_large(graph, outputs):
        save_parts(graph.to_parts(outputs), path)
    else:
        onnx.save(graph.to_model(outputs), path)


def _is_too_large(graph: Graph, outputs: list[Value]) -> bool:
    used = {x for node in needed(graph.nodes, outputs) for x in node.inputs if x is not None}
    return sum(x.const.nbytes for x in used if x.const is not None) > _MAX_FILE_BYTES


def _emitted(model: ModelSource, layer: str | None, image: str) -> tuple[Graph, list[Value]]:
    loaded = load(model)
    op = emitter_for(loaded)
    picture = image_input(loaded, image).name
    inputs = {
        declared.name: op.graph.add_input(
            declared.name,
            computed_type(declared) if declared.name == picture else declared_type(declared),
            declared_shape(declared, is_image=declared.name == picture),
        )
        for declared in loaded.graph.input
    }
    tensors = lower(op, loaded, inputs, keep=RULES.__contains__)
    for name in {COTANGENT, IMAGE_GRADIENT} & {*tensors}:
        raise ModelRejected(
            f"the model has a tensor called {name!r}; rename it to export a gradient"
        )
    nodes = op.graph.nodes
    if layer is None:
        activation = find_logits(loaded, tensors, nodes)
    else:
        found = find_layer(catalogue(loaded, tensors, nodes, inputs[picture]), layer)
        activation = tensors[found.tensor]
    cotangent = op.graph.add_input(COTANGENT, activation.dtype, activation.shape or ())
    gradient = differentiate(
        op, output=activation, wrt=inputs[picture], cotangent=cotangent, rules=RULES
    )
    (named,) = op.emit("Identity", [gradient], outputs=[IMAGE_GRADIENT])
    return op.graph, [activation, named]
