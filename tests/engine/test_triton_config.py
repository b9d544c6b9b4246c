"""Triton's configuration: what is read of it, whatever else it says, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from unitscope.engine.triton_config import InputConfig, TritonConfig, read_config
from unitscope.errors import ModelRejected

CONFIG = """
# Everything that Triton's documentation shows, in each of its ways to write it.
name: "eyes"
platform: "onnxruntime_onnx"
max_batch_size : 8
version_policy: { latest { num_versions: 2 } }
default_model_filename: 'eyes.onnx'
input [
  {
    name: "image"
    data_type: TYPE_FP32
    format: FORMAT_NHWC
    dims: [ -1, -1, 3 ]
  },
  { name: "flat" data_type: TYPE_FP32, dims: 12; reshape { shape: [ 3, 2, 2 ] } }
]
output: [
  {
    name: "output"
    data_type: TYPE_FP32
    dims: [ 1000 ]
    reshape { shape: [ 1000, 1, 1 ] }
    label_filename: "labels" "_of_eyes.txt"
  }
]
instance_group [ { count: 2 kind: KIND_GPU gpus: [ 0, 1 ] }, { kind: KIND_CPU } ]
optimization { execution_accelerators {
  gpu_execution_accelerator : [ { name : "tensorrt" parameters { key: "p" value: "FP16" } } ]
}}
dynamic_batching < preferred_batch_size: [ 4, 8 ] max_queue_delay_microseconds: 100 >
ensemble_scheduling { step [ { model_name: "a" model_version: -1 }, { model_name: "b" } ] }
model_warmup [ { name: "\\"warm\\"" inputs { key: "image" value: { zero_data: true } } } ]
parameters: { key: "rate" value: { string_value: "1.5e-3" } }
"""


def written(directory: Path, text: str) -> Path:
    path = directory / "config.pbtxt"
    path.write_text(text)
    return path


def test_what_matters_is_read_and_all_else_passed_over(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, CONFIG)) == TritonConfig(
        backend="onnxruntime_onnx",
        filename="eyes.onnx",
        latest=2,
        inputs=(InputConfig("image", (-1, -1, 3), "NHWC"), InputConfig("flat", (3, 2, 2))),
        label_files=("labels_of_eyes.txt",),
    )


def test_an_empty_file_says_what_triton_assumes(tmp_path: Path) -> None:
    assert read_config(written(tmp_path, "")) == TritonConfig()


@pytest.mark.parametrize(
    ("policy", "offered"),
    [
        ("", [9, 4, 2, 1]),
        ("version_policy: { all { } }", [9, 4, 2, 1]),
        ("version_policy { latest: { } }", [9]),
        ("version_policy { latest: { num_versions: 0 } }", [9]),
        ("version_policy: { latest: { num_versions: 3 } }", [9, 4, 2]),
        ("version_policy: { specific: { versions: [ 1, 4 ] } }", [4, 1]),
        ("version_policy: { specific { versions: 7 } }", [7]),
    ],
)
def test_the_policy_says_which_versions_are_offered(
    tmp_path: Path, policy: str, offered: list[int]
) -> None:
    assert read_config(written(tmp_path, policy)).offered([9, 4, 2, 1]) == offered


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('name: "eyes', "missing ending quote"),
        ("input [ { name: ", "expected a value, found ''"),
        ("input [ 3 ]", ""),
        ("input { dims: many }", "many"),
        ("version_policy: 3", ""),
        ('default_model_filename: "../secret.onnx"', "'../secret.onnx' is not the name of a file"),
        ('output { label_filename: "/etc/passwd" }', "'/etc/passwd' is not the name of a file"),
        ("a { " * 100_000, "recursion"),
        ("\x00\ufffd", ""),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ModelRejected, match=f"cannot read config.pbtxt: (?s:.*){message}"):
        read_config(written(tmp_path, text))
