"""The real models that are mutated, small ones more often than large ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from onnx import helper

from tests.graph.quantizing import VARIANTS, pictures, residual_network, transformer
from tests.models import CLASSES, SIZE, model_of, small_classifier
from tests.trained import MODELS
from unitscope.engine.loading import embedded_model

_DATA = Path(onnx.__file__).parent / "backend" / "test" / "data"


def many_operators() -> onnx.ModelProto:
    """Shape arithmetic, attention and operators with every kind of attribute, at opset 18."""
    node = helper.make_node
    nodes = [
        node("Pad", ["image", "pads"], ["padded"], mode="reflect"),
        node("Conv", ["padded", "w1"], ["c1"], strides=[2, 2], group=3, dilations=[1, 1]),
        node("BatchNormalization", ["c1", "s6", "b6", "b6", "s6"], ["n1"], epsilon=1e-3),
        node("Clip", ["n1", "zero", "six"], ["r1"]),
        node("MaxPool", ["r1"], ["p1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1], ceil_mode=0),
        node("AveragePool", ["r1"], ["p2"], kernel_shape=[3, 3], auto_pad="SAME_UPPER"),
        node("Concat", ["p1", "p2"], ["joined"], axis=1),
        node("Resize", ["joined", "", "scales"], ["larger"], mode="linear"),
        node("ConvTranspose", ["larger", "w2"], ["t1"], strides=[2, 2], output_padding=[1, 1]),
        node("Slice", ["t1", "starts", "ends", "axes"], ["sliced"]),
        node("Shape", ["sliced"], ["shape"], end=1),
        node("Concat", ["shape", "rest"], ["target"], axis=0),
        node("Reshape", ["sliced", "target"], ["flat"]),
        node("Transpose", ["flat"], ["tokens"], perm=[0, 2, 1]),
        node("LayerNormalization", ["tokens", "s4", "b4"], ["normal"], axis=-1),
        node("Split", ["normal", "halves"], ["q", "k"], axis=1),
        node("Einsum", ["q", "k"], ["scores"], equation="bij,bkj->bik"),
        node("Softmax", ["scores"], ["attention"], axis=-1),
        node("MatMul", ["attention", "k"], ["mixed"]),
        node("Tile", ["mixed", "repeats"], ["tiled"]),
        node("ReduceMean", ["tiled", "one"], ["mean"], keepdims=0),
        node("Gemm", ["mean", "fc"], ["logits"], alpha=0.5, transB=1),
        node("Softmax", ["logits"], ["output"], axis=1),
    ]
    rng = np.random.default_rng(0)
    floats = {"w1": (6, 1, 3, 3), "w2": (12, 4, 3, 3), "fc": (CLASSES, 4)}
    weights = {
        name: rng.standard_normal(shape).astype(np.float32) for name, shape in floats.items()
    }
    weights |= {f"s{n}": np.ones(n, np.float32) for n in (4, 6)}
    weights |= {f"b{n}": np.zeros(n, np.float32) for n in (4, 6)}
    weights |= {"zero": np.float32(0), "six": np.float32(6)}  # type: ignore[dict-item]
    weights["scales"] = np.array([1, 1, 2, 2], np.float32)
    whole = {
        "pads": [0, 0, 1, 1, 0, 0, 1, 1], "starts": [1, 1], "ends": [9, 9], "axes": [2, -1],
        "rest": [4, -1], "halves": [32, 32], "repeats": [1, 2, 1], "one": [1],
    }  # fmt: skip
    weights |= {name: np.array(content, np.int64) for name, content in whole.items()}
    return model_of(nodes, weights, opset=18)


def _quantized(variant: str) -> onnx.ModelProto:
    with TemporaryDirectory() as directory:
        shown = pictures(4, (3, SIZE, SIZE))
        return VARIANTS[variant](small_classifier(), shown, Path(directory))


_BUILT: dict[str, Callable[[], onnx.ModelProto]] = {
    "small": small_classifier,
    "grey": lambda: small_classifier(channels=1, batch=1),
    "nhwc": lambda: small_classifier(layout="NHWC", batch=1),
    "operators": many_operators,
    "residual": residual_network,
    "transformer": transformer,
    **{name: partial(_quantized, name) for name in ("qdq", "qoperator", "dynamic")},
}
_LARGE = [
    embedded_model(),
    *(_DATA / f"light/light_{name}.onnx" for name in ("squeezenet", "shufflenet")),
]
_TRAINED = [MODELS / f"{name}.onnx" for name in ("digits8_cnn", "fashion_cnn", "textline_cls")]
_FILES = {
    "large": {path.stem: path for path in _LARGE},
    "old": {path.parent.name: path for path in sorted(_DATA.glob("pytorch-*/*/model.onnx"))},
    "trained": {path.stem: path for path in _TRAINED if path.is_file()},
}
_CHANCES = {"built": 70, "old": 20, "trained": 7, "large": 3}


def choose(random: Random) -> str:
    """The name of a real model."""
    (kind,) = random.choices([*_CHANCES], [*_CHANCES.values()])
    name: str = random.choice([*(_FILES.get(kind) or _BUILT)])
    return name


@cache
def content_of(name: str) -> bytes:
    """The file of the model called `name`."""
    if name in _BUILT:
        return _BUILT[name]().SerializeToString()
    return next(files[name] for files in _FILES.values() if name in files).read_bytes()
