"""unitscope: the picture that a unit of any ONNX classifier prefers."""

from importlib.metadata import version

from unitscope.api import attribute, maximize, maximize_several
from unitscope.autodiff.gradient_model import gradient_model, save_gradient_model
from unitscope.client import AsyncClient, Client
from unitscope.engine.attribution import AttributeRequest, Attribution
from unitscope.engine.request import Maximization, MaximizeRequest, Metrics

__version__ = version("unitscope")
__all__ = [
    "AsyncClient",
    "AttributeRequest",
    "Attribution",
    "Client",
    "Maximization",
    "MaximizeRequest",
    "Metrics",
    "__version__",
    "attribute",
    "gradient_model",
    "maximize",
    "maximize_several",
    "save_gradient_model",
]
