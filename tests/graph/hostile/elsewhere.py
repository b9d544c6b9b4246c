"""Models whose weights are said to lie where they must not be read from."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import onnx
from onnx import TensorProto, helper

from tests.models import small_classifier

Prepare = Callable[[Path], dict[str, str]]
"""From the model's directory to what the tensor's external data says."""


def _secret(directory: Path) -> Path:
    """A file of the right size outside the model's directory."""
    path = directory.parent / "secret"
    path.write_bytes(bytes(4 * 4 * 3 * 3 * 3))
    return path


def above(directory: Path) -> dict[str, str]:
    return {"location": f"../{_secret(directory).name}"}


def above_in_disguise(directory: Path) -> dict[str, str]:
    (directory / "sub").mkdir(exist_ok=True)
    return {"location": f"sub/.././../{_secret(directory).name}"}


def absolute(directory: Path) -> dict[str, str]:
    return {"location": str(_secret(directory))}


def symlink(directory: Path) -> dict[str, str]:
    (directory / "link").symlink_to(_secret(directory))
    return {"location": "link"}


def symlinked_directory(directory: Path) -> dict[str, str]:
    (directory / "door").symlink_to(directory.parent)
    return {"location": f"door/{_secret(directory).name}"}


def hard_link(directory: Path) -> dict[str, str]:
    (directory / "hard").hardlink_to(_secret(directory))
    return {"location": "hard"}


def pipe(directory: Path) -> dict[str, str]:
    os.mkfifo(directory / "pipe")
    return {"location": "pipe"}


def device(directory: Path) -> dict[str, str]:
    (directory / "zero").symlink_to("/dev/zero")
    return {"location": "zero"}


def folder(directory: Path) -> dict[str, str]:
    (directory / "folder").mkdir()
    return {"location": "folder"}


def no_location(directory: Path) -> dict[str, str]:
    return {}


def no_name(directory: Path) -> dict[str, str]:
    return {"location": ""}


def broken_name(directory: Path) -> dict[str, str]:
    return {"location": "a\0b"}


def long_name(directory: Path) -> dict[str, str]:
    return {"location": "x" * 100_000}


def _beside(directory: Path, **where: str) -> dict[str, str]:
    (directory / "weights").write_bytes(bytes(10_000))
    return {"location": "weights"} | where


def offset_beyond(directory: Path) -> dict[str, str]:
    return _beside(directory, offset=str(1 << 40))


def length_beyond(directory: Path) -> dict[str, str]:
    return _beside(directory, length=str(1 << 62))


def absurd_length(directory: Path) -> dict[str, str]:
    return _beside(directory, length="9" * 5000)


def negative_offset(directory: Path) -> dict[str, str]:
    return _beside(directory, offset="-5")


def no_number(directory: Path) -> dict[str, str]:
    return _beside(directory, length="many")


def length_that_does_not_fit(directory: Path) -> dict[str, str]:
    return _beside(directory, length="7")


ELSEWHERE: tuple[Prepare, ...] = (
    above, above_in_disguise, absolute, symlink, symlinked_directory, hard_link, pipe, device,
    folder, no_location, no_name, broken_name, long_name, offset_beyond, length_beyond,
    absurd_length, negative_offset, no_number, length_that_does_not_fit,
)  # fmt: skip


def endless(directory: Path) -> dict[str, str]:
    """64 GiB that take no place on disk, of which the tensor needs a few bytes."""
    with (directory / "weights").open("wb") as file:
        file.truncate(1 << 36)
    return {"location": "weights"}


def of_a_weight(prepare: Prepare, directory: Path) -> onnx.ModelProto:
    """The small classifier, its first weight elsewhere."""
    model = small_classifier()
    hide(model.graph.initializer[0], prepare(directory))
    return model


def of_a_branch(prepare: Prepare, directory: Path) -> onnx.ModelProto:
    """The small classifier, its pooling in a branch whose own weight lies elsewhere."""
    model = small_classifier()
    condition, hidden = helper.make_tensor("yes", TensorProto.BOOL, [], [True]), TensorProto()
    hidden.CopyFrom(model.graph.initializer[0])
    hidden.name = "hidden"
    hide(hidden, prepare(directory))
    steps = [helper.make_node("Conv", ["image", "hidden"], ["inner"])]
    outputs = [onnx.ValueInfoProto(name="inner")]
    branch = helper.make_graph(steps, "branch", [], outputs, [hidden])
    chosen = helper.make_node("If", ["yes"], ["conv_out"], then_branch=branch, else_branch=branch)
    model.graph.initializer.append(condition)
    model.graph.node[0].CopyFrom(chosen)
    return model


def of_a_function(prepare: Prepare, directory: Path) -> onnx.ModelProto:
    """The small classifier, its first weight a constant of a local function."""
    model = small_classifier()
    hidden = TensorProto()
    hidden.CopyFrom(model.graph.initializer[0])
    hide(hidden, prepare(directory))
    steps = [
        helper.make_node("Constant", [], ["w"], value=hidden),
        helper.make_node("Conv", ["x", "w"], ["y"]),
    ]
    opsets = [helper.make_opsetid("", 17)]
    model.functions.append(helper.make_function("local", "f", ["x"], ["y"], steps, opsets))
    model.opset_import.append(helper.make_opsetid("local", 1))
    call = helper.make_node("f", ["image"], ["conv_out"], domain="local")
    model.graph.node[0].CopyFrom(call)
    return model


def hide(tensor: TensorProto, where: dict[str, str]) -> None:
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in where.items():
        tensor.external_data.add(key=key, value=value)
