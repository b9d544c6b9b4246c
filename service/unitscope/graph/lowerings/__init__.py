"""All lowerings, gathered in one place."""

from unitscope.graph.lowering import Lowerings
from unitscope.graph.lowerings import (
    attention,
    classical,
    contrib,
    nhwc,
    quantized,
    quantized_operators,
    quantized_products,
    recurrent,
    support_vectors,
)

LOWERINGS = Lowerings(
    attention.lowerings,
    classical.lowerings,
    contrib.lowerings,
    nhwc.lowerings,
    quantized.lowerings,
    quantized_operators.lowerings,
    quantized_products.lowerings,
    recurrent.lowerings,
    support_vectors.lowerings,
)
