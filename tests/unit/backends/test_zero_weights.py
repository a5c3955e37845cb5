"""Zeros among weights -> what OpenVINO and TensorRT are told about them, and that it changes no number."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

import edgekit
from edgekit import target as targets
from edgekit.backends import onnxruntime_lowering, openvino_lowering
from edgekit.backends.openvino_lowering import MOSTLY_ZERO, SPARSE_RATE
from edgekit.backends.zero_weights import terms_of
from edgekit.ir import io
from edgekit.ir.graph import constant
from edgekit.spec import Array, Precision
from tests.unit.litert.litert_models import Model, as_ir

SPARSITY = "tensorrt.trt_sparsity_enable"


def _zeroed(array: Array, part: float, *, seed: int = 0) -> Array:
    kept = np.random.default_rng(seed).random(array.shape) >= part
    return np.where(kept, array, 0).astype(np.float32)


def _two_of_four(array: Array) -> Array:
    """Along the last axis."""
    groups = np.array(array).reshape(-1, 4)
    groups[:, 2:] = 0
    return groups.reshape(array.shape).astype(np.float32)


def _conv(weight: Array) -> ir.Model:
    m = Model()
    return as_ir(m.build(m.add("Conv", m.input("x", (1, weight.shape[1], 5, 5)), m.constant(weight, "w"))))


@dataclass(frozen=True)
class Case:
    id: str
    weight: Array
    is_two_of_four: bool


_ONES = np.ones((6, 8, 3, 3), np.float32)
CASES = [
    Case("dense", _ONES, is_two_of_four=False),
    Case(
        "by input channel",
        np.moveaxis(_two_of_four(np.moveaxis(_ONES, 1, -1)), -1, 1),
        is_two_of_four=True,
    ),
    Case("along the kernel", _two_of_four(np.ones((6, 32))).reshape(6, 8, 2, 2), is_two_of_four=False),
    Case("channels that are no fours", np.zeros((6, 6, 1, 1), np.float32), is_two_of_four=False),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_two_of_four_are_input_channels_behind_each_other(case: Case) -> None:
    """Z2."""
    assert [each.is_two_of_four for each in terms_of(_conv(case.weight))] == [case.is_two_of_four]


@pytest.mark.parametrize("turned", [False, True])
def test_rows_of_a_dense_layer_are_its_outputs(turned: bool) -> None:
    weight = _two_of_four(np.ones((8, 12), np.float32))  # (out, in)
    m = Model()
    x = m.input("x", ("N", 12))
    y = (
        m.add("Gemm", x, m.constant(weight, "w"), transB=1)
        if turned
        else m.add("MatMul", x, m.constant(weight.T.copy(), "w"))
    )
    (found,) = terms_of(as_ir(m.build(y)))
    assert found.weight.shape == (8, 12)
    assert found.is_two_of_four
    assert found.zeros == 0.5


def test_tensorrt_may_leave_out_zeros_where_they_lie_two_of_four() -> None:
    options = targets.load("gpu-tensorrt").run.options()
    for case in CASES:
        for precision in (Precision.FP32, Precision.FP16, Precision.W8A8):
            told = onnxruntime_lowering.options_for(precision, options, model=_conv(case.weight))
            assert dict(told.settings).get(SPARSITY) == ("1" if case.is_two_of_four else None)
            assert told.settings == tuple(sorted(told.settings))


def test_other_providers_are_not_told() -> None:
    """It must not fire: no other provider has the option."""
    for name in ("onnxruntime-cpu", "gpu-cuda"):
        options = targets.load(name).run.options()
        told = onnxruntime_lowering.options_for(Precision.FP32, options, model=_conv(CASES[1].weight))
        assert SPARSITY not in dict(told.settings)


def _quantized(folder: Path, part: float) -> Path:
    """Two products of 128 with ``part`` of zeros, in int8 for OpenVINO."""
    m = Model(seed=4)
    first, second = (_zeroed(np.asarray(m.rng.standard_normal((128, 128))), part, seed=s) for s in (0, 1))
    y = m.add(
        "Relu", m.add("Gemm", m.input("x", ("N", 128)), m.constant(first, "a"), m.weight(128), transB=1)
    )
    onnx.save(m.build(m.add("Gemm", y, m.constant(second, "b"), m.weight(128), transB=1)), folder / "m.onnx")
    data = np.random.default_rng(0).standard_normal((64, 128)).astype(np.float32)
    np.savez(folder / "x.npz", allow_pickle=False, x=data)
    return edgekit.quantize(
        folder / "m.onnx",
        calibration_data=str(folder / "x.npz"),
        out=folder / "q.onnx",
        target="openvino-cpu",
        precision="w8a8",
        restore="none",
    )


def test_openvino_packs_weights_that_are_mostly_zero(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("openvino", reason="OpenVINO is not installed")
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    artifact = edgekit.compile(_quantized(tmp_path, 0.8), target="openvino-cpu", out=tmp_path / "made")
    assert dict(artifact.options.settings)[SPARSE_RATE] == str(MOSTLY_ZERO)
    x = {"x": np.random.default_rng(1).standard_normal((3, 128)).astype(np.float32)}
    with edgekit.open(artifact) as session:
        packed = session.run(x)
    settings = tuple(each for each in artifact.options.settings if each[0] != SPARSE_RATE)
    dense = replace(artifact, options=replace(artifact.options, settings=settings))
    with edgekit.open(dense) as session:
        for name, array in session.run(x).items():
            assert np.array_equal(array, packed[name])  # the same integers, read from fewer bytes


@pytest.mark.parametrize("part", [0.5, 0.0])
def test_openvino_is_told_nothing_where_they_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: float
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    options = targets.load("openvino-cpu").run.options()
    model = io.load(_quantized(tmp_path, part))
    assert openvino_lowering.options_for(model, Precision.W8A8, options) == options
    assert openvino_lowering.options_for(model, Precision.FP32, options) == options


def test_zeros_are_still_zeros_in_int8(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    found = [each for each in terms_of(io.load(_quantized(tmp_path, 0.8))) if each.is_int8]
    assert len(found) == 2
    assert all(each.zeros >= 0.78 for each in found)
    assert all(constant(each.node.inputs[1]) is None for each in found)
