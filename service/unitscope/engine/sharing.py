"""Compiled graphs that have one copy of what they have in common.

ONNX Runtime brings the weights of every session into the layout that its kernels like, so twenty
programs of a model would hold its weights twenty times over. Here a graph is optimised once, its
weights are taken out as they then are and shared by content with those of every other graph, and
the session is made of the optimised graph. Results of nodes lie in one arena for all sessions.
"""

from __future__ import annotations

import contextlib
import functools
import shutil
import threading
import weakref
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import onnxruntime as ort
from onnx import helper, numpy_helper
from onnx.external_data_helper import ExternalDataInfo, uses_external_data

from unitscope.blocked import block_more
from unitscope.engine.cores import usable_cores
from unitscope.errors import OutOfMemory
from unitscope.graph.dialect import OPSET, graphs_in
from unitscope.graph.ir import IR_VERSION, Parts

CPU = "CPUExecutionProvider"
SHARED_BYTES = 1024
"""Smaller weights stay in the graph."""
_GRAPH_FACTOR = 30
"""A session takes about so many times its graph as a message, weights left out."""
_FATAL_ONLY = 4
_VECTOR_BYTES = 64
_POOL_EXISTS = threading.Lock()
_MAKING_ARENA = threading.Lock()
_NEXT_POWER_OF_TWO = 0
"""How the arena grows; by what is asked for, it would never find what it has large enough."""
_PACKING = {"ConvTranspose", "FusedGemm", "FusedMatMul", "Gemm", "MatMul"}
"""Their second inputs, if they are weights, a session keeps once more, packed for its kernels."""


@dataclass(frozen=True, slots=True)
class Footprint:
    """What a graph takes, in bytes: `weights` by their sizes, `own` of the session itself, and
    `peak` of the results of its nodes.
    """

    weights: Counter[int]
    own: int
    peak: int

    @property
    def weight_bytes(self) -> int:
        """Of all weights."""
        return sum(size * count for size, count in self.weights.items())

    @property
    def total(self) -> int:
        """All of it, where nothing is shared."""
        return self.weight_bytes + self.own + self.peak


def footprint(parts: Parts) -> Footprint:
    """What `parts` will take once compiled: layouts differ in their order, hardly in their size."""
    sizes = {name: weight.nbytes for name, weight in parts.weights.items()}
    return Footprint(Counter(sizes.values()), _own_bytes(parts.model, sizes), parts.peak_bytes)


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class Compiled:
    """A graph ready to run. `weights`: what it shares; `own_bytes`, `peak_bytes`: see Footprint.

    `captured`: its device replays it as one piece of work. `elsewhere`: nodes that its device has
    no kernel for, and the processor computes.
    """

    session: ort.InferenceSession
    weights: tuple[np.ndarray, ...]
    own_bytes: int
    peak_bytes: int
    values: tuple[ort.OrtValue, ...] = field(default=(), repr=False)
    """The weights as the session knows them; it does not keep them alive."""
    captured: bool = False
    elsewhere: tuple[str, ...] = ()


class Weights:
    """Arrays by their content, each in memory once as long as anybody holds it."""

    def __init__(self) -> None:
        self._known: dict[tuple[str, tuple[int, ...]], list[weakref.ref[np.ndarray]]] = {}
        self._lock = threading.Lock()

    def share(self, content: np.ndarray, own: np.ndarray | None = None) -> np.ndarray:
        """The array with that content that is held already, else `own` if it is one, or a copy."""
        with self._lock:
            known = self._known.setdefault((content.dtype.str, content.shape), [])
            known[:] = [reference for reference in known if reference() is not None]
            alive = (array for array in (reference() for reference in known) if array is not None)
            found = next((array for array in alive if _same(array, content)), None)
            if found is None:
                found = own if own is not None and _same(own, content) else _aligned(content)
                known.append(weakref.ref(found))
            return found


def compile_shared(parts: Parts, weights: Weights, *, threads: int, packed: bool) -> Compiled:
    """Make `parts` ready to run on the processor.

    `packed`: matrices are kept once more, packed for the kernels: without, a step of a transformer
    takes a fifth longer. Raises OutOfMemory where temporary files have no room for the weights.
    """
    with TemporaryDirectory(prefix="unitscope-") as directory:
        path = Path(directory) / "model.onnx"
        check_room(path.parent, footprint(parts))
        _save_optimised(parts, path)
        model = onnx.load(path, load_external_data=False)
        large = dict(_external(model, path.parent))
        if block := channels_of_a_block():
            cores = threads or usable_cores()
            model, large = block_more(model, large, block, path.name, cores=cores)
            onnx.save(model, path)
        shared = {
            name: weights.share(content, parts.weights.get(name)) for name, content in large.items()
        }
        values = {name: ort.OrtValue.ortvalue_from_numpy(x) for name, x in shared.items()}
        options = _options(threads, packed=packed)
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        with _MAKING_ARENA:
            _make_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        options.add_session_config_entry("session.use_device_allocator_for_initializers", "1")
        for name, value in values.items():  # then the file's own are not read
            options.add_initializer(name, value)
        session = ort.InferenceSession(path, options, providers=[CPU])
    sizes = {name: array.nbytes for name, array in shared.items()} if packed else {}
    return Compiled(
        session,
        tuple(shared.values()),
        _own_bytes(model, sizes),
        parts.peak_bytes,
        tuple(values.values()),
    )


def check_room(directory: Path, taken: Footprint) -> None:
    """Raises OutOfMemory where the weights do not fit into `directory`."""
    free = shutil.disk_usage(directory).free
    if free < taken.weight_bytes:
        raise OutOfMemory(
            f"the temporary file of a program takes about {taken.weight_bytes >> 20} MiB, "
            f"{directory.parent} has {free >> 20} MiB left"
        )


def _save_optimised(parts: Parts, path: Path) -> None:
    """Have ONNX Runtime optimise `parts` for this processor, weights in a file beside `path`."""
    options = _options(1, packed=False)
    options.optimized_model_filepath = str(path)
    prefix = "session.optimized_model_external_initializers"
    options.add_session_config_entry(f"{prefix}_file_name", f"{path.name}.data")
    options.add_session_config_entry(f"{prefix}_min_size_in_bytes", str(SHARED_BYTES))
    with handed_over(parts.weights, options):
        ort.InferenceSession(parts.model.SerializeToString(), options, providers=[CPU])


@contextlib.contextmanager
def handed_over(weights: Mapping[str, np.ndarray], options: ort.SessionOptions) -> Iterator[None]:
    """A session made meanwhile takes from memory what its model declares as external data."""
    contents = [ort.OrtValue.ortvalue_from_numpy(np.ascontiguousarray(x)) for x in weights.values()]
    if contents:
        options.add_external_initializers(list(weights), contents)
    yield
    del contents  # the options do not keep their memory alive


def share_threads(count: int) -> None:
    """Have one pool of threads for all sessions of this process; 0: as many as usable cores.

    A pool for each of a server's sessions would be thousands of threads on a large machine. Only
    for a process of our own: nobody in it can make a session with threads of its own any more.
    """
    if _POOL_EXISTS.acquire(blocking=False):  # and never released
        ort.set_global_thread_pool_sizes(count or usable_cores(), 1)


def quiet_options(threads: int = 0) -> ort.SessionOptions:
    """Options of every session: the shared threads or so many, and no word to the terminal."""
    options = ort.SessionOptions()
    if _POOL_EXISTS.locked():
        options.use_per_session_threads = False
    else:
        options.intra_op_num_threads = threads or usable_cores()
    options.log_severity_level = _FATAL_ONLY
    return options


def _options(threads: int, *, packed: bool) -> ort.SessionOptions:
    options = quiet_options(threads)
    options.add_session_config_entry("session.disable_prepacking", str(int(not packed)))
    if not packed:  # it runs seldom: its threads, if it has its own, must not spin beside others'
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    return options


def _external(model: onnx.ModelProto, directory: Path) -> Iterator[tuple[str, np.ndarray]]:
    """Names and contents of the weights that lie in a file of `directory`."""
    for tensor in model.graph.initializer:
        if uses_external_data(tensor):
            place = ExternalDataInfo(tensor)
            dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.data_type))
            file = directory / place.location
            yield (
                tensor.name,
                np.memmap(file, dtype, "r", offset=place.offset or 0, shape=tuple(tensor.dims)),
            )


def _own_bytes(model: onnx.ModelProto, sizes: Mapping[str, int]) -> int:
    """What a session of `model` takes besides weights; `sizes`: of those, in bytes."""
    graphs = model.graph, *graphs_in(model.graph.node)
    nodes = (node for graph in graphs for node in graph.node)
    packed = sum(sizes.get(node.input[1], 0) for node in nodes if node.op_type in _PACKING)
    return packed + _GRAPH_FACTOR * model.ByteSize()


def _aligned(content: np.ndarray) -> np.ndarray:
    """A copy that begins where vectors are loaded; else a step of ResNet-50 takes 6 % longer."""
    memory = np.empty(content.nbytes + _VECTOR_BYTES, np.uint8)
    begin = -memory.ctypes.data % _VECTOR_BYTES
    copy = memory[begin : begin + content.nbytes].view(content.dtype).reshape(content.shape)
    copy[...] = content
    return copy


def _same(one: np.ndarray, other: np.ndarray) -> bool:
    """Whether the bytes are the same; most that are not differ at once."""
    if not (one.flags.c_contiguous and one.dtype == other.dtype and one.shape == other.shape):
        return False
    first, second = (array.reshape(-1).view(f"u{array.itemsize}") for array in (one, other))
    return bool(np.array_equal(first[:64], second[:64]) and np.array_equal(first, second))


@functools.cache
def channels_of_a_block() -> int:
    """As ONNX Runtime's kernels like them on this processor; 0 where it has no blocked ones."""
    kernel = numpy_helper.from_array(np.ones((1, 1, 1, 1), np.float32), "kernel")
    picture, map_ = (
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, (1, 1, 8, 8))
        for name in ("picture", "map")
    )
    node = helper.make_node("Conv", ["picture", "kernel"], ["map"])
    graph = helper.make_graph([node], "one_channel", [picture], [map_], [kernel])
    model = helper.make_model(
        graph, ir_version=IR_VERSION, opset_imports=[helper.make_opsetid("", OPSET)]
    )
    with TemporaryDirectory(prefix="unitscope-") as directory:
        path = Path(directory) / "model.onnx"
        _save_optimised(Parts(model, {}), path)
        kernels = onnx.load(path).graph.initializer
    filled = next((len(numpy_helper.to_array(x)) for x in kernels if len(x.dims) == 4), 1)
    return filled if filled > 1 else 0


@functools.cache
def _make_arena() -> None:
    """For all sessions that ask for it: results of one program lie where those of another were."""
    memory = ort.OrtMemoryInfo(
        "Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT
    )
    ort.create_and_register_allocator(
        memory, ort.OrtArenaCfg({"arena_extend_strategy": _NEXT_POWER_OF_TWO})
    )
