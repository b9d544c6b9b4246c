"""All gradient rules, gathered in one place."""

from unitscope.autodiff.rule import Rules
from unitscope.autodiff.rules import (
    activation,
    conv,
    elementwise,
    gather,
    linear,
    norm,
    pool,
    redirect,
    reduce,
    resize,
    sampling,
    sequence,
    shape,
    spectrum,
)

RULES = Rules(
    elementwise.rules,
    activation.rules,
    linear.rules,
    conv.rules,
    pool.rules,
    norm.rules,
    reduce.rules,
    shape.rules,
    gather.rules,
    resize.rules,
    sampling.rules,
    sequence.rules,
    spectrum.rules,
)
REDIRECTED = RULES.overridden(by=redirect.rules)
