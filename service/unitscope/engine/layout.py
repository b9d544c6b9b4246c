"""Where models lie in a directory: as ONNX files, or in Triton's layout. No model is read here.

    flat.onnx  flat.toml  flat.labels.txt
    triton/config.pbtxt  triton/labels.txt  triton/model.toml
    triton/1/model.onnx
    triton/2/model.onnx/model.onnx  triton/2/model.onnx/weights.bin

Versions are directories with a number as their name that does not begin with 0. Without a
`version_policy` all of them are offered, where Triton offers one: they are loaded when asked for.
"""

from __future__ import annotations

import contextlib
import glob
import os
import re
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from unitscope.engine.triton_config import TritonConfig, read_config
from unitscope.errors import ModelRejected, NotFound

FIRST_VERSION = "1"
"""Of a model that has no others: a flat file."""

_NUMBER = re.compile("[1-9][0-9]{0,17}")
_BACKENDS = ("", "onnxruntime", "onnxruntime_onnx")

Stamp = tuple[tuple[str, int, int, int], ...]
"""Path, size in bytes, time of modification in ns and inode of each file."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFiles:
    """Where a version of a model lies.

    `path`: the ONNX file. `home`: the directory in or below which all its files are. `config`: None
    for a flat file. `problem`: why it cannot be served, as far as one sees without reading it.
    """

    name: str
    version: str
    path: Path
    home: Path
    config: TritonConfig | None = None
    problem: str = ""

    def card(self) -> Path | None:
        """The card: `<stem>.toml` beside the ONNX file or in a directory above it, up to `home`."""
        cards = (folder / f"{self.path.stem}.toml" for folder in self._folders())
        return next((card for card in cards if card.is_file()), None)

    def label_files(self) -> tuple[Path, ...]:
        """Files that may have the labels, the likeliest first."""
        names = () if self.config is None else self.config.label_files
        guesses = (f"{self.path.stem}.labels.txt", "labels.txt")
        return (
            *(self.home / name for name in names),
            *(folder / name for folder in self._folders() for name in guesses),
        )

    def stamp(self) -> Stamp:
        """Differs when a file has changed, by what the file system says of it.

        Of a flat file: what begins with its name and a dot, and `labels.txt`. Of any other: all
        files in its directories.
        """
        if self.config is None:
            names = [*self.home.glob(f"{glob.escape(self.path.stem)}.*"), self.home / "labels.txt"]
        else:
            names = [*self.home.glob("*"), *(self.home / self.version).rglob("*")]
        return tuple(_stamps(sorted(names)))

    def _folders(self) -> Iterator[Path]:
        folder = self.path.parent
        yield folder
        while folder != self.home:
            folder = folder.parent
            yield folder


def scan(directory: Path) -> dict[str, tuple[ModelFiles, ...]]:
    """The versions of every model in `directory`, the latest first; a directory hides a file.

    Raises NotFound if it is not there.
    """
    if not directory.is_dir():
        raise NotFound("model directory", str(directory), [])
    flat = {path.stem: (_flat(path),) for path in directory.glob("*.onnx") if path.is_file()}
    homes = {home.name: _versions(home) for home in directory.iterdir() if _may_hold_models(home)}
    return flat | {name: versions for name, versions in homes.items() if versions}


def files_at(path: Path) -> ModelFiles:
    """The version of a model whose ONNX file is at `path`."""
    path = path.absolute()
    for version in path.parents[:2]:
        if _NUMBER.fullmatch(version.name):
            for files in _versions(version.parent):
                if files.path == path:
                    return files
    return _flat(path)


def _flat(path: Path) -> ModelFiles:
    return ModelFiles(name=path.stem, version=FIRST_VERSION, path=path, home=path.parent)


def _may_hold_models(home: Path) -> bool:
    """Not what is hidden or closed to us, such as `lost+found`."""
    return home.is_dir() and not home.name.startswith(".") and os.access(home, os.R_OK | os.X_OK)


def _versions(home: Path) -> tuple[ModelFiles, ...]:
    names = [entry.name for entry in home.iterdir() if entry.is_dir()]
    numbers = sorted((int(name) for name in names if _NUMBER.fullmatch(name)), reverse=True)
    if not numbers:
        return ()
    config, problem = TritonConfig(), ""
    file = home / "config.pbtxt"
    try:
        config = read_config(file) if file.is_file() else config
    except ModelRejected as error:
        problem = str(error)
    return tuple(_version(home, number, config, problem) for number in config.offered(numbers))


def _version(home: Path, number: int, config: TritonConfig, problem: str) -> ModelFiles:
    path = home / str(number) / config.filename
    if path.is_dir():
        path /= "model.onnx"
    if config.backend not in _BACKENDS:
        problem = f"its backend is {config.backend!r}; only ONNX files are served"
    elif not problem and not path.is_file():
        problem = f"there is no {path.relative_to(home)}"
    return ModelFiles(
        name=home.name, version=str(number), path=path, home=home, config=config, problem=problem
    )


def _stamps(paths: list[Path]) -> Iterator[tuple[str, int, int, int]]:
    for path in paths:
        with contextlib.suppress(FileNotFoundError):  # gone meanwhile
            found = path.stat()
            if stat.S_ISREG(found.st_mode):
                yield str(path), found.st_size, found.st_mtime_ns, found.st_ino
