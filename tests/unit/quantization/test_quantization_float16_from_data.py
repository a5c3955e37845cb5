"""`edgekit quantize --precision fp16` reads the calibration data: what leaves binary16 stays in float32."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.ir import io

# products of 1e5 and more: no constant says so, only data do
HOT = """
g (float[batch, 8] x) => (float[batch, 8] y) <float[8, 8] w>
{ a = MatMul(x, w) logits = Mul(a, a) y = Softmax(logits) }
"""


def _type_of_logits(path: Path) -> ir.DataType | None:
    values = [value for node in io.load(path).graph for value in node.outputs]
    return next(each.dtype for each in values if each.name == "logits")


@pytest.mark.parametrize(
    ("source", "kept"), [("data", True), ("ranges", True), ("", False)], ids=["data", "ranges", "neither"]
)
def test_an_overflow_is_found_in_the_data(
    build: Callable[..., ir.Model], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, source: str, kept: bool
) -> None:
    """Sabotage: without data or ranges the logits are float16, and infinite there."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    model, data = tmp_path / "hot.onnx", tmp_path / "data.npz"
    io.save(build(HOT, w=rng.normal(0, 100, (8, 8)).astype(np.float32)), model)
    np.savez(data, allow_pickle=False, x=rng.standard_normal((16, 8)).astype(np.float32))
    ranges = None
    if source == "ranges":
        ranges = tmp_path / "ranges.json"
        edgekit.calibrate(model, calibration_data=str(data), out=ranges)
    out = edgekit.quantize(
        model,
        calibration_data=str(data) if source == "data" else "",
        ranges=ranges,
        out=tmp_path / "half.onnx",
        target="gpu-webgpu",
        precision="fp16",
    )
    assert _type_of_logits(out) == (ir.DataType.FLOAT if kept else ir.DataType.FLOAT16)
