"""unitscope: the picture that a unit of any ONNX classifier prefers."""

from importlib.metadata import version

from unitscope.api import maximize
from unitscope.autodiff.gradient_model import gradient_model, save_gradient_model
from unitscope.client import AsyncClient, Client
from unitscope.engine.request import Maximization, MaximizeRequest, Metrics

__version__ = version("unitscope")
__all__ = [
    "AsyncClient",
    "Client",
    "Maximization",
    "MaximizeRequest",
    "Metrics",
    "__version__",
    "gradient_model",
    "maximize",
    "save_gradient_model",
]
