"""The check of a new model: what it proves, and that it can fail."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tests.engine.test_loading import pixels_in, rows_in, saved
from tests.models import SIZE, halved, small_classifier
from unitscope.ascent import probe
from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.autodiff.rules import RULES
from unitscope.engine.checkup import check_model
from unitscope.errors import ModelRejected, NotFound
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(small_classifier(), id="floats"),
        pytest.param(small_classifier(batch=4), id="four rows"),
        pytest.param(pixels_in(), id="whole numbers"),
        pytest.param(rows_in(np.float64), id="double"),
    ],
)
def test_a_sound_model_is_proven(model: onnx.ModelProto, tmp_path: Path) -> None:
    checkup = check_model(saved(model, tmp_path))
    assert checkup.verdict == "proven"
    assert checkup.forward_error is not None and checkup.forward_error < 1e-5
    assert checkup.gradient.agreeing == checkup.gradient.attempts
    assert checkup.climbable_count == checkup.layer_count > 0 and not checkup.refusals


def test_half_precision_is_compared_with_its_own_rounding(tmp_path: Path) -> None:
    checkup = check_model(saved(halved(small_classifier(), TensorProto.FLOAT16), tmp_path))
    assert checkup.verdict == "proven"
    assert checkup.forward_error is not None and 0 < checkup.forward_error < 1e-2


def test_the_graph_is_counted(tmp_path: Path) -> None:
    checkup = check_model(saved(small_classifier(), tmp_path), "relu_out")
    assert checkup.operators == {"Conv": 1, "Relu": 1} and checkup.path_length == 2
    assert (checkup.file_nodes, checkup.emitted_nodes) == (6, 2)
    map_bytes = 4 * 4 * (SIZE - 2) ** 2
    assert 2 * map_bytes <= checkup.activations_bytes <= 8 * map_bytes
    assert checkup.weights_bytes == 4 * (4 * 3 * 9 + 4 + 4 * 5 + 5)


def test_a_wrong_gradient_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = Rules()

    @wrong.vjp("Relu")
    def relu(op: Emitter, dy: Value, y: Value, x: Value) -> Cotangents:
        return (dy,)

    monkeypatch.setattr(probe, "RULES", RULES.overridden(by=wrong))
    assert check_model(saved(small_classifier(), tmp_path)).verdict == "gradient differs"


def test_another_function_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(small_classifier(), tmp_path)
    other = onnx.load(path)
    for tensor in other.graph.initializer:
        doubled = 2 * numpy_helper.to_array(tensor)
        tensor.CopyFrom(numpy_helper.from_array(doubled, tensor.name))
    monkeypatch.setattr("unitscope.engine.session.with_output", lambda *_: other)
    assert check_model(path).verdict == "forward differs"


def test_a_dead_layer_is_told(tmp_path: Path) -> None:
    checkup = check_model(saved(small_classifier(relus="dead"), tmp_path))
    assert checkup.verdict == "no gradient arrives" and checkup.gradient.zero == 6


def test_a_file_that_the_runtime_does_not_run_is_not_compared(tmp_path: Path) -> None:
    model = halved(small_classifier(), TensorProto.BFLOAT16)
    checkup = check_model(saved(model, tmp_path))
    assert checkup.forward_error is None and "ONNX Runtime" in checkup.forward_note
    assert checkup.verdict == "proven"


def test_what_cannot_be_climbed_is_refused(tmp_path: Path) -> None:
    blocked = small_classifier()
    blocked.graph.node[1].op_type = "Floor"
    path = saved(blocked, tmp_path)
    with pytest.raises(ModelRejected, match=r"Floor"):
        check_model(path)
    checkup = check_model(path, "features.conv")
    assert checkup.verdict == "proven" and checkup.climbable_count == 1
    assert any("(Floor)" in refusal for refusal in checkup.refusals)
    with pytest.raises(NotFound, match="unknown layer 'nowhere'"):
        check_model(path, "nowhere")


def test_weights_beside_the_file_are_found(tmp_path: Path) -> None:
    path = tmp_path / "beside.onnx"
    onnx.save(
        small_classifier(), path, save_as_external_data=True, location="weights", size_threshold=0
    )
    assert check_model(path).forward_error is not None
