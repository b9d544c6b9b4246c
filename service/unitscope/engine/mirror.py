"""Models in a store that fsspec can read, such as S3 or a web server: a local copy that follows it.

ONNX files and the weights beside them are read by path, at any offset, so nothing is read remotely.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
import weakref
from pathlib import Path, PurePosixPath
from typing import Any

from unitscope.errors import InvalidRequest, ModelRejected, NotFound


class Mirror:
    """A copy of all that lies under `url`. `directory`: the copy, which goes with this object.

    Raises InvalidRequest for a kind of URL that cannot be read here.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._store, root = _open(url)
        self._root = str(root).rstrip("/")
        self._seen: dict[str, str] = {}
        self.directory = Path(tempfile.mkdtemp(prefix="unitscope-models-"))
        weakref.finalize(self, shutil.rmtree, self.directory, ignore_errors=True)

    def update(self) -> None:
        """Fetch what is new or changed, and remove what is gone.

        Files appear complete, and none before all are there: what cannot be fetched leaves the copy
        as it was. Raises ModelRejected then, and NotFound where there is nothing at all.
        """
        incoming = self.directory / ".incoming"
        shutil.rmtree(incoming, ignore_errors=True)
        try:
            found = self._states()
            changed = [name for name, state in found.items() if self._seen.get(name) != state]
            for name in changed:
                self._store.get_file(f"{self._root}/{name}", str(_made(incoming / name)))
        except Exception as error:  # every kind of store raises its own
            raise ModelRejected(f"cannot fetch the models: {error}") from error
        if not found:
            raise NotFound("model directory", self._url, [])
        for name in self._seen.keys() - found.keys():
            self._remove(name)
        for name in changed:
            (incoming / name).replace(_made(self.directory / name))
        self._seen = found

    def _states(self) -> dict[str, str]:
        """What the store says of each file, which differs when the file does; by relative path."""
        self._store.invalidate_cache()
        paths = [path for path in self._store.find(self._root) if path.startswith(self._root + "/")]
        names = {path: path[len(self._root) + 1 :] for path in paths}
        return {
            name: repr(self._store.info(path))
            for path, name in names.items()
            if "?" not in name and ".." not in PurePosixPath(name).parts  # a web server's sorting
        }

    def _remove(self, name: str) -> None:
        path = self.directory / name
        path.unlink()
        with contextlib.suppress(OSError):  # until one is not empty
            for parent in path.relative_to(self.directory).parents[:-1]:
                (self.directory / parent).rmdir()


def _open(url: str) -> Any:
    try:
        from fsspec.core import url_to_fs  # an extra

        return url_to_fs(url)
    except (ImportError, ValueError) as error:
        expected = f"a directory, or a URL that pip install 'unitscope[fsspec]' can read: {error}"
        raise InvalidRequest("models", url, expected) from error


def _made(path: Path) -> Path:
    """`path`, in a directory that is there."""
    path.parent.mkdir(parents=True, exist_ok=True)
    return path
