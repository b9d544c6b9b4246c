"""Convolutions."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()
