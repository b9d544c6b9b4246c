"""Spectra: what is written of phases is what numpy's inverse transform makes of them."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest

from unitscope.ascent.fourier import Law, emit_phases, half_shape
from unitscope.graph.emit import Emitter
from unitscope.graph.ir import Graph

SIZES = [(24, 32), (17, 23), (8, 7), (7, 8), (1, 2)]


def drawn(phases: np.ndarray, magnitudes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """What `emit_phases` makes of `[C, *half_shape]` both: `[C, H, W]`."""
    op = Emitter(Graph(18))
    one, other = (op.graph.add_input(name, np.float32, (1, *phases.shape)) for name in "ab")
    model = op.graph.to_model([emit_phases(op, one, other, *size)])
    session = ort.InferenceSession(model.SerializeToString())
    fed = {"a": phases[None].astype(np.float32), "b": magnitudes[None].astype(np.float32)}
    return np.asarray(session.run(None, fed)[0][0])


@pytest.mark.parametrize("size", SIZES, ids=str)
def test_phases_are_written_as_numpy_has_them(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(0)
    shape = (3, *half_shape(*size))
    phases, magnitudes = rng.uniform(-np.pi, np.pi, shape), rng.uniform(0, 1, shape)
    expected = np.fft.irfft2(magnitudes * np.exp(1j * phases), s=size) * np.prod(size) / 2
    np.testing.assert_allclose(drawn(phases, magnitudes, size), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("size", [(48, 48), (48, 49)], ids=str)
def test_natural_waves_are_as_strong_across_as_along(size: tuple[int, int]) -> None:
    """Of a picture's own phases; no direction is favoured by how half spectra are written."""
    height, width = size
    noise = np.random.default_rng(0).standard_normal((64, height, width))
    phases = np.angle(np.fft.rfft2(noise))
    plane = drawn(phases, Law(1.0, 0.0).magnitudes(64, height, width), size)
    power = np.mean(np.abs(np.fft.fft2(plane)) ** 2, axis=0)
    along, across = power[1 : height // 2, 0].sum(), power[0, 1 : height // 2].sum()
    assert along == pytest.approx(across, rel=0.1)
    assert plane.std() == pytest.approx(1, rel=0.02)
