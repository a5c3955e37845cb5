"""One random CNN on ONNX Runtime and on OpenVINO: float, and QDQ with the same scales.

Tolerances: float within 1e-5 of the output's range (different summation orders); QDQ within 1 output step at
the median and 4 at most (each of the four requantizations may round one step to the other side; RUNTIMES.md
measured 1 and 4). Seeds are fixed. Covered: odd channels, groups, a residual sum, batch 1 and above, values
beyond the calibrated range.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import pytest
from onnx import helper, numpy_helper

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.base import CompileRequest
from edgekit.backends.onnxruntime import open_model
from edgekit.spec import Precision, RunOptions, Session

Floats = npt.NDArray[np.float32]
CHANNELS = 7  # odd on purpose: no kernel's block size
ACTIVATIONS = ("x", "first", "deep", "sum", "pooled", "logits")  # what is quantized, in order


class Cnn:
    """Conv+Relu -> grouped Conv+Relu -> Add (residual) -> average -> Gemm, optionally with Q/DQ pairs."""

    def __init__(self, scales: Mapping[str, tuple[float, int]] | None, *, seed: int) -> None:
        self._scales, self._rng = scales, np.random.default_rng(seed)
        self._nodes: list[Any] = []
        self._constants: list[Any] = []

    def build(self) -> ir.Model:
        x = self._quantized("x", "x")
        self._add("Conv", [x, self._weight("w1", (CHANNELS, 3, 3, 3))], "c1", pads=[1, 1, 1, 1])
        self._add("Relu", ["c1"], "first")
        first = self._quantized("first", "first")
        weight = self._weight("w2", (CHANNELS, 1, 3, 3))
        self._add("Conv", [first, weight], "c2", pads=[1, 1, 1, 1], group=CHANNELS)
        self._add("Relu", ["c2"], "deep")
        self._add("Add", [first, self._quantized("deep", "deep")], "sum")
        self._add("GlobalAveragePool", [self._quantized("sum", "sum")], "pooled")
        shape = self._constant("shape", np.array([0, -1], np.int64))
        self._add("Reshape", [self._quantized("pooled", "pooled"), shape], "flat")
        flat = self._quantized("flat", "pooled")
        weight = self._weight("w3", (11, CHANNELS))
        self._add("Gemm", [flat, weight], "logits" if self._scales is None else "l", transB=1)
        if self._scales is not None:
            self._quantized("l", "logits", output="logits")
        graph = helper.make_graph(
            self._nodes,
            "cnn",
            [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, ["batch", 3, 9, 9])],
            [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["batch", 11])],
            self._constants,
        )
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
        return ir.serde.deserialize_model(model)

    def _add(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> None:
        self._nodes.append(helper.make_node(kind, inputs, [output], f"{kind}_{output}", **attributes))

    def _constant(self, name: str, value: npt.NDArray[Any]) -> str:
        self._constants.append(numpy_helper.from_array(value, name))
        return name

    def _weight(self, name: str, shape: tuple[int, ...]) -> str:
        """(out, in/groups, *kernel) in int8 steps of one scale per output channel, so float = dequantized."""
        # 7 bits: without VNNI, ONNX Runtime's u8 x s8 pair sums saturate beyond that (32.5 for 64.0)
        integers = self._rng.integers(-63, 64, shape).astype(np.int8)
        scale = (self._rng.uniform(0.5, 1.5, shape[0]) / (36 * np.sqrt(np.prod(shape[1:])))).astype(
            np.float32
        )
        if self._scales is None:
            return self._constant(name, integers * scale.reshape(-1, *[1] * (len(shape) - 1)))
        parts = [
            self._constant(f"{name}_q", integers),
            self._constant(f"{name}_s", scale),
            self._constant(f"{name}_z", np.zeros(shape[0], np.int8)),
        ]
        self._add("DequantizeLinear", parts, name, axis=0)
        return name

    def _quantized(self, value: str, scale_of: str, *, output: str = "") -> str:
        if self._scales is None:
            return value
        scale, zero_point = self._scales[scale_of]
        names = [
            self._constant(f"{value}_s", np.full((), scale, np.float32)),
            self._constant(f"{value}_z", np.full((), zero_point, np.uint8)),
        ]
        self._add("QuantizeLinear", [value, *names], f"{value}_q")
        self._add("DequantizeLinear", [f"{value}_q", *names], output or f"{value}_d")
        return output or f"{value}_d"


def scales_of(model: ir.Model, x: Floats) -> dict[str, tuple[float, int]]:
    """Minimum and maximum of each activation on ``x`` -> scale and zero point of uint8."""
    watched = model.clone()
    values = {value.name: value for node in watched.graph for value in node.outputs}
    for name in ACTIVATIONS[1:-1]:
        values[name].type = ir.TensorType(ir.DataType.FLOAT)
        values[name].shape = ir.Shape(["batch", CHANNELS, "h", "w"])
        watched.graph.outputs.append(values[name])
    with open_model(watched, RunOptions()) as session:
        found = {"x": x, **session.run({"x": x})}
    scales = {}
    for name in ACTIVATIONS:
        low, high = min(0.0, float(found[name].min())), max(0.0, float(found[name].max()))
        scale = (high - low) / 255
        scales[name] = (scale, round(-low / scale))
    return scales


def opened(name: str, model: ir.Model, folder: Path) -> Session:
    target = targets.load(name)
    backend = registry.backend(target.backend)
    options = target.run.options()
    artifact = backend.compile(CompileRequest(model, target, Precision.W8A8, options, name), folder)
    return backend.open(artifact, options)


def logits(session: Session, x: Floats) -> npt.NDArray[np.float64]:
    return session.run({"x": x})["logits"].astype(np.float64)


def images(batch: int, *, seed: int, spread: float = 1.0) -> Floats:
    return np.random.default_rng(seed).normal(0, spread, (batch, 3, 9, 9)).astype(np.float32)


def test_float_agrees(tmp_path: Path) -> None:
    seed = 1
    model = Cnn(None, seed=seed).build()
    with opened("onnxruntime-cpu", model, tmp_path) as one, opened("openvino-cpu", model, tmp_path) as two:
        for batch in (8, 1):
            x = images(batch, seed=seed + 10)
            a, b = logits(one, x), logits(two, x)
            assert np.ptp(a) > 0.1  # a constant output would agree with anything
            assert np.abs(a - b).max() <= 1e-5 * np.ptp(a)


@pytest.mark.parametrize("seed", [1, 2])
def test_qdq_agrees_within_steps_and_runs_in_integers(tmp_path: Path, seed: int) -> None:
    scales = scales_of(Cnn(None, seed=seed).build(), images(32, seed=seed))
    model = Cnn(scales, seed=seed).build()
    step = scales["logits"][0]
    with opened("onnxruntime-cpu", model, tmp_path) as one, opened("openvino-cpu", model, tmp_path) as two:
        assert "_I8:" in two.facts["kernels"]
        for batch, spread in ((64, 1.0), (1, 1.0), (8, 5.0)):
            x = images(batch, seed=seed + 20, spread=spread)
            a, b = logits(one, x), logits(two, x)
            steps = np.abs(a - b) / step
            assert len(np.unique(a)) > 5  # not all saturated
            assert np.median(steps) <= 1.01  # 0.01: the outputs are float32 multiples of the step
            assert steps.max() <= 4.01


def test_other_scales_are_seen_as_a_disagreement(tmp_path: Path) -> None:
    """Sabotage: half the scale of one activation, which then saturates, must not pass for agreement."""
    scales = scales_of(Cnn(None, seed=1).build(), images(32, seed=1))
    wrong = {**scales, "pooled": (scales["pooled"][0] * 0.5, 0)}
    x = images(64, seed=21)
    with (
        opened("onnxruntime-cpu", Cnn(scales, seed=1).build(), tmp_path) as one,
        opened("openvino-cpu", Cnn(wrong, seed=1).build(), tmp_path) as two,
    ):
        steps = np.abs(logits(one, x) - logits(two, x)) / scales["logits"][0]
    assert steps.max() > 4.01
