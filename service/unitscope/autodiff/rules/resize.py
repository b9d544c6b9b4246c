"""Resampling."""

from __future__ import annotations

from typing import Any

import numpy as np

from unitscope.autodiff.rule import Cotangents, Rules, Uncovered
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value

rules = Rules()
