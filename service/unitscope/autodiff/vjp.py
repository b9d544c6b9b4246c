"""The reverse walk: from the cotangent of an output to the cotangent of an input.

The walk keeps the books so that rules need not: which values depend on the input (active),
how contributions add up, what was broadcast, what has no gradient.
"""

from __future__ import annotations

from collections import defaultdict

from unitscope.autodiff.rule import Cotangents, Rules, refuse
from unitscope.autodiff.sums import total
from unitscope.errors import ModelRejected
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Node, Value, downstream


def differentiate(
    op: Emitter, *, output: Value, wrt: Value, cotangent: Value, rules: Rules
) -> Value:
    """Emit cotangentᵀ · ∂output/∂wrt, in the shape of `wrt`.

    `cotangent` has the shape of `output`. Raises ModelRejected, naming node and operator, where
    the path from `wrt` to `output` goes through something that has no gradient or whose gradient
    is zero everywhere.
    """
    nodes = list(op.graph.nodes)
    active = active_values(nodes, wrt, rules)
    if output not in active:
        raise _not_differentiable(nodes, output, active)
    arriving: dict[Value | None, list[Value]] = defaultdict(list)
    arriving[output].append(cotangent)
    for node in reversed(nodes):
        if wrt in node.outputs:
            break
        dys = tuple(
            total(op, arriving.pop(y)) if y in arriving and y in active else None
            for y in node.outputs
        )
        if all(dy is None for dy in dys):
            continue
        for x, dx in _through(op, node, dys, active, rules):
            arriving[x].append(op.sum_to(dx, x))
    if wrt not in arriving:
        raise _not_differentiable(nodes, output, active)
    return total(op, arriving[wrt])


def refusals(op: Emitter, *, wrt: Value, rules: Rules) -> dict[Value, ModelRejected]:
    """Why `differentiate` would refuse a value, for all values that depend on `wrt` and have none.

    Every rule on the way is tried on its own and what it emits is thrown away, so the whole graph
    costs no more than one gradient.
    """
    nodes = list(op.graph.nodes)
    active = active_values(nodes, wrt, rules)
    depending = downstream(nodes, wrt)
    refused: dict[Value, ModelRejected] = {}
    for node in nodes:
        inherited = next((refused[x] for x in node.inputs if x in active and x in refused), None)
        for position, y in enumerate(node.outputs):
            if y is None or y not in depending:
                continue
            if y not in active:
                refused[y] = _not_differentiable(nodes, y, active)
            elif reason := inherited or _tried(op, node, position, active, rules):
                refused[y] = reason
    return refused


def _tried(
    op: Emitter, node: Node, position: int, active: set[Value], rules: Rules
) -> ModelRejected | None:
    """What the node's rule says to a cotangent of one output."""
    y = node.outputs[position]
    if y is None:
        return None
    end = len(op.graph.nodes)
    probe = Value("probe", y.dtype, y.shape)
    dys = tuple(probe if other is y else None for other in node.outputs)
    try:
        for x, dx in _through(op, node, dys, active, rules):
            op.sum_to(dx, x)
    except ModelRejected as reason:
        return reason
    finally:
        del op.graph.nodes[end:]
    return None


def active_values(nodes: list[Node], wrt: Value, rules: Rules) -> set[Value]:
    """The values that `wrt` can move: reached from it, not only through zero derivatives.

    Integers of an operator with a rule (indices, a cast) carry nothing. Those of an operator
    without one (a quantizer) do: the walk must not lose that path, but refuse it.
    """
    active = {wrt}
    for node in nodes:
        if not rules.is_zero(node.op_type) and any(x in active for x in node.inputs):
            known = node.op_type in rules
            active.update(y for y in node.outputs if y is not None and (y.is_float or not known))
    return active


def _through(
    op: Emitter, node: Node, dys: Cotangents, active: set[Value], rules: Rules
) -> list[tuple[Value, Value]]:
    dxs = rules.find(node).apply(op, node, dys)
    pairs = []
    for index, x in enumerate(node.inputs):
        if x is None or x not in active:
            continue
        dx = dxs[index] if index < len(dxs) else None
        if dx is None:
            raise refuse(node, f"no gradient with respect to input {index} ({x.name!r})")
        pairs.append((x, dx))
    return pairs


def _not_differentiable(nodes: list[Node], output: Value, active: set[Value]) -> ModelRejected:
    """Name the node at which the dependence on the input loses its derivative, if there is one."""
    upstream = {output}
    blocking: Node | None = None
    for node in reversed(nodes):
        if any(y in upstream for y in node.outputs):
            upstream.update(x for x in node.inputs if x is not None)
            stops = any(x in active for x in node.inputs) and not any(
                y in active for y in node.outputs
            )
            blocking = node if stops else blocking
    if blocking is None:
        return ModelRejected(f"tensor {output.name!r} does not depend on the input")
    return refuse(blocking, f"it stops the gradient of {output.name!r}")
