"""Inputs: which one is the image, of what shape and type."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.models import small_classifier
from unitscope.errors import ModelRejected
from unitscope.graph.inputs import computed_type, declared_shape, declared_type, image_input
from unitscope.graph.model import Model, load


def two_inputs() -> Model:
    model = small_classifier()
    model.graph.input.append(helper.make_tensor_value_info("mask", TensorProto.FLOAT, ["N", 1]))
    return load(model)


def test_the_only_input_is_the_image_and_one_of_several_is_named() -> None:
    assert image_input(load(small_classifier())).name == "image"
    assert image_input(two_inputs(), "mask").name == "mask"
    with pytest.raises(ModelRejected, match=r"2 inputs \('image', 'mask'\).*card"):
        image_input(two_inputs())
    with pytest.raises(ModelRejected, match=r"no input 'picture'; its inputs are 'image', 'mask'"):
        image_input(two_inputs(), "picture")


def test_weights_are_no_inputs_though_old_files_list_them() -> None:
    model = small_classifier()
    for tensor in model.graph.initializer:
        model.graph.input.append(
            helper.make_tensor_value_info(tensor.name, tensor.data_type, tensor.dims)
        )
    model.ir_version = 3
    assert image_input(load(model)).name == "image"


def test_text_is_no_image() -> None:
    model = small_classifier()
    model.graph.input.append(helper.make_tensor_value_info("text", TensorProto.STRING, ["N"]))
    with pytest.raises(ModelRejected, match="'text' holds STRING"):
        image_input(load(model), "text")


def test_unknown_sizes_get_names_of_their_own() -> None:
    value = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["?", 3, "?", "?"])
    batch, channels, height, width = declared_shape(value)
    assert batch == "N" and channels == 3 and len({batch, height, width}) == 3
    assert declared_shape(value, is_image=False)[0] != "N"


@pytest.mark.parametrize(
    ("declared", "computed", "held"),
    [
        (TensorProto.FLOAT, np.float32, np.float32),
        (TensorProto.DOUBLE, np.float64, np.float64),
        (TensorProto.FLOAT16, np.float32, np.float32),
        (TensorProto.BFLOAT16, np.float32, np.float32),
        (TensorProto.UINT8, np.float32, np.uint8),
    ],
)
def test_an_image_is_computed_in_floats(declared: int, computed: type, held: type) -> None:
    value = helper.make_tensor_value_info("x", declared, [1, 3, 4, 4])
    assert computed_type(value) == computed and declared_type(value) == held
