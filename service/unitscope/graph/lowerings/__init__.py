"""All lowerings, gathered in one place."""

from unitscope.graph.lowering import Lowerings
from unitscope.graph.lowerings import (
    attention,
    classical,
    contrib,
    linear_attention,
    nhwc,
    quantized,
    quantized_operators,
    quantized_products,
    recurrent,
    spectrum,
    support_vectors,
    vision,
)

LOWERINGS = Lowerings(
    attention.lowerings,
    classical.lowerings,
    contrib.lowerings,
    linear_attention.lowerings,
    nhwc.lowerings,
    quantized.lowerings,
    quantized_operators.lowerings,
    quantized_products.lowerings,
    recurrent.lowerings,
    spectrum.lowerings,
    support_vectors.lowerings,
    vision.lowerings,
)
