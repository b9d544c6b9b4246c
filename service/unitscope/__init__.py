"""unitscope: the picture that a unit of any ONNX classifier prefers."""

from unitscope.api import maximize
from unitscope.engine.request import Maximization, MaximizeRequest, Metrics

__all__ = ["Maximization", "MaximizeRequest", "Metrics", "maximize"]
