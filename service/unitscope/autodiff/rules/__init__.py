"""All gradient rules, gathered in one place."""

from unitscope.autodiff.rule import Rules
from unitscope.autodiff.rules import conv, elementwise, linear, pool, redirect, reduce, shape

RULES = Rules(elementwise.rules, linear.rules, conv.rules, pool.rules, reduce.rules, shape.rules)
REDIRECTED = RULES.overridden(by=redirect.rules)
