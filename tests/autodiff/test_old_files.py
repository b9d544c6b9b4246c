"""Files as exporters wrote them years ago: those that the onnx package carries along.

Small ones of opset 6 to 9 with trained shapes and attributes in old forms; and nine networks of
opset 9 whose filler weights are replaced by seeded ones, since constant ones have no gradient.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto, numpy_helper

from unitscope.autodiff.gradient_model import gradient_model
from unitscope.errors import ModelRejected, NotFound

DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"
SMALL = sorted(DATA.glob("pytorch-*/*/model.onnx"))
NETWORKS = sorted(DATA.glob("light/light_*.onnx"))
TYPES = {"tensor(float)": np.float32, "tensor(double)": np.float64, "tensor(int64)": np.int64}
REFUSED: dict[str, tuple[type[Exception], str]] = {
    "test_Embedding": (NotFound, "unknown layer"),  # whole numbers go in
    "test_Embedding_sparse": (NotFound, "unknown layer"),
    "test_PReLU_1d_multiparam": (ModelRejected, "opset 6"),
    "test_PReLU_2d_multiparam": (ModelRejected, "opset 6"),
    "test_PReLU_3d_multiparam": (ModelRejected, "opset 6"),
    "test_operator_basic": (NotFound, "unknown layer"),  # its output is a vector without batch
    "test_operator_chunk": (NotFound, "unknown layer"),
    "test_operator_index": (NotFound, "unknown layer"),
    "test_operator_symbolic_override_nested": (NotFound, "unknown layer"),
}


def first_input(model: onnx.ModelProto) -> str:
    weights = {tensor.name for tensor in model.graph.initializer}
    return next(value.name for value in model.graph.input if value.name not in weights)


def feeds_of(path: Path, model: onnx.ModelProto) -> dict[str, np.ndarray]:
    weights = {tensor.name for tensor in model.graph.initializer}
    names = [value.name for value in model.graph.input if value.name not in weights]
    files = (path.parent / "test_data_set_0" / f"input_{i}.pb" for i in range(len(names)))
    contents = (numpy_helper.to_array(TensorProto.FromString(f.read_bytes())) for f in files)
    return dict(zip(names, contents, strict=True))


@pytest.mark.parametrize("path", SMALL, ids=lambda path: path.parent.name)
def test_small_files(path: Path) -> None:
    """The file's own result, and the gradient against central differences elsewhere."""
    model = onnx.load(path)
    feeds, image = feeds_of(path, model), first_input(model)
    output = model.graph.output[0].name
    if path.parent.name in REFUSED:
        kind, message = REFUSED[path.parent.name]
        with pytest.raises(kind, match=message):
            gradient_model(path, output, image=image)
        return
    session = ort.InferenceSession(gradient_model(path, output, image=image).SerializeToString())
    expected = numpy_helper.to_array(
        TensorProto.FromString((path.parent / "test_data_set_0" / "output_0.pb").read_bytes())
    )
    feeds["cotangent"] = np.ones(expected.shape)
    for declared in session.get_inputs():  # whole numbers are taken in floats
        feeds[declared.name] = feeds[declared.name].astype(TYPES[declared.type])
    np.testing.assert_allclose(session.run(None, feeds)[0], expected, rtol=1e-4, atol=1e-5)
    assert_slope(session, feeds, image)


@pytest.mark.parametrize("path", NETWORKS, ids=lambda path: path.stem)
def test_networks(path: Path) -> None:
    model = onnx.load(path)
    seed_weights(model)
    image = first_input(model)
    gradient = gradient_model(model)
    sizes = [dim.dim_value for dim in gradient.graph.output[0].type.tensor_type.shape.dim]
    assert sizes[:2] == [1, 1000]
    feeds = {
        image: np.zeros((1, 3, 224, 224), np.float32),
        "cotangent": np.zeros(sizes, np.float32),
    }
    assert_slope(ort.InferenceSession(gradient.SerializeToString()), feeds, image)


def assert_slope(session: ort.InferenceSession, shapes: dict[str, np.ndarray], image: str) -> None:
    """At a random point, along the gradient and a random direction."""
    rng = np.random.default_rng(0)
    feeds = dict(shapes)
    for name, like in shapes.items():
        if like.dtype.kind == "f":
            feeds[name] = rng.uniform(0.3, 1.3, like.shape).astype(like.dtype)
    slope = session.run(None, feeds)[1].astype(np.float64)
    noise = rng.standard_normal(slope.shape)
    direction = slope / np.linalg.norm(slope) + noise / np.linalg.norm(noise)
    found = float(np.sum(slope * direction))
    errors = []
    for largest in (1e-2, 1e-3, 1e-4, 1e-5):
        step = largest / np.abs(direction).max()
        up, down = (
            session.run(
                None,
                feeds | {image: (feeds[image] + way * direction).astype(feeds[image].dtype)},
            )[0]
            for way in (step, -step)
        )
        rise = float(np.sum((up.astype(np.float64) - down) * feeds["cotangent"]))
        errors.append(abs(rise / (2 * step) - found) / abs(found))
    assert min(errors) <= 1e-2, errors


def seed_weights(model: onnx.ModelProto) -> None:
    """Weights as He et al. draw them, summands and means 0, factors and variances 1."""
    rng = np.random.default_rng(0)
    fillers = {n.output[0]: n for n in model.graph.node if n.op_type == "ConstantOfShape"}
    shapes = {t.name: numpy_helper.to_array(t) for t in model.graph.initializer}
    kept = [node for node in model.graph.node if node.output[0] not in fillers]
    users = {name: (node, slot) for node in kept for slot, name in enumerate(node.input)}
    for name, filler in fillers.items():
        shape = [int(size) for size in shapes[filler.input[0]]]
        node, slot = users[name]
        if node.op_type == "Unsqueeze":
            node, slot = users[node.output[0]]
        factor = node.op_type == "Mul" or (node.op_type == "BatchNormalization" and slot in (1, 4))
        content = np.full(shape, 1.0 if factor else 0.0)
        if len(shape) >= 2:
            content = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        tensor = numpy_helper.from_array(content.astype(np.float32), name)
        model.graph.initializer.append(tensor)
    del model.graph.node[:]
    model.graph.node.extend(kept)
    model.ir_version = 8
