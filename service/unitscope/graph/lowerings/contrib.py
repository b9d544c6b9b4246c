"""ONNX Runtime's fusions: what it writes when it saves a model at its EXTENDED level."""

from __future__ import annotations

import math
from collections.abc import Sequence

from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Value
from unitscope.graph.lowering import MICROSOFT, Lowerings, Results
from unitscope.graph.signature import Uncovered

lowerings = Lowerings()

Ints = Sequence[int]
Floats = Sequence[float]

_ACTIVATIONS = {
    **dict.fromkeys(("Relu", "Tanh", "Sigmoid", "Softplus", "Softsign"), ()),
    **dict.fromkeys(("LeakyRelu", "Elu", "ThresholdedRelu"), ("alpha",)),
    "HardSigmoid": ("alpha", "beta"),
    "Selu": ("alpha", "gamma"),
    "Clip": ("min", "max"),
}
"""Activations that are fused, and the parameters of each in the order they are written."""
_TANH_SCALE, _TANH_CUBIC = math.sqrt(2 / math.pi), 0.044715


@lowerings.form("FusedConv", domain=MICROSOFT, harmless=("kernel_shape",))
def fused_conv(
    op: Emitter, x: Value, w: Value, b: Value | None = None, z: Value | None = None,
    *, activation: str | None = None, activation_params: Floats | None = None,
    auto_pad: str = "NOTSET", dilations: Ints | None = None, group: int = 1,
    pads: Ints | None = None, strides: Ints | None = None,
) -> Results:  # fmt: skip
    """y = activation(x ∗ w + b + z)"""
    y = op.Conv(
        x, w, b, auto_pad=auto_pad, dilations=dilations, group=group, pads=pads, strides=strides
    )
    return activated(op, _plus(op, y, z), activation, activation_params or ())


@lowerings.form("FusedGemm", domain=MICROSOFT)
def fused_gemm(
    op: Emitter, a: Value, b: Value, c: Value | None = None,
    *, activation: str | None = None, activation_alpha: float | None = None,
    activation_beta: float | None = None, activation_gamma: float | None = None,
    alpha: float = 1.0, beta: float = 1.0, transA: int = 0, transB: int = 0,
) -> Results:  # fmt: skip
    """y = activation(α a' b' + β c)"""
    y = op.Gemm(a, b, c, alpha=alpha, beta=beta, transA=transA, transB=transB)
    given = (activation_alpha, activation_beta, activation_gamma)
    return activated(op, y, activation, [value for value in given if value is not None])


@lowerings.form("FusedMatMul", "TransposeMatMul", domain=MICROSOFT)
def fused_matmul(
    op: Emitter, a: Value, b: Value,
    *, alpha: float = 1.0, transA: int = 0, transB: int = 0, transBatchA: int = 0,
    transBatchB: int = 0,
) -> Results:  # fmt: skip
    """y = α a' b'"""
    y = op.MatMul(_turned(op, a, transA, transBatchA), _turned(op, b, transB, transBatchB))
    return y if alpha == 1 else op.Mul(y, float(alpha))


@lowerings.form("Gelu", domain=MICROSOFT)
def gelu(op: Emitter, x: Value) -> Results:
    """y = x Φ(x) = x/2 · (1 + erf(x/√2))"""
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Mul(x, math.sqrt(0.5))), 1.0))


@lowerings.form("BiasGelu", domain=MICROSOFT)
def bias_gelu(op: Emitter, a: Value, b: Value) -> Results:
    """y = Gelu(a + b)"""
    return gelu(op, op.Add(a, b))


@lowerings.form("FastGelu", domain=MICROSOFT)
def fast_gelu(op: Emitter, x: Value, bias: Value | None = None) -> Results:
    """y = v/2 · (1 + tanh(√(2/π) (v + 0.044715 v³))), v = x + bias"""
    v = _plus(op, x, bias)
    bent = op.Mul(v, op.Add(op.Mul(op.Mul(v, v), _TANH_SCALE * _TANH_CUBIC), _TANH_SCALE))
    return op.Mul(op.Mul(v, 0.5), op.Add(op.Tanh(bent), 1.0))


@lowerings.form("QuickGelu", domain=MICROSOFT)
def quick_gelu(op: Emitter, x: Value, *, alpha: float = 1.702) -> Results:
    """y = x · σ(α x); SiLU with α = 1"""
    return op.Mul(x, op.Sigmoid(x if alpha == 1 else op.Mul(x, float(alpha))))


@lowerings.form("BiasAdd", domain=MICROSOFT)
def bias_add(op: Emitter, x: Value, bias: Value, skip: Value) -> Results:
    """y = x + bias + skip"""
    return op.Add(op.Add(x, bias), skip)


@lowerings.form("BiasSoftmax", domain=MICROSOFT, harmless=("is_inner_broadcast",))
def bias_softmax(op: Emitter, data: Value, bias: Value, *, axis: int = 1) -> Results:
    """y = Softmax(data + bias) over the axes from `axis` on, taken together"""
    scores = op.Add(data, bias)
    if axis in (-1, scores.rank - 1):
        return op.Softmax(scores, axis=-1)
    return op.reshape_like(op.Softmax(op.Flatten(scores, axis=axis), axis=-1), scores)


@lowerings.form("BiasDropout", domain=MICROSOFT, harmless=("seed",))
def bias_dropout(
    op: Emitter, data: Value, bias: Value, residual: Value | None = None,
    ratio: Value | None = None, training_mode: Value | None = None,
) -> Results:  # fmt: skip
    """y = data + bias + residual: nothing is dropped outside training"""
    if training_mode is not None and (training_mode.const is None or training_mode.const.item()):
        raise Uncovered("training mode")
    y = op.Add(data, bias)
    return _plus(op, y, residual), None


@lowerings.form("LayerNormalization", domain=MICROSOFT, harmless=("stash_type",))
def layer_normalization(
    op: Emitter, x: Value, scale: Value, b: Value | None = None,
    *, axis: int = -1, epsilon: float = 1e-5,
) -> Results:  # fmt: skip
    """The standard operator, from before it was one"""
    return _normalized(op, x, scale, b, axis, epsilon)


@lowerings.form("SimplifiedLayerNormalization", domain=MICROSOFT, harmless=("stash_type",))
def simplified_layer_normalization(
    op: Emitter, x: Value, scale: Value, *, axis: int = -1, epsilon: float = 1e-5
) -> Results:
    """y = scale · x / √(mean(x²) + ε) over the axes from `axis` on"""
    return _root_mean_square_normalization(op, x, scale, axis, epsilon)


@lowerings.form("SkipLayerNormalization", domain=MICROSOFT)
def skip_layer_normalization(
    op: Emitter, x: Value, skip: Value, gamma: Value, beta: Value | None = None,
    bias: Value | None = None, *, epsilon: float = 1e-12,
) -> Results:  # fmt: skip
    """y = LayerNormalization(s), s = x + skip + bias, which is its fourth output"""
    s = _plus(op, op.Add(x, skip), bias)
    return _normalized(op, s, gamma, beta, -1, epsilon), None, None, s


@lowerings.form("SkipSimplifiedLayerNormalization", domain=MICROSOFT)
def skip_simplified_layer_normalization(
    op: Emitter, x: Value, skip: Value, gamma: Value, bias: Value | None = None,
    *, epsilon: float = 1e-12,
) -> Results:  # fmt: skip
    """y = SimplifiedLayerNormalization(s), s = x + skip + bias, which is its fourth output"""
    s = _plus(op, op.Add(x, skip), bias)
    return _root_mean_square_normalization(op, s, gamma, -1, epsilon), None, None, s


def activated(op: Emitter, x: Value, activation: str | None, parameters: Floats) -> Value:
    """The activation fused behind an operator, x itself if there is none"""
    if not activation:
        return x
    if activation == "HardSwish":  # the runtime writes parameters and does not read them
        return op.HardSwish(x)
    names = _ACTIVATIONS.get(activation)
    if names is None or len(parameters) != len(names):
        raise Uncovered(f"activation={activation!r} with parameters {list(parameters)}")
    if activation == "Clip":
        return op.Clip(x, *(float(bound) for bound in parameters))
    return op.emit(activation, [x], dict(zip(names, parameters, strict=True)))[0]


def _turned(op: Emitter, matrix: Value, swap: int, batch: int) -> Value:
    """`batch`: the first axis moves in front of the last; `swap`: the last two change places"""
    axes = list(range(matrix.rank))
    if batch:
        axes = [*axes[1:-1], axes[0], axes[-1]]
    if swap and matrix.rank > 1:
        axes[-2:] = axes[:-3:-1]
    return matrix if axes == sorted(axes) else op.Transpose(matrix, perm=axes)


def _plus(op: Emitter, x: Value, more: Value | None) -> Value:
    return x if more is None else op.Add(x, more)


def _normalized(
    op: Emitter, x: Value, scale: Value, b: Value | None, axis: int, epsilon: float
) -> Value:
    """LayerNormalization; ONNX Runtime crashes where a bias is given and absent."""
    given = [x, scale] if b is None else [x, scale, b]
    return op.LayerNormalization(*given, axis=axis, epsilon=epsilon)


def _root_mean_square_normalization(
    op: Emitter, x: Value, scale: Value, axis: int, epsilon: float
) -> Value:
    axes = list(range(axis % x.rank, x.rank))
    spread = op.ReduceMean(op.Mul(x, x), axes, keepdims=1)
    return op.Mul(op.Div(x, op.Sqrt(op.Add(spread, float(epsilon)))), scale)
