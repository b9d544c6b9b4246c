"""A model's weights in a file that is mapped: they take memory only while they are read.

Programs have weights in the layout of their kernels, so those that the model came with are wanted
again only when the next program is built.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterable, Mapping
from tempfile import TemporaryFile

import numpy as np

from unitscope.errors import OutOfMemory

LARGE_BYTES = 1 << 16
"""Smaller weights stay where they are."""
_VECTOR_BYTES = 64


class MappedWeights(dict[str, np.ndarray]):
    """`weights` by name, the large ones read-only in a temporary file that has no name.

    It is gone with the last array. Raises OutOfMemory where there is no room for it.
    """

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        super().__init__(weights)
        large = {name: array for name, array in weights.items() if array.nbytes >= LARGE_BYTES}
        self._memory, places = _mapped(large.values())
        for (name, array), place in zip(large.items(), places, strict=True):
            flat = np.frombuffer(self._memory, np.uint8, array.nbytes, place)
            self[name] = flat.view(array.dtype).reshape(array.shape)

    def let_go(self) -> None:
        """Give the memory back; what is read next is found in the file."""
        self._memory.madvise(mmap.MADV_DONTNEED)


def let_go(weights: Mapping[str, np.ndarray]) -> None:
    """Give back the memory of weights that are mapped."""
    if isinstance(weights, MappedWeights):
        weights.let_go()


def _mapped(arrays: Iterable[np.ndarray]) -> tuple[mmap.mmap, list[int]]:
    """The contents one after the other, each where vectors are loaded, and where they begin."""
    places = []
    with TemporaryFile(prefix="unitscope-", buffering=0) as file:
        try:
            file.write(bytes(_VECTOR_BYTES))  # nothing cannot be mapped
            for array in arrays:
                places.append(-(-file.tell() // _VECTOR_BYTES) * _VECTOR_BYTES)
                file.seek(places[-1])
                np.ascontiguousarray(array).reshape(-1).view(np.uint8).tofile(file)
        except OSError as error:
            raise OutOfMemory(f"the temporary file of a model's weights: {error}") from error
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ), places
