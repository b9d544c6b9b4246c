"""Compare one model's gradients with PyTorch's: a line of JSON for each comparison.

Run by coverage_models.py, one process per model.

In a picture with millions of activations some lie within rounding of a kink (a ReLU at zero, a
tie of a MaxPool), and there two correct programs take different sides: PyTorch in float32 and in
float64 do. So several pictures are tried, and each row of the batch must agree in one of them.
Where none is without a kink, smaller pictures are tried: they have fewer activations.
"""

from __future__ import annotations

import copy
import importlib
import json
import logging
import re
import sys
import tempfile
import warnings
from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort

from scripts.exported_models import (
    EXPORTERS,
    TOLERANCE,
    Array,
    Batches,
    build,
    errors_of,
    export,
    pictures_of,
)
from unitscope.autodiff.gradient_model import save_gradient_model
from unitscope.errors import UnitscopeError

torch: Any = importlib.import_module("torch")

DIRECTORY = re.compile(r"(?<![:/\w])(?:/[^\s/:]+)+/")
PICTURES = 6
LAST_PICTURES = 40
"""So many are tried at one size, and at the last."""
SMALL_SIZES = (112, 96, 64, 32)
MANY_PARAMETERS = 40_000_000
"""A model with more is compared on the smallest pictures first: it has many activations, and time
is short."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Layer:
    """A tensor of the file and the call of a submodule that returns the same; None: the logits."""

    tensor: str | None = None
    call: int | None = None


def main(name: str) -> None:
    """Print the rows of the model `library/name`."""
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    library, _, model = name.partition("/")
    module, shape = build(library, model)
    for exporter in EXPORTERS:
        rows = settled(module, shape, exporter, inner=library == "torchvision")
        for row in rows:
            print(json.dumps({"model": name, "exporter": exporter, **row}), flush=True)
        if library == "timm" and rows[0]["status"] != "not exported":
            return


def settled(module: Any, shape: list[int], exporter: str, *, inner: bool) -> list[Row]:
    """The rows of one exporter, of the first size of picture where all agree, else of its own."""
    shapes = [shape, *([shape[0], size, size] for size in SMALL_SIZES)]
    if inner and sum(weight.numel() for weight in module.parameters()) > MANY_PARAMETERS:
        shapes = [*shapes[-2:], shape]
    own: list[Row] = []
    for tried in shapes:
        count = LAST_PICTURES if tried == shapes[-1] else PICTURES
        rows = until_one_disagrees(compare(module, tried, exporter, inner=inner, count=count))
        statuses = {row["status"] for row in rows}
        if tried == shape:
            own = rows
        if statuses == {"agrees"} or (tried == shape and "disagrees" not in statuses):
            return rows
    return own


def until_one_disagrees(rows: Iterator[Row]) -> list[Row]:
    """The rows up to the first that disagrees: it decides."""
    taken = []
    for row in rows:
        taken.append(row)
        if row["status"] == "disagrees":
            break
    return taken


def compare(
    module: Any, shape: list[int], exporter: str, *, inner: bool, count: int
) -> Iterator[Row]:
    """The rows of one exporter: logits and, if `inner`, a layer in the middle."""
    with tempfile.TemporaryDirectory() as directory:
        try:
            files = export(module, shape, exporter, Path(directory))
        except Exception as error:  # exporters raise whatever Python raises
            yield {"status": "not exported", "says": sentence(error)}
            return
        for path, batches in files:
            yield from rows_of(path, module, Layer(), batches, shape, count)
            if inner:
                layer = middle(path, module, batches[0], shape)
                yield from rows_of(path, module, layer, batches, shape, count)


def middle(path: Path, module: Any, batch: int, shape: list[int]) -> Layer:
    """A call of a submodule about the middle, and the tensor of the file with the same content.

    Activations come first, then other submodules; what ignores the picture (a bias by position) is
    no layer.
    """
    picture = next(pictures_of(batch, shape))
    with torch.no_grad():
        calls = called(module, torch.from_numpy(picture), range(sys.maxsize))
        others = called(module, torch.from_numpy(picture / 2), range(sys.maxsize))
    calls = {i: call for i, call in calls.items() if not torch.equal(call[1], others[i][1])}
    tensors = tensors_of(path, picture)

    def distance(index: int) -> tuple[bool, float]:
        inner = calls[index][0].startswith("torch.nn.modules.activation")
        return not inner, abs(index - len(calls) / 2)

    for index in sorted(calls, key=distance):
        content = calls[index][1].numpy()
        for name, tensor in tensors.items():
            if tensor.shape == content.shape and errors_of(tensor, content).max() < TOLERANCE / 10:
                return Layer(name, index)
    raise LookupError("no tensor of the file is the result of a submodule")


def called(module: Any, x: Any, wanted: Container[int]) -> dict[int, tuple[str, Any]]:
    """Where the submodule's class is from and what it returned, by number of the call."""
    count, results = 0, {}

    def note(submodule: Any, _: Any, output: Any) -> None:
        nonlocal count
        if isinstance(output, torch.Tensor) and output.is_floating_point() and output.ndim > 1:
            if count in wanted:
                results[count] = type(submodule).__module__, output.clone()
            count += 1

    hook = torch.nn.modules.module.register_module_forward_hook(note)
    try:
        module(x)
    finally:
        hook.remove()
    return results


def tensors_of(path: Path, picture: Array) -> dict[str, Array]:
    """All that the file computes with floats, by name."""
    model = onnx.load(path, load_external_data=False)
    known = {output.name for output in model.graph.output}
    names = {name for node in model.graph.node for name in node.output if name} - known
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(names))
    probe = path.with_suffix(".probe.onnx")
    onnx.save(model, probe)
    session = ort.InferenceSession(probe)
    wanted = [output.name for output in session.get_outputs() if output.type == "tensor(float)"]
    found = session.run(wanted, {session.get_inputs()[0].name: picture})
    return dict(zip(wanted, found, strict=True))


def rows_of(
    path: Path, module: Any, layer: Layer, batches: Batches, shape: list[int], count: int
) -> Iterator[Row]:
    """One row per batch."""
    about = {"layer": layer.tensor or "logits", "open_batch": len(batches) > 1, "size": shape[-1]}
    try:
        target = path.with_suffix(".gradient.onnx")
        save_gradient_model(target, path, layer.tensor)
        session = ort.InferenceSession(target)
    except Exception as error:
        refused = isinstance(error, UnitscopeError)
        says = str(error) if refused else sentence(error)
        outcome = {"status": "refused" if refused else "fails", "says": says}
        yield from ({**about, "batch": batch, **outcome} for batch in batches)
        return
    for batch in batches:
        yield {**about, "batch": batch, **verdict(session, module, layer, batch, shape, count)}


def verdict(
    session: ort.InferenceSession,
    module: Any,
    layer: Layer,
    batch: int,
    shape: list[int],
    count: int,
) -> Row:
    """Whether each row of the batch agrees in one of the pictures, and the largest error."""
    best, own = np.full(batch, np.inf), np.full(batch, np.inf)
    pictures = pictures_of(batch, shape)
    for tried in range(1, count + 1):
        picture = next(pictures)
        value, gradient, cotangent = autograd(module, picture, layer, np.float32)
        feeds = {session.get_inputs()[0].name: picture, "cotangent": cotangent}
        activation, found = session.run(None, feeds)
        if errors_of(activation, value).max() > TOLERANCE:
            return {"status": "disagrees", "says": "the activation itself differs"}
        errors = errors_of(found, gradient)
        if errors.max() > TOLERANCE:
            precise = copy.deepcopy(module).double()
            _, exact, _ = autograd(precise, picture, layer, np.float64)
            errors = np.minimum(errors, errors_of(found, exact))
            own = np.minimum(own, errors_of(gradient, exact))
        best = np.minimum(best, errors)
        if best.max() <= TOLERANCE:
            return {"status": "agrees", "error": float(best.max()), "pictures": tried}
    says = f"PyTorch's float32 and float64 differ by {own.max():.1e}"
    return {"status": "disagrees", "error": float(best.max()), "says": says}


def autograd(module: Any, picture: Array, layer: Layer, dtype: type) -> tuple[Array, Array, Array]:
    """The activation, cotangentᵀ · ∂activation/∂picture, and the cotangent."""
    x = torch.from_numpy(picture.astype(dtype)).requires_grad_()
    repair = torch.nn.modules.module.register_module_forward_hook(lay_out_gradient)
    try:
        value = module(x) if layer.call is None else called(module, x, {layer.call})[layer.call][1]
    finally:
        repair.remove()
    cotangent = np.random.default_rng(1).standard_normal(tuple(value.shape)).astype(np.float32)
    (gradient,) = torch.autograd.grad(value, x, torch.from_numpy(cotangent.astype(dtype)))
    return value.detach().numpy(), gradient.numpy(), cotangent


def lay_out_gradient(submodule: Any, _: Any, output: Any) -> None:
    """Under a BatchNorm in evaluation mode PyTorch 2.14.1 misreads a permuted gradient of one row:
    it is off by as much as it is large, against central differences and against two equal rows.
    """
    if hasattr(submodule, "running_var") and output.requires_grad:
        output.register_hook(torch.Tensor.contiguous)


def sentence(error: Exception) -> str:
    """Its class and the first line of what it says, files without their directories."""
    first = next(iter(str(error).strip().splitlines()), "")
    return f"{type(error).__name__}: {DIRECTORY.sub('', first)[:200]}"


if __name__ == "__main__":
    main(sys.argv[1])
