"""Chains of operators that see one row of a matrix, some rows at a time.

Between two products of matrices a transformer looks a dozen times at a hidden layer that is larger
than a cache: each operator writes all of it to memory, and the next one fetches it. Here such a
chain is the body of a Scan over a few hundred rows, which stay in the caches of the cores. A Scan
neither copies its slices nor packs weights more than once.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from heapq import heappop, heappush
from typing import Any

import onnx
from onnx import TensorProto, helper

from unitscope.blocked.elementwise import OPERATORS
from unitscope.blocked.layout import Layout, attributes_of
from unitscope.blocked.shapes import MICROSOFT

_LEAST_ROWS = 192
"""At once, for each core: a product of fewer fetches its weights more often than the cache is
worth.
"""

_CACHED_BYTES = 1 << 20
"""What is not larger stays in the cache of a core as it is."""

_LEAST_NODES = 3

_EACH = {
    *(("", operator) for operator in (*OPERATORS, "Div", "Gelu", "Pow", "Reciprocal")),
    *((MICROSOFT, operator) for operator in ("BiasGelu", "FastGelu", "Gelu", "QuickGelu")),
}
"""What looks at one element at a time."""

_PRODUCTS = {("", "Gemm"), ("", "MatMul")}
_ALONG = {("", "LayerNormalization"), ("", "Softmax")}
_REDUCTIONS = {("", "ReduceMean"), ("", "ReduceSum")}


def some_rows_at_a_time(
    layout: Layout, nodes: Iterable[onnx.NodeProto], outputs: Iterable[str], cores: int
) -> list[onnx.NodeProto]:
    """`nodes`, chains of them in Scans. `outputs`: of the graph. `cores`: that share its work."""
    waiting = dict(enumerate(_by_depth(nodes)))
    places = {name: place for place, node in waiting.items() for name in node.output}
    readers: dict[str, set[int]] = {name: {len(places)} for name in places}
    for place, node in waiting.items():
        for name in places.keys() & node.input:
            readers[name].add(place)
    for name in places.keys() - outputs:
        readers[name].remove(len(places))
    begun = len(layout.nodes)
    while waiting:
        place = next(iter(waiting))
        chain = _Chain(layout, place, places, cores)
        members = _members(chain, waiting, readers)
        if chain.is_worth_it:
            chain.emit({name for name in chain.made if not readers[name] <= members})
        else:
            layout.keep(waiting[place])
            members = {place}
        for member in members:
            del waiting[member]
    return layout.nodes[begun:]


def captured(node: onnx.NodeProto) -> list[str]:
    """All that a node reads, in its body too."""
    bodies = (entry.g for entry in node.attribute if entry.HasField("g"))
    return [*node.input, *(name for body in bodies for inner in body.node for name in inner.input)]


def _by_depth(nodes: Iterable[onnx.NodeProto]) -> list[onnx.NodeProto]:
    """In an order in which everything comes as early as it can."""
    depth: dict[str, int] = {}
    levels: dict[int, list[onnx.NodeProto]] = {}
    for node in nodes:
        level = 1 + max((depth.get(x, 0) for x in node.input), default=0)
        depth.update(dict.fromkeys(filter(None, node.output), level))
        levels.setdefault(level, []).append(node)
    return [node for level in sorted(levels) for node in levels[level]]


def _members(
    chain: _Chain, nodes: Mapping[int, onnx.NodeProto], readers: Mapping[str, set[int]]
) -> set[int]:
    """Where those of `nodes` are that `chain` takes, from the first one on."""
    members: set[int] = set()
    waiting = [next(iter(nodes))]
    while waiting:
        place = heappop(waiting)
        if place in nodes and place not in members and chain.takes(nodes[place]):
            members.add(place)
            for name in filter(None, nodes[place].output):
                for reader in readers[name]:
                    heappush(waiting, reader)
    return members


class _Chain:
    """Nodes that see one row at a time, and read of others only what is there before the first."""

    def __init__(self, layout: Layout, place: int, places: Mapping[str, int], cores: int) -> None:
        """`place`: of the first node; `places`: of those that compute, by what they do."""
        self._layout, self._cores = layout, cores
        self._place, self._places = place, places
        self._rows = self._widest = 0
        self._body: list[onnx.NodeProto] = []
        self._read: dict[str, str] = {}
        self.made: dict[str, str] = {}
        """What it computes, and what that is called in the body; `_read` from outside likewise."""

    @property
    def is_worth_it(self) -> bool:
        """Whether a Scan takes less time than the nodes by themselves."""
        large = 4 * self._rows * self._widest > _CACHED_BYTES * self._cores
        return large and len(self._body) >= _LEAST_NODES and self._at_once < self._rows

    @property
    def _at_once(self) -> int:
        """The fewest rows that are enough, and divide all."""
        enough = range(_LEAST_ROWS * self._cores, self._rows)
        return next((count for count in enough if self._rows % count == 0), self._rows)

    def takes(self, node: onnx.NodeProto) -> bool:
        """Add `node` if it sees one row at a time and all that it reads is there."""
        if not self._body and not self._can_begin_with(node):
            return False
        shapes = [self._layout.shape(name) or () for name in node.output if name]
        self._rows = self._rows or math.prod(shapes[0][:-1])
        if not all(shape and math.prod(shape[:-1]) == self._rows for shape in shapes):
            return False
        if _kind(node) == ("", "Reshape"):
            self.made[node.output[0]] = self.made[node.input[0]]
            return True
        attributes = attributes_of(node)
        operands = self._operands(node, attributes, len(shapes[0]))
        named = [operand for operand in operands if operand is not None]
        if not named or len(named) < len(operands):
            return False
        pairs = zip(node.input, named, strict=True)
        self._read |= {x: y for x, y in pairs if y == _within(x) and x not in self.made}
        self.made |= {name: _within(name) for name in node.output if name}
        self._widest = max(self._widest, *(shape[-1] for shape in shapes))
        outs = [name and _within(name) for name in node.output]
        self._body.append(
            helper.make_node(node.op_type, named, outs, node.name, domain=node.domain, **attributes)
        )
        return True

    def emit(self, wanted: set[str]) -> None:
        """The Scan, and those of `wanted` that the chain computes."""
        layout = self._layout
        given = [layout.view(name, (-1, self._at_once, self._width(name))) for name in self._read]
        found = {self.made[name]: name for name in self.made if name in wanted}
        body = helper.make_graph(
            self._body,
            "rows",
            [self._declared(name, within) for name, within in self._read.items()],
            [self._declared(name, within) for within, name in found.items()],
        )
        outs = {within: f"{within}/all" for within in found}
        scan = helper.make_node(
            "Scan", given, [*outs.values()], next(iter(outs)), num_scan_inputs=len(given), body=body
        )
        layout.keep(scan)
        for name in wanted:
            shape = layout.ints(*(layout.shape(name) or ()))
            layout.emit("Reshape", [outs[self.made[name]], shape], out=name)

    def _can_begin_with(self, node: onnx.NodeProto) -> bool:
        if _kind(node) not in _PRODUCTS | _ALONG or len(node.input) < 2:
            return False
        weights = self._layout.constant(node.input[1])
        return weights is not None and weights.dtype == "float32"

    def _operands(
        self, node: onnx.NodeProto, attributes: dict[str, Any], rank: int
    ) -> list[str | None]:
        """What stands for the inputs in the body, where an axis is counted from the end."""
        kind, (first, *rest) = _kind(node), node.input
        if kind in _EACH:
            return [self._row(name) or self._shared(name) for name in node.input]
        if kind in _PRODUCTS and not attributes.get("transA"):
            return [self._row(first), self._matrix(rest[0]), *map(self._shared, rest[1:])]
        if kind in _ALONG and attributes.get("axis", -1) in (-1, rank - 1):
            attributes["axis"] = -1
            return [self._row(first), *map(self._shared, rest)]
        if kind in _REDUCTIONS and rest and attributes.get("keepdims", 1):
            axes = self._layout.constant(rest[0])
            along = axes is not None and axes.tolist() in ([-1], [rank - 1])
            return [self._row(first), self._layout.ints(-1) if along else None]
        return []

    def _row(self, name: str) -> str | None:
        """A tensor that has the chain's rows."""
        if name in self.made:
            return self.made[name]
        shape = self._layout.shape(name) or ()
        is_there = self._places.get(name, -1) < self._place
        fits = len(shape) > 1 and math.prod(shape[:-1]) == self._rows
        constant = self._layout.constant(name) is not None
        return _within(name) if is_there and fits and not constant else None

    def _shared(self, name: str) -> str | None:
        """A constant that is the same for all rows."""
        content = self._layout.constant(name)
        if content is None:
            return None if name else ""
        if content.ndim < 2:
            return name
        is_alike = content.size == content.shape[-1]
        return self._layout.weight(content.reshape(-1)) if is_alike else None

    def _matrix(self, name: str) -> str | None:
        content = self._layout.constant(name)
        return name if content is not None and content.ndim == 2 else None

    def _width(self, name: str) -> int:
        return (self._layout.shape(name) or (0,))[-1]

    def _declared(self, name: str, within: str) -> onnx.ValueInfoProto:
        shape = (self._at_once, self._width(name))
        return helper.make_tensor_value_info(within, TensorProto.FLOAT, shape)


def _kind(node: onnx.NodeProto) -> tuple[str, str]:
    return node.domain, node.op_type


def _within(name: str) -> str:
    return f"{name}/rows"
