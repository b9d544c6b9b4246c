"""From files as people have them to models that can be climbed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from tests.models import CARD, CLASSES, SIZE, halved, model_of, small_classifier
from unitscope.engine.engine import Engine
from unitscope.engine.loaded import LoadedModel
from unitscope.engine.loading import load_model
from unitscope.engine.picture import decode
from unitscope.engine.repository import Repository
from unitscope.engine.request import Maximization, MaximizeRequest
from unitscope.errors import ModelRejected


def saved(model: onnx.ModelProto, directory: Path, card: str = "") -> Path:
    path = directory / "model.onnx"
    onnx.save(model, path)
    if card:
        path.with_suffix(".toml").write_text(card)
    return path


def climbed(path: Path) -> Maximization:
    repository = Repository()
    model = repository.add(path)
    with Engine(repository) as engine:
        *_, last = engine.submit(
            MaximizeRequest(unit=1, model=model.info.name, steps=24, seed=3)
        ).events()
    assert isinstance(last, Maximization)
    assert last.metrics.activation_end > last.metrics.activation_start
    return last


def pixels_in() -> onnx.ModelProto:
    """Whole numbers in NHWC, normalized by the model itself, as TensorFlow serves them."""
    model = small_classifier()
    model.graph.node[0].input[0] = "ready"
    front = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Transpose", ["floats"], ["turned"], perm=[0, 3, 1, 2]),
        helper.make_node("Mul", ["turned", "scale"], ["ready"]),
    ]
    weights = {t.name: onnx.numpy_helper.to_array(t) for t in model.graph.initializer}
    weights["scale"] = np.array(1 / 255, np.float32)
    whole = model_of([*front, *model.graph.node], weights, image=(1, SIZE, SIZE, 3))
    whole.graph.input[0].type.tensor_type.elem_type = TensorProto.UINT8
    return whole


def rows_in(dtype: Any = np.float32) -> onnx.ModelProto:
    """A multi-layer perceptron on rows of numbers."""
    rng = np.random.default_rng(0)
    weights = {
        "hidden.weight": rng.standard_normal((64, 16)).astype(dtype),
        "out.weight": rng.standard_normal((16, CLASSES)).astype(dtype),
    }
    nodes = [
        helper.make_node("MatMul", ["image", "hidden.weight"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["awake"]),
        helper.make_node("MatMul", ["awake", "out.weight"], ["output"]),
    ]
    model = model_of(nodes, weights, image=("N", 64))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = helper.np_dtype_to_tensor_dtype(np.dtype(dtype))
    return model


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(pixels_in(), id="whole numbers"),
        pytest.param(rows_in(), id="rows"),
        pytest.param(rows_in(np.float64), id="double"),
        pytest.param(halved(small_classifier(), TensorProto.FLOAT16), id="half"),
    ],
)
def test_unusual_inputs_are_climbed(model: onnx.ModelProto, tmp_path: Path) -> None:
    climbed(saved(model, tmp_path))


def test_whole_numbers_are_taken_as_pixels(tmp_path: Path) -> None:
    card = load_model(saved(pixels_in(), tmp_path)).subject.card
    assert (card.layout, card.high, card.mean, card.inferred) == ("NHWC", 255.0, (0, 0, 0), True)


def test_a_row_of_numbers_is_taken_as_a_square(tmp_path: Path) -> None:
    card = load_model(saved(rows_in(), tmp_path)).subject.card
    assert (card.channels, card.height_px, card.width_px) == ("L", 8, 8)


def gated() -> onnx.ModelProto:
    """A second input scales the scores."""
    model = small_classifier()
    model.graph.node[-1].CopyFrom(helper.make_node("Mul", ["logits", "gate"], ["output"]))
    model.graph.input.append(helper.make_tensor_value_info("gate", TensorProto.FLOAT, ["N", 1]))
    return model


def test_other_inputs_hold_what_the_card_says(tmp_path: Path) -> None:
    named = CARD.replace("[input]", '[input]\nname = "image"')
    once = climbed(saved(gated(), tmp_path, named + "[constants]\ngate = 1.0\n"))
    twice = climbed(saved(gated(), tmp_path, named + "[constants]\ngate = [[2.0]]\n"))
    ratio = twice.metrics.activation_start / once.metrics.activation_start
    np.testing.assert_allclose(ratio, 2.0, rtol=1e-5)


@pytest.mark.parametrize(
    ("card", "message"),
    [
        ("", "say which one is the image"),
        (CARD.replace("[input]", '[input]\nname = "image"'), "say what it holds"),
        (
            CARD.replace("[input]", '[input]\nname = "image"') + "[constants]\ngate = 'x'\n",
            r"constants\.gate",
        ),
    ],
)
def test_an_input_that_nobody_describes_is_refused(card: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelRejected, match=message):
        load_model(saved(gated(), tmp_path, card))


def test_layers_say_why_they_cannot_be_climbed(repository: Repository) -> None:
    model = repository.get("blocked")
    assert model.find_layer("conv_out").refusal == ""
    blocked = {layer.tensor for layer in model.layers if "(Floor)" in layer.refusal}
    assert blocked == {layer.tensor for layer in model.layers} - {"conv_out"}
    with pytest.raises(ModelRejected, match=r"'fc' cannot be climbed: .*'/features/relu/Relu'"):
        model.find_layer()


NAMES = ["ant", "bee", "cat", "dog", "eel"]


def labelled(tmp_path: Path, *, key: str = "", text: str = "", lines: str = "") -> LoadedModel:
    model = small_classifier()
    if key:
        model.metadata_props.add(key=key, value=text)
    if lines:
        (tmp_path / lines).write_text("\n".join(NAMES))
    return load_model(saved(model, tmp_path))


@pytest.mark.parametrize(
    "said",
    [
        {"key": "Labels", "text": json.dumps(NAMES)},
        {"key": "names", "text": repr(dict(enumerate(NAMES)))},
        {"key": "id2label", "text": json.dumps({str(i): name for i, name in enumerate(NAMES)})},
        {"lines": "labels.txt"},
        {"lines": "model.labels.txt"},
    ],
)
def test_labels_come_from_metadata_or_a_file_beside(said: dict[str, str], tmp_path: Path) -> None:
    model = labelled(tmp_path, **said)
    assert model.labels == tuple(NAMES) and model.info.labels_known
    assert model.find_unit(model.find_layer(), "dog") == 3


@pytest.mark.parametrize("text", ["[1, 2]", "ant, bee", "{'a': 'ant'}", '["ant"]', "[" * 100_000])
def test_what_is_no_list_of_all_classes_is_no_labels(text: str, tmp_path: Path) -> None:
    assert labelled(tmp_path, key="labels", text=text).labels == ()


def centred(batch: int | str) -> onnx.ModelProto:
    """The small classifier with its scores centred over the rows: they are not independent."""
    model = small_classifier(batch=batch)
    model.graph.node[-1].CopyFrom(
        helper.make_node("ReduceMean", ["logits"], ["mean"], axes=[0], keepdims=1)
    )
    model.graph.node.append(helper.make_node("Sub", ["logits", "mean"], ["centred"]))
    model.graph.node.append(helper.make_node("Add", ["centred", "logits"], ["output"]))
    return model


@pytest.mark.parametrize("batch", ["N", 1, 4])
def test_rows_are_compared_before_they_share_a_run(batch: int | str, tmp_path: Path) -> None:
    assert load_model(saved(small_classifier(batch=batch), tmp_path)).info.batchable
    assert not load_model(saved(centred(batch), tmp_path)).info.batchable


def test_a_model_exported_for_four_rows_is_climbed_like_another(tmp_path: Path) -> None:
    results = [climbed(saved(small_classifier(batch=batch), tmp_path)) for batch in (4, "N")]
    first, second = (result.metrics for result in results)
    np.testing.assert_allclose(first.activation_end, second.activation_end, rtol=1e-3)
    assert first.unit_count == CLASSES


def open_sized(last: str = "GlobalAveragePool") -> onnx.ModelProto:
    """The small classifier with open height and width."""
    model = small_classifier()
    for dim, name in zip(model.graph.input[0].type.tensor_type.shape.dim[2:], "hw", strict=True):
        dim.dim_param = name
    if last == "fixed":
        model.graph.node[2].CopyFrom(
            helper.make_node("AveragePool", ["relu_out"], ["pooled"], kernel_shape=[SIZE - 2] * 2)
        )
    return model


def test_a_model_of_open_size_looks_at_the_size_that_is_asked_for(tmp_path: Path) -> None:
    repository = Repository()
    model = repository.add(saved(open_sized(), tmp_path, CARD))
    assert model.info.resizable and model.find_layer("relu_out").shape == (4, SIZE - 2, SIZE - 2)
    request = MaximizeRequest(
        unit=1, model="model", layer="relu_out", steps=4, image_size_px=20, position=(17, 17)
    )
    with Engine(repository) as engine:
        *_, last = engine.submit(request).events()
    assert isinstance(last, Maximization) and last.height_px == 20
    assert last.metrics.preprocessing.height_px == 20


def test_a_model_that_only_seems_open_keeps_its_size(tmp_path: Path) -> None:
    assert not load_model(saved(open_sized("fixed"), tmp_path, CARD)).info.resizable
    assert not load_model(saved(small_classifier(), tmp_path, CARD)).info.resizable


def test_a_neuron_of_a_map_with_channels_last_is_climbed(tmp_path: Path) -> None:
    model = small_classifier()
    model.graph.node[1].CopyFrom(helper.make_node("Relu", ["last"], ["active"]))
    model.graph.node.insert(
        1, helper.make_node("Transpose", ["conv_out"], ["last"], perm=[0, 2, 3, 1])
    )
    model.graph.node.insert(
        3, helper.make_node("Transpose", ["active"], ["relu_out"], perm=[0, 3, 1, 2])
    )
    repository = Repository()
    loaded = repository.add(saved(model, tmp_path, CARD))
    results = []
    for layer in ("active", "relu_out"):
        request = MaximizeRequest(unit=2, model="model", layer=layer, steps=4, position=(7, 3))
        with Engine(repository) as engine:
            *_, last = engine.submit(request).events()
        results.append(last)
    first, second = results
    assert loaded.find_layer("active").unit_axis == 2
    assert isinstance(first, Maximization) and isinstance(second, Maximization)
    np.testing.assert_array_equal(decode(first.image, 3), decode(second.image, 3))
    assert first.metrics.rank == second.metrics.rank


@pytest.mark.parametrize("opset", [20, 22, 23])
def test_a_model_that_needs_a_newer_opset_is_climbed_in_it(opset: int, tmp_path: Path) -> None:
    model = small_classifier()
    model.opset_import[0].version = opset
    model.graph.node[1].CopyFrom(helper.make_node("Gelu", ["conv_out"], ["relu_out"]))
    path = saved(model, tmp_path, CARD)
    assert load_model(path).subject.model.opset == opset
    climbed(path)


def test_scores_that_ignore_the_image_are_refused(tmp_path: Path) -> None:
    model = small_classifier()
    kept = model.graph.node[4]
    kept.input[0] = "constant"
    flat = helper.make_node("Shape", ["image"], ["shape"])
    cast = helper.make_node("Cast", ["shape"], ["sizes"], to=TensorProto.FLOAT)
    row = helper.make_node("Unsqueeze", ["sizes", "axis"], ["constant"])
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([0]), "axis"))
    nodes = [
        flat,
        cast,
        row,
        *[onnx.NodeProto.FromString(n.SerializeToString()) for n in model.graph.node],
    ]
    del model.graph.node[:]
    model.graph.node.extend(nodes)
    with pytest.raises(ModelRejected, match=r"do not depend on the image|no output of scores"):
        load_model(saved(model, tmp_path))


def test_a_file_that_cannot_be_run_is_refused_when_it_is_loaded(tmp_path: Path) -> None:
    """ONNX Runtime has no convolution in double precision."""
    model = small_classifier()
    for tensor in model.graph.initializer:
        content = onnx.numpy_helper.to_array(tensor).astype(np.float64)
        tensor.CopyFrom(onnx.numpy_helper.from_array(content, tensor.name))
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = TensorProto.DOUBLE
    with pytest.raises(ModelRejected, match="ONNX Runtime cannot run it"):
        load_model(saved(model, tmp_path))
