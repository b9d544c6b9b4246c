"""The gradient of a layer with respect to the image, as an ONNX model of its own."""

from __future__ import annotations

import onnx
from onnx import helper

from unitscope.autodiff.rules import RULES
from unitscope.autodiff.vjp import differentiate
from unitscope.errors import ModelRejected
from unitscope.graph.layers import catalogue, find_layer, find_logits
from unitscope.graph.lower import declared_shape, emitter_for, image_input, lower
from unitscope.graph.model import ModelSource, load, standardize

COTANGENT = "cotangent"
IMAGE_GRADIENT = "image_gradient"


def gradient_model(model: ModelSource, layer: str | None = None) -> onnx.ModelProto:
    """Build the vector-Jacobian product of `layer` as a model of standard operators.

    `model`: a path, the file's bytes or a loaded model. `layer`: tensor name or friendly name;
    None means the logits, the tensor before a final Softmax, LogSoftmax or Sigmoid.

    The result takes the model's image under its own name and in its declared shape, open sizes
    included, and `cotangent` in the shape of the layer. It returns the layer's activation under
    its own name and `image_gradient` = cotangentᵀ · ∂activation/∂image in the shape of the image.

    Raises ModelRejected, naming node and operator, where there is no gradient, and NotFound for
    an unknown layer.
    """
    proto = standardize(load(model))
    declared = image_input(proto)
    op = emitter_for(proto)
    image = op.graph.add_input(
        declared.name,
        helper.tensor_dtype_to_np_dtype(declared.type.tensor_type.elem_type),
        declared_shape(declared),
    )
    values = lower(op, proto, {declared.name: image}, keep=RULES.__contains__)
    for name in {COTANGENT, IMAGE_GRADIENT} & {*values}:
        raise ModelRejected(
            f"the model has a tensor called {name!r}; rename it to export a gradient"
        )
    if layer is None:
        activation = find_logits(op.graph.nodes, [values[y.name] for y in proto.graph.output])
    else:
        activation = values[find_layer(catalogue(op.graph.nodes, values, image), layer).tensor]
    cotangent = op.graph.add_input(COTANGENT, activation.dtype, activation.shape or ())
    gradient = differentiate(op, output=activation, wrt=image, cotangent=cotangent, rules=RULES)
    (named,) = op.emit("Identity", [gradient], outputs=[IMAGE_GRADIENT])
    return op.graph.to_model([activation, named])
