"""H4: int4 weights, per channel and in blocks; what has no int4 kernel computes the same in float. Seed 0.

The kernel rounds each row of x to 8 bits, 1 / 255 of its range, and block scales to bfloat16, 1 / 256: sums
differ by 1 % of the output's range at most here. ONNX Runtime multiplies the same integers with float x, as
long as it does not optimize: its MatMulNBits rounds x, too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

import edgekit
from edgekit import settings
from edgekit.backends.litert import flatbuffer
from edgekit.backends.litert.backend import Compiled, translate
from edgekit.backends.litert.engine import LiteRtEngine
from edgekit.backends.litert.tensors import Graph, Tensor, packed_int4
from edgekit.backends.litert.versions import operator_version
from edgekit.spec import Array, Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error

SUM, OUT = 128, 24
LIMIT = 0.01
FLOAT_LIMIT = 1e-5


def weight(m: Model, shape: tuple[int, ...], *, axis: int, block: int = 0, zero: int = 0) -> str:
    """DequantizeLinear of int4 with random scales."""
    integers = m.rng.integers(-7, 8, shape).astype(ml_dtypes.int4)
    blocks = tuple(n // block if i == axis else n for i, n in enumerate(shape)) if block else ()
    sizes = blocks or (shape[axis],)
    scales = m.constant(m.rng.uniform(0.01, 0.03, sizes).astype(np.float32))
    names = [m.constant(integers), scales]
    if zero:
        names.append(m.constant(np.full(sizes, zero, ml_dtypes.int4)))
    attributes: dict[str, Any] = {"block_size": block} if block else {}
    return m.add("DequantizeLinear", *names, axis=axis, **attributes)


def run_onnx(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """ONNX Runtime without its optimizer."""
    settings.silence_native_libraries()
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(None, dict(feeds)), strict=True))


@dataclass(frozen=True)
class Case:
    """``stored``: the types of the weights in the file."""

    id: str
    make: Callable[[Model, str], str]
    small: bool
    shape: tuple[int, ...] = (5, SUM)


def dense(axis: int, block: int = 0, *, depth: int = SUM, zero: int = 0) -> Callable[[Model, str], str]:
    """MatMul: W (in, out)."""
    return lambda m, x: m.add("MatMul", x, weight(m, (depth, OUT), axis=axis, block=block, zero=zero))


def gemm(axis: int, block: int = 0) -> Callable[[Model, str], str]:
    """Gemm: W (out, in), with a bias."""
    return lambda m, x: m.add(
        "Relu", m.add("Gemm", x, weight(m, (OUT, SUM), axis=axis, block=block), m.weight(OUT), transB=1)
    )


def conv(m: Model, x: str) -> str:
    return m.add("Conv", x, weight(m, (8, 4, 3, 3), axis=0), m.weight(8))


def behind_an_image(axis: int, block: int = 0) -> Callable[[Model, str], str]:
    """A channels-last flattened input: the columns of the weight are permuted."""

    def make(m: Model, x: str) -> str:
        features = m.add("Relu", m.add("Conv", x, m.weight(8, 4, 3, 3), m.weight(8), pads=[1, 1, 1, 1]))
        flat = m.add("Flatten", features)
        return m.add("Gemm", flat, weight(m, (OUT, 128), axis=axis, block=block), m.weight(OUT), transB=1)

    return make


CASES = (
    Case("matmul-per-channel", dense(axis=1), small=True),
    Case("matmul-blocks", dense(axis=0, block=32), small=True),
    Case("matmul-blocks-of-64", dense(axis=0, block=64), small=True),
    Case("matmul-blocks-rank-3", dense(axis=0, block=32), small=True, shape=(2, 5, SUM)),
    Case("gemm-per-channel", gemm(axis=0), small=True),
    Case("gemm-blocks", gemm(axis=1, block=32), small=True),
    Case("image-per-channel", behind_an_image(axis=0), small=True, shape=(1, 4, 4, 4)),
    Case("image-blocks", behind_an_image(axis=1, block=32), small=False, shape=(1, 4, 4, 4)),
    Case("odd-sum", dense(axis=1, depth=33), small=False, shape=(3, 33)),
    Case("blocks-of-16", dense(axis=0, block=16), small=False),
    Case("scales-along-the-sum", dense(axis=0), small=False),
    Case("blocks-along-the-outputs", dense(axis=1, block=8), small=False),
    Case("conv", conv, small=False, shape=(1, 4, 9, 7)),
)
EACH = pytest.mark.parametrize("case", CASES, ids=lambda c: c.id)
SMALL = pytest.mark.parametrize("case", [case for case in CASES if case.small], ids=lambda c: c.id)


def model_of(case: Case) -> tuple[onnx.ModelProto, str]:
    m = Model()
    y = case.make(m, m.input("x", case.shape))
    return m.build(y), y


def made_of(case: Case, precision: Precision = Precision.W4) -> Compiled:
    made = translate(as_ir(model_of(case)[0]), precision=precision)
    assert made.lowered.rejections == ()
    return made


def run(made: Compiled, x: Array, folder: Path, output: str, *, kernels: str = "xnnpack") -> Array:
    path = folder / "m.tflite"
    path.write_bytes(flatbuffer.pack(made.lowered.graph))
    (binding,) = made.inputs
    stored = x.transpose(binding.permutation) if binding.permutation else x
    options = RunOptions(settings=(("kernels", kernels),))
    return LiteRtEngine(path, options, ["x"], [output]).run({"x": stored})[output]


def data(case: Case) -> Array:
    return np.random.default_rng(0).standard_normal(case.shape).astype(np.float32)


@pytest.mark.parametrize("kernels", ["xnnpack", "builtin"])
@EACH
def test_values(case: Case, kernels: str, tmp_path: Path) -> None:
    model, y = model_of(case)
    found = run(made_of(case), data(case), tmp_path, y, kernels=kernels)
    if found.ndim == 4:
        found = found.transpose(0, 3, 1, 2)
    limit = LIMIT if case.small else FLOAT_LIMIT
    assert relative_error(found, run_onnx(model, {"x": data(case)})[y]) <= limit


@EACH
def test_what_is_in_the_file(case: Case) -> None:
    graph = made_of(case).lowered.graph
    kinds = {op.code: [graph.tensors[i].dtype for i in op.inputs] for op in graph.operators}
    assert ("int4" in kinds.get("FULLY_CONNECTED", ())) == case.small
    assert "DEQUANTIZE" not in kinds  # of blocks it computes wrong values


@SMALL
def test_two_integers_are_a_byte(case: Case) -> None:
    tensors = made_of(case).lowered.graph.tensors
    (small,) = [tensor for tensor in tensors if tensor.dtype == "int4"]
    assert small.data is not None
    assert small.data.nbytes == OUT * 128 // 2
    scales = tensors[small.blocks.scales] if small.blocks is not None else None
    if scales is not None and small.blocks is not None:
        assert scales.dtype == "float16"
        assert scales.shape == (OUT, 128 // small.blocks.size)


@SMALL
def test_versions_that_old_runtimes_look_up(case: Case) -> None:
    graph = made_of(case).lowered.graph
    found = [operator_version(op, graph.tensors) for op in graph.operators if op.code == "FULLY_CONNECTED"]
    assert found == [12]


@SMALL
def test_equal_models_give_equal_bytes(case: Case) -> None:
    first, second = (flatbuffer.pack(made_of(case).lowered.graph) for _ in range(2))
    assert first == second


def test_a_zero_point_is_refused() -> None:
    case = Case("zero", dense(axis=1, zero=1), small=False)
    made = translate(as_ir(model_of(case)[0]), precision=Precision.W4)
    assert [each.rule for each in made.lowered.rejections] == ["kernel-type"]


def _with_weight(made: Compiled, change: Callable[[Tensor], Tensor]) -> Compiled:
    graph = made.lowered.graph
    tensors = tuple(change(t) if t.dtype == "int4" else t for t in graph.tensors)
    changed: Graph = replace(graph, tensors=tensors)
    return replace(made, lowered=replace(made.lowered, graph=changed))


def _halves_swapped(tensor: Tensor) -> Tensor:
    assert tensor.data is not None
    bytes_: Any = tensor.data
    return replace(tensor, data=(bytes_ >> 4) | (bytes_ << 4))


@SMALL
def test_sabotage_the_other_half_first(case: Case, tmp_path: Path) -> None:
    model, y = model_of(case)
    broken = _with_weight(made_of(case), _halves_swapped)
    found = run(broken, data(case), tmp_path, y)
    assert relative_error(found, run_onnx(model, {"x": data(case)})[y]) > 10 * LIMIT


def test_packing_is_low_half_first_and_ends_with_zero() -> None:
    assert packed_int4(np.array([1, -1, -8], np.int8)).tolist() == [0xF1, 0x08]


def test_quantize_and_compile_write_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    m = Model()
    y = m.add("Gemm", m.input("x", ("batch", 64)), m.weight(64, 64), m.weight(64), transB=1)
    onnx.save(m.build(y), tmp_path / "dense.onnx")
    edgekit.quantize(tmp_path / "dense.onnx", out=tmp_path / "q.onnx", target="litert-cpu", precision="w4")
    artifact = edgekit.compile(tmp_path / "q.onnx", target="litert-cpu", out=tmp_path / "out")
    assert artifact.precision == Precision.W4
    quantized = onnx.load(tmp_path / "q.onnx")
    x = np.random.default_rng(0).standard_normal((3, 64)).astype(np.float32)
    with edgekit.open(artifact.path) as session:
        assert session.facts["kernels"] == "xnnpack"
        found = session.run({"x": x})
    name = quantized.graph.output[0].name
    assert relative_error(found[name], run_onnx(quantized, {"x": x})[name]) <= LIMIT
