"""The models that are timed: torchvision's and timm's, with random weights, exported once."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from typing import Any

MODELS = {
    "resnet50": "torchvision",
    "vgg16": "torchvision",
    "inception_v3": "torchvision",
    "densenet121": "torchvision",
    "vit_b_16": "torchvision",
    "convnext_tiny": "torchvision",
    "swin_t": "torchvision",
    "mobilenet_v2": "torchvision",
    "efficientnet_lite0": "timm",
    "squeezenet1_1": "torchvision",
}


def module_of(name: str) -> tuple[Any, list[int]]:
    """The PyTorch module in evaluation mode, and the shape of its picture."""
    if name not in MODELS:
        raise ValueError(f"{name} is not in benchmarks/zoo.py")
    from scripts.exported_models import build

    module, shape = build(MODELS[name], name)
    return module, list(shape)


def exported(name: str, directory: Path) -> Path:
    """The model's file in `directory`, made if it is not there, with an open batch."""
    path = directory / f"{name}.onnx"
    if not path.is_file():
        from scripts.exported_models import export

        module, shape = module_of(name)
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as made:
            (file, _), *_ = export(module, shape, "torchscript", Path(made))
            shutil.copy(file, path)
    return path
