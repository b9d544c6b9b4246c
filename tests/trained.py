"""Trained models that lie beside a checkout; tests that need them skip where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

MODELS = Path(__file__).resolve().parents[2] / "shared" / "models"

needs_trained_models = [
    pytest.mark.shared,
    pytest.mark.skipif(not MODELS.is_dir(), reason="the trained models of ../shared are absent"),
]
