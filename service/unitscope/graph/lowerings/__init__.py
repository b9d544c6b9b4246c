"""All lowerings, gathered in one place."""

from unitscope.graph.lowering import Lowerings

LOWERINGS = Lowerings()
