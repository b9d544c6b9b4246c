"""Models of torchvision and timm with random weights, and their exports to ONNX.

The weights hide nothing: what an author initialises to a constant (a layer scale of 1e-6, a branch
that begins at zero) is drawn too, and the norms get the statistics of a batch.
"""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort

torch: Any = importlib.import_module("torch")

Array = np.ndarray[Any, Any]
Batches = tuple[int, ...]

TOLERANCE = 1e-3
EXPORTERS = ("torchscript", "dynamo")
_BATCHES = (1, 2)
_LARGEST = 224
_SIZES = {"inception_v3": 299}
"""Sizes of pictures: timm's default up to the largest, torchvision's largest but for these."""


def build(library: str, name: str) -> tuple[Any, list[int]]:
    """The module in evaluation mode, and the shape of its picture `[C, H, W]`."""
    torch.manual_seed(0)
    if library == "torchvision":
        module = importlib.import_module("torchvision").models.get_model(name, weights=None)
        shape = [3, *[_SIZES.get(name, _LARGEST)] * 2]
    else:
        module = importlib.import_module("timm").create_model(name, exportable=True)
        shape = _small(module, list(module.pretrained_cfg["input_size"]))
    _reveal(module, shape)
    return module.eval(), shape


def _small(module: Any, shape: list[int]) -> list[int]:
    """The shape of a picture no larger than need be, if the module takes it."""
    smaller = [shape[0], *(min(size, _LARGEST) for size in shape[1:])]
    with contextlib.suppress(Exception), torch.no_grad():
        module.eval()(torch.zeros(1, *smaller))
        return smaller
    return shape


def _reveal(module: Any, shape: list[int]) -> None:
    """Draw what is constant, and give the norms the statistics of pictures of several hues."""
    norms = [part for part in module.modules() if hasattr(part, "running_var")]
    with torch.no_grad():
        for name, weight in module.named_parameters():
            if weight.numel() and weight.min() == weight.max():
                weight.copy_(_drawn(name, weight))
        for norm in norms:
            norm.momentum = 1.0
        if norms:
            module.train()(torch.randn(8, *shape) + torch.randn(8, shape[0], 1, 1))


def _drawn(name: str, weight: Any) -> Any:
    """Random numbers near the constant in `weight`, or of a size that counts where it is none."""
    noise, constant = torch.randn_like(weight), weight.flatten()[0]
    if abs(constant) >= 0.1:
        return constant * (1 + 0.1 * noise)
    scales = weight.squeeze().ndim <= 1 and not name.endswith("bias")
    return 0.5 + 0.1 * noise if scales else 0.05 * noise


def export(
    module: Any, shape: list[int], exporter: str, directory: Path
) -> list[tuple[Path, Batches]]:
    """Files and the batches they serve: one with an open batch, else one for each batch.

    Raises what the exporter raises, and ValueError if the file computes something else.
    """
    path = directory / "open.onnx"
    with contextlib.suppress(Exception):  # some modules write their batch into the graph
        _write(module, torch.randn(2, *shape), path, exporter, open_batch=True)
        for batch in _BATCHES:
            _expect_same_logits(path, module, batch, shape)
        return [(path, _BATCHES)]
    files: list[tuple[Path, Batches]] = []
    for batch in _BATCHES:
        path = directory / f"{batch}.onnx"
        _write(module, torch.randn(batch, *shape), path, exporter, open_batch=False)
        _expect_same_logits(path, module, batch, shape)
        files.append((path, (batch,)))
    return files


def _write(module: Any, example: Any, path: Path, exporter: str, *, open_batch: bool) -> None:
    options: dict[str, Any] = {"dynamo": exporter == "dynamo", "verbose": False}
    if open_batch:
        axes = "dynamic_shapes" if options["dynamo"] else "dynamic_axes"
        options[axes] = ({0: "batch"},) if options["dynamo"] else {"image": {0: "batch"}}
    torch.onnx.export(module, (example,), str(path), input_names=["image"], **options)


def _expect_same_logits(path: Path, module: Any, batch: int, shape: list[int]) -> None:
    picture = next(pictures_of(batch, shape))
    with torch.no_grad():
        expected = module(torch.from_numpy(picture)).numpy()
    session = ort.InferenceSession(path)
    found = session.run(None, {session.get_inputs()[0].name: picture})[0]
    if found.shape != expected.shape:
        raise ValueError(f"the exported file computes {found.shape} of {expected.shape}")
    if (error := errors_of(found, expected).max()) > TOLERANCE:
        raise ValueError(f"the logits of the exported file differ by {error:.1e}")


def pictures_of(batch: int, shape: list[int]) -> Iterator[Array]:
    """Random pictures `[batch, *shape]`, always the same ones."""
    rng = np.random.default_rng(0)
    while True:
        yield rng.standard_normal((batch, *shape)).astype(np.float32)


def errors_of(found: Array, expected: Array) -> Array:
    """Largest difference over largest element, in each row; infinite where all are zero."""
    difference, size = (
        np.abs(array).reshape(len(array), -1).max(axis=1, initial=0)
        for array in (found - expected, expected)
    )
    return np.asarray(np.divide(difference, size, out=np.full(len(size), np.inf), where=size > 0))
