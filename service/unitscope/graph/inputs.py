"""The inputs a model declares: which one is the image, its shape and its element type."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from unitscope.errors import ModelRejected
from unitscope.graph.ir import Shape
from unitscope.graph.model import Model

_NUMBERS = (
    TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16,
    TensorProto.UINT8, TensorProto.INT8, TensorProto.UINT16, TensorProto.INT16,
    TensorProto.INT32, TensorProto.INT64,
)  # fmt: skip


def image_input(model: Model, name: str = "") -> onnx.ValueInfoProto:
    """The input called `name`, or the only one.

    Raises ModelRejected if it is not a tensor of numbers, or if several could be meant.
    """
    inputs = {value.name: value for value in model.graph.input}
    known = ", ".join(repr(known) for known in inputs)
    if name and name not in inputs:
        raise ModelRejected(f"the model has no input {name!r}; its inputs are {known}")
    if not name and len(inputs) != 1:
        raise ModelRejected(
            f"the model has {len(inputs)} inputs ({known}): say which one is the image, by "
            "`name` under [input] in a card beside the model, and what the others hold, under "
            "[constants]"
        )
    image = inputs[name] if name else next(iter(inputs.values()))
    if image.type.tensor_type.elem_type not in _NUMBERS:
        got = onnx.TensorProto.DataType.Name(image.type.tensor_type.elem_type)
        raise ModelRejected(f"the input {image.name!r} holds {got}, expected numbers")
    return image


def declared_shape(value: onnx.ValueInfoProto, *, is_image: bool = True) -> Shape:
    """The declared shape, each unknown size under a name of its own; an image's batch is "N".

    Names in files are not trusted: exporters write "?" for height and for width.
    """
    if not value.type.tensor_type.HasField("shape"):
        raise ModelRejected(f"input {value.name!r} declares no shape")
    return tuple(
        int(dim.dim_value)
        if dim.HasField("dim_value") and dim.dim_value > 0
        else ("N" if is_image and axis == 0 else f"{value.name}_{axis}")
        for axis, dim in enumerate(value.type.tensor_type.shape.dim)
    )


def computed_type(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    """The element type that an input is computed in: its own if double, else single precision.

    Half precision and pixels in whole numbers have no gradient of any use in themselves.
    """
    double = value.type.tensor_type.elem_type == TensorProto.DOUBLE
    return np.dtype(np.float64 if double else np.float32)


def declared_type(value: onnx.ValueInfoProto) -> np.dtype[Any]:
    """The element type that an input declares; half precision is computed in single."""
    dtype = np.dtype(helper.tensor_dtype_to_np_dtype(value.type.tensor_type.elem_type))
    return np.dtype(np.float32) if dtype.name in ("float16", "bfloat16") else dtype
