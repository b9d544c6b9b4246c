"""What of Triton's `config.pbtxt` matters here: which file, which versions, inputs and labels.

The file is a message of Triton's `ModelConfig` in protobuf's text format
(triton-inference-server/common, protobuf/model_config.proto). Its fields come and go with Triton's
versions, so all are read as they stand and the few that matter are picked out. protobuf's own
parser is no help: it cannot skip a field it does not know that is a list of messages, such as the
`instance_group [ { … } ]` of nearly every file. Its tokenizer is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from google.protobuf.text_format import ParseError, Tokenizer

from unitscope.errors import ModelRejected

_MAX_BYTES = 1 << 20
_LAYOUTS = {"FORMAT_NCHW": "NCHW", "FORMAT_NHWC": "NHWC"}
_Table = dict[str, list[Any]]


@dataclass(frozen=True, slots=True)
class InputConfig:
    """An input: the sizes of its last axes, -1 where open; `layout` is "" where it is not said."""

    name: str
    dims: tuple[int, ...]
    layout: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TritonConfig:
    """What a configuration says; without one, what Triton assumes for an ONNX model.

    `backend`: "" where it is not said. `filename`: of the model in a version's directory.
    `latest`: how many versions are offered; None for all. `specific`: those that are, or none.
    `label_files`: in the model's directory.
    """

    backend: str = ""
    filename: str = "model.onnx"
    latest: int | None = None
    specific: tuple[int, ...] = ()
    inputs: tuple[InputConfig, ...] = ()
    label_files: tuple[str, ...] = ()

    def offered(self, versions: Sequence[int]) -> Sequence[int]:
        """Those of `versions` (the latest first) that can be asked for, or that should be there."""
        return sorted(self.specific, reverse=True) or versions[: self.latest]


def read_config(path: Path) -> TritonConfig:
    """The configuration in the file at `path`; raises ModelRejected for what Triton cannot read."""
    try:
        with path.open(encoding="utf-8") as file:
            return _config(_table(Tokenizer(file.read(_MAX_BYTES).splitlines())))
    except (OSError, ValueError, TypeError, AttributeError, RecursionError, ParseError) as error:
        raise ModelRejected(f"cannot read {path.name}: {error}") from error


def _config(found: _Table) -> TritonConfig:
    policy = _last(found, "version_policy", {})
    filename = str(_last(found, "default_model_filename", "") or "model.onnx")
    for name in (filename, *(labels := _label_files(found))):
        if Path(name).name != name:
            raise ValueError(f"{name!r} is not the name of a file in the model's directory")
    return TritonConfig(
        backend=str(_last(found, "backend", "") or _last(found, "platform", "")),
        filename=filename,
        latest=_latest(policy["latest"][-1]) if "latest" in policy else None,
        specific=tuple(map(int, _last(policy, "specific", {}).get("versions", ()))),
        inputs=tuple(map(_input, found.get("input", ()))),
        label_files=labels,
    )


def _latest(found: _Table) -> int:
    return max(int(_last(found, "num_versions", 1)), 1)


def _label_files(found: _Table) -> tuple[str, ...]:
    return tuple(
        str(name) for output in found.get("output", ()) for name in output.get("label_filename", ())
    )


def _input(found: _Table) -> InputConfig:
    """The model takes `reshape.shape` where there is one, and the batch may be among `dims`."""
    sizes = _last(found, "reshape", {}).get("shape", found.get("dims", ()))
    layout = _LAYOUTS.get(_last(found, "format", ""), "")
    return InputConfig(str(_last(found, "name", "")), tuple(map(int, sizes)), layout)


def _last(found: _Table, name: str, default: Any) -> Any:
    """The value of a field that is not repeated."""
    return found.get(name, [default])[-1]


# The text format


def _table(tokens: Tokenizer, end: str = "") -> _Table:
    """Every field with its values, in order: messages as tables, all else as text."""
    found: _Table = {}
    while not (tokens.TryConsume(end) if end else tokens.AtEnd()):
        name = tokens.ConsumeIdentifier()
        tokens.TryConsume(":")
        found.setdefault(name, []).extend(_values(tokens))
        _ = tokens.TryConsume(",") or tokens.TryConsume(";")
    return found


def _values(tokens: Tokenizer) -> list[Any]:
    if not tokens.TryConsume("["):
        return [_value(tokens)]
    values = []
    while not tokens.TryConsume("]"):
        values.append(_value(tokens))
        tokens.TryConsume(",")
    return values


def _value(tokens: Tokenizer) -> Any:
    for start, end in (("{", "}"), ("<", ">")):
        if tokens.TryConsume(start):
            return _table(tokens, end)
    text = tokens.token
    if text[:1] in ("'", '"'):
        return tokens.ConsumeString()
    if not text[:1].isalnum() and text[:1] not in ("-", "_", "."):
        raise ValueError(f"expected a value, found {text!r}")
    tokens.NextToken()
    return text
