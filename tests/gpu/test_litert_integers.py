"""w8a8 on LiteRT's GPU: an operator alone rounds what float64 gives, to 1e-4 of the range; seed 0.

After it has rounded nothing of the kind can hold: TIES have the same exact number on both sides of an edge,
and GPU and CPU are one whole step apart.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from benchmarks import gpu_integers
from benchmarks.gpu_integers import STEPS_OF_RANGE
from edgekit.backends.worker import call_in_worker
from edgekit.ir import io
from tests.gpu.models import built, floats

pytestmark = pytest.mark.usefixtures("swiftshader")
LIMIT_STEPS = 1e-4 * STEPS_OF_RANGE  # of the range of 256 integers
LAYERS = """
g (float[1, 8, 12, 12] x) => (float[1, 32, 12, 12] y)
<float s = {0.03}, int8 z = {5}, float t = {0.11}, int8 u = {-7}, float r = {0.07}>
{
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) v = DequantizeLinear <axis = 0> (w, sw)
  c = Conv <pads = [1, 1, 1, 1]> (d, v) e = QuantizeLinear(c, t, u) f = DequantizeLinear(e, t, u)
  h = HardSwish(f) i = QuantizeLinear(h, r, u) j = DequantizeLinear(i, r, u)
  a = Add(f, j) k = QuantizeLinear(a, t, z) y = DequantizeLinear(k, t, z)
}
"""
TIES = """
g (float[1, 64, 1, 2] x) => (float[1, 64, 1, 1] y) <float s = {0.25}, int8 z = {5}>
{
  q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z)
  m = AveragePool <kernel_shape = [1, 2]> (d) e = QuantizeLinear(m, s, z) y = DequantizeLinear(e, s, z)
}
"""


def layers() -> ir.Model:
    weights = np.random.default_rng(0).integers(-127, 128, (32, 8, 3, 3), np.int8)
    return built(LAYERS, w=weights, sw=np.linspace(0.004, 0.006, 32, dtype=np.float32))


def measured(model: ir.Model, x: np.ndarray[Any, Any], folder: Path) -> dict[str, dict[str, Any]]:
    io.save(model, folder / "m.onnx")
    np.savez(folder / "x.npz", x=x)
    arguments = {"model": str(folder / "m.onnx"), "sample": str(folder / "x.npz")}
    found: dict[str, dict[str, Any]] = call_in_worker(
        "benchmarks.gpu_integers:measure", arguments, subject="LiteRT", doing="running its kernels"
    )
    return found


def test_each_operator_alone_rounds_the_exact_number(tmp_path: Path) -> None:
    found = measured(layers(), floats(1, 8, 12, 12), tmp_path)
    assert set(found) == {"QUANTIZE", "CONV_2D", "HARD_SWISH", "ADD"}
    for name, each in found.items():
        assert each["values"] >= 8 * 12 * 12
        assert each["gpu"] < LIMIT_STEPS, name
        assert each["steps"] <= 1, name


def test_equal_numbers_on_an_edge_are_a_step_apart(tmp_path: Path) -> None:
    """Means of q and q + 1: both are right, 1/255 of the range apart, and that is 39 times 1e-4."""
    low = np.arange(64, dtype=np.float32) * 0.25
    found = measured(built(TIES), np.stack([low, low + 0.25], axis=1).reshape(1, 64, 1, 2), tmp_path)
    pool = found["AVERAGE_POOL_2D"]
    assert (pool["gpu"], pool["cpu"], pool["steps"]) == (0, 0, 1)
    assert pool["differ"] == pool["values"] // 2


def test_sabotage_a_tenth_of_a_step_is_seen() -> None:
    exact = np.linspace(-100, 100, 4001)
    right, wrong = gpu_integers.Found(), gpu_integers.Found()
    right.add(np.round(exact), np.round(exact), exact=exact)
    wrong.add(np.round(exact + 0.1), np.round(exact), exact=exact)
    assert right.gpu is not None
    assert right.gpu < LIMIT_STEPS
    assert wrong.gpu is not None
    assert wrong.gpu > LIMIT_STEPS
