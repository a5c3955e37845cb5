"""`edgekit quantize --precision fp16` reads the calibration data: what leaves binary16 stays in float32.

So does what adds up too coarsely, on targets that add up in float16.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.ir import io
from edgekit.pipeline.lock import LockedScheme
from edgekit.pipeline.quantize import quantize
from edgekit.spec import Precision, Rejection, Silent

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


# a long sum of which nearly all is taken away again
CANCELS = (
    "g (float[batch, 1, 1024] x) => (float[batch, 1, 24] y) <float[1024, 24] w, float[24] most> "
    "{ a = MatMul(x, w) y = Sub(a, most) }"
)


@pytest.mark.parametrize(
    "case",
    [("gpu-webgpu", "data", True), ("gpu-webgpu", "ranges", False), ("gpu-cuda", "data", False)],
    ids=["sums in float16", "no data", "sums in float32"],
)
def test_a_sum_that_is_too_coarse_is_found_in_the_data(
    build: Callable[..., ir.Model],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    case: tuple[str, str, bool],
) -> None:
    """Ranges in a file tell nothing of sums, and a target that adds up in float32 needs no estimate."""
    target, source, kept = case
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    rng = np.random.default_rng(0)
    w = rng.uniform(0, 1, (1024, 24)).astype(np.float32)
    x = rng.uniform(0, 1, (32, 1, 1024)).astype(np.float32)
    model, data, ranges = tmp_path / "sum.onnx", tmp_path / "data.npz", tmp_path / "ranges.json"
    io.save(build(CANCELS, w=w, most=(x @ w).min(axis=(0, 1))), model)
    np.savez(data, allow_pickle=False, x=x)
    if source == "ranges":
        edgekit.calibrate(model, calibration_data=str(data), out=ranges)
    result = quantize(
        model,
        calibration_data=str(data) if source == "data" else "",
        ranges=ranges if source == "ranges" else None,
        out=tmp_path / "half.onnx",
        target=target,
        precision=Precision.FP16,
        method="auto",
        eval_data="",
        metric="top1",
        max_drop_pp=None,
        progress=Silent(),
    )
    assert {each.rule for each in result.left_float} == ({"float16-error"} if kept else set())
    assert any("float16 is off by" in note for note in result.notes) is kept
    values = [value for node in io.load(result.path).graph for value in node.outputs]
    of_sum = next(each.dtype for each in values if each.name == "a")
    assert of_sum == (ir.DataType.FLOAT if kept else ir.DataType.FLOAT16)


def test_the_lock_holds_what_was_estimated() -> None:
    """A release that follows the lock estimates nothing; other locks keep their bytes."""
    why = Rejection("n", "float16-error", "its sum", "nothing to do: it runs in float")
    locked = LockedScheme(
        precision=Precision.FP16,
        keep_float={"n": (why.rule, why.reason)},
        said="off by 0.1",
        plan="",
        files={},
    )
    again = LockedScheme.model_validate_json(locked.model_dump_json())
    assert again.scheme.keep_float == {"n": why}
    assert again.scheme.said == "off by 0.1"
    assert "said" not in LockedScheme(precision=Precision.FP16, plan="", files={}).model_dump()
