"""H1 to H3: integer weights before float activations; operators, versions, values, sizes, and the verbs.

H2 is exact to 1e-5 of the range; H1 rounds each row of the input to 8 bits: 2 % of the range. Seed 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import Compiled, translate
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.tensors import written_shape
from edgekit.backends.litert.versions import operator_version
from edgekit.ir import io
from edgekit.spec import Array, Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_onnx

LIMIT = {Precision.W8: 1e-5, Precision.DYNAMIC: 0.02}


def conv(m: Model, x: str, *, groups: int = 1) -> str:
    w = (m.rng.standard_normal((8, 4 // groups, 3, 3)) * 0.3).astype(np.float32)
    weight, _ = m.quantized_weight(w, axis=0)
    return m.add("Relu", m.add("Conv", x, weight, m.weight(8), group=groups, pads=[1, 1, 1, 1]))


def depthwise(m: Model, x: str) -> str:
    return conv(m, x, groups=4)


def grouped(m: Model, x: str) -> str:
    return conv(m, x, groups=2)


@dataclass(frozen=True)
class Case:
    id: str
    make: Callable[[Model, str], str]
    precision: Precision
    operators: dict[str, int]


CASES = (
    Case("conv-dynamic", conv, Precision.DYNAMIC, {"CONV_2D": 1}),
    Case("conv-w8", conv, Precision.W8, {"CONV_2D": 1, "DEQUANTIZE": 1}),
    Case("depthwise-dynamic", depthwise, Precision.DYNAMIC, {"DEPTHWISE_CONV_2D": 1, "DEQUANTIZE": 1}),
    Case("depthwise-w8", depthwise, Precision.W8, {"DEPTHWISE_CONV_2D": 1, "DEQUANTIZE": 1}),
    Case("grouped-dynamic", grouped, Precision.DYNAMIC, {"CONV_2D": 1, "DEQUANTIZE": 1}),
    Case("conv-float", conv, Precision.FP32, {"CONV_2D": 1}),
)


def model_of(case: Case) -> tuple[onnx.ModelProto, str]:
    m = Model()
    y = case.make(m, m.input("x", (1, 4, 9, 7)))
    return m.build(y), y


def run(made: Compiled, x: Array, folder: Path, output: str) -> Array:
    path = folder / "m.tflite"
    path.write_bytes(flatbuffer.pack(made.lowered.graph))
    (binding,) = made.inputs
    stored = x.transpose(binding.permutation) if binding.permutation else x
    assert stored.shape == written_shape(binding.shape)
    found = LiteRtEngine(path, RunOptions(), ["x"], [output]).run({"x": stored})[output]
    (back,) = made.outputs
    return found.transpose(np.argsort(back.permutation)) if back.permutation else found


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
def test_operators_and_values(case: Case, tmp_path: Path) -> None:
    model, y = model_of(case)
    made = translate(as_ir(model), precision=case.precision)
    assert Counter(op.code for op in made.lowered.graph.operators) == case.operators
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 7)).astype(np.float32)
    found = run(made, x, tmp_path, y)
    assert relative_error(found, run_onnx(model, {"x": x})[y]) <= LIMIT.get(case.precision, 1e-5)


@pytest.mark.parametrize("case", CASES[:5], ids=lambda c: c.id)
def test_the_weight_is_stored_in_bytes(case: Case) -> None:
    graph = translate(as_ir(model_of(case)[0]), precision=case.precision).lowered.graph
    weights = [t for t in graph.tensors if t.data is not None and t.data.size >= 8 * 9]
    assert [t.dtype for t in weights] == ["int8"]


def test_versions_that_old_runtimes_look_up() -> None:
    dynamic, *_ = (translate(as_ir(model_of(c)[0]), precision=c.precision).lowered.graph for c in CASES[:1])
    assert [operator_version(op, dynamic.tensors) for op in dynamic.operators] == [5]


def test_sabotage_weights_of_another_channel(tmp_path: Path) -> None:
    model, y = model_of(CASES[1])
    made = translate(as_ir(model), precision=Precision.W8)
    for tensor in made.lowered.graph.tensors:
        if tensor.dtype == "int8" and tensor.data is not None:
            tensor.data.flags.writeable = True
            tensor.data[:] = np.roll(tensor.data, 1, axis=0)
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 7)).astype(np.float32)
    assert relative_error(run(made, x, tmp_path, y), run_onnx(model, {"x": x})[y]) > 0.02


@pytest.mark.parametrize("precision", ["dynamic", "w8"])
def test_compile_follows_what_quantize_wrote(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both precisions have one ONNX form; the file says which it is."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    m = Model()
    y = m.add("Gemm", m.input("x", ("batch", 64)), m.weight(64, 64), m.weight(64), transB=1)
    onnx.save(m.build(y), tmp_path / "dense.onnx")
    edgekit.quantize(
        tmp_path / "dense.onnx", out=tmp_path / "q.onnx", target="litert-cpu", precision=precision
    )
    artifact = edgekit.compile(tmp_path / "q.onnx", target="litert-cpu", out=tmp_path / "out")
    assert artifact.precision == precision
    assert f"-{precision}." in artifact.files[0].path


@pytest.mark.parametrize("precision", ["dynamic", "w8"])
def test_large_convolutions_are_quantized_and_small_ones_not(
    precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """8 x 4 x 3 x 3 weights stay float, 16 x 8 x 3 x 3 become bytes; 2 % of the range (H1), seed 0."""
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    m = Model()
    small = m.add("Relu", m.add("Conv", m.input("x", (1, 4, 9, 7)), m.weight(8, 4, 3, 3), m.weight(8)))
    y = m.add("Conv", small, m.weight(16, 8, 3, 3), m.weight(16), pads=[1, 1, 1, 1])
    onnx.save(m.build(y), tmp_path / "f.onnx")
    edgekit.quantize(tmp_path / "f.onnx", out=tmp_path / "q.onnx", target="litert-cpu", precision=precision)
    artifact = edgekit.compile(tmp_path / "q.onnx", target="litert-cpu", out=tmp_path / "out")
    stored = translate(io.load(tmp_path / "q.onnx"), precision=Precision(precision)).lowered.graph.tensors
    assert [t.dtype for t in stored if t.data is not None and t.data.ndim == 4] == ["float32", "int8"]
    x = np.random.default_rng(0).standard_normal((1, 4, 9, 7)).astype(np.float32)
    quantized = onnx.load(tmp_path / "q.onnx")
    name = quantized.graph.output[0].name
    with edgekit.open(artifact.path) as session:
        assert session.facts["kernels"] == "xnnpack"
        found = session.run({"x": x})[name]
    assert relative_error(found, run_onnx(quantized, {"x": x})[name]) <= LIMIT[Precision(precision)]
