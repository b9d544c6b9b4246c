"""unitscope: the picture that a unit of any ONNX classifier prefers."""

from unitscope.api import maximize
from unitscope.client import AsyncClient, Client
from unitscope.engine.request import Maximization, MaximizeRequest, Metrics

__all__ = ["AsyncClient", "Client", "Maximization", "MaximizeRequest", "Metrics", "maximize"]
