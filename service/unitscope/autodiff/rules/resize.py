"""Resampling."""

from __future__ import annotations

from unitscope.autodiff.rule import Rules

rules = Rules()
