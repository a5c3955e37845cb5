"""Integer inputs and outputs, and layouts that the user fixes: same numbers through the Session."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest, IoDtype, IoForm, IoLayout
from edgekit.backends.litert.backend import LiteRt, translate
from edgekit.backends.litert.io_types import shifted, with_integer_io
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.errors import TargetRefusalError
from edgekit.spec import Array, Artifact, Precision, QuantParams, RunOptions
from tests.unit.litert.litert_models import Doubles, Floats, Model, as_ir, run_onnx

TARGET = targets.load("litert-cpu")
SCALE = 0.1  # of the output


def quantized_cnn(*, dtype: str = "uint8", second: bool = False) -> onnx.ModelProto:
    """Conv and MatMul in QDQ; image (batch, 3, 8, 8) -> v14 (batch, 5), and the feature map if ``second``."""
    m = Model(seed=5)
    zero = 0 if dtype == "int8" else 128
    x = m.quantized(m.input("image", ("batch", 3, 8, 8)), 0.03, zero - 8, dtype=dtype)
    w, _ = m.quantized_weight(m.rng.standard_normal((4, 3, 3, 3)).astype(np.float32), axis=0)
    conv = m.add("Relu", m.add("Conv", x, w, pads=[1, 1, 1, 1]))
    features = m.quantized(conv, 0.05, zero - 128, dtype=dtype)
    flat = m.quantized(m.add("Flatten", features), 0.05, zero - 128, dtype=dtype)
    w2, _ = m.quantized_weight((m.rng.standard_normal((256, 5)) * 0.1).astype(np.float32), axis=1)
    y = m.quantized(m.add("MatMul", flat, w2), SCALE, zero, dtype=dtype)
    return m.build(y, features) if second else m.build(y)


def image(batch: int = 3) -> Floats:
    return np.random.default_rng(7).standard_normal((batch, 3, 8, 8)).astype(np.float32)


def difference(found: Array, expected: Array) -> Doubles:
    return np.abs(found.astype(np.float64) - expected.astype(np.float64))


def compile_to(folder: Path, model: onnx.ModelProto, io: IoForm) -> Artifact:
    request = CompileRequest(as_ir(model), TARGET, Precision.W8A8, RunOptions(), "m", io=io)
    return LiteRt().compile(request, folder)


FORMS = [IoForm(dtype, layout) for dtype in ("float32", "int8", "uint8") for layout in ("auto", "model")]


@pytest.mark.parametrize("source", ["int8", "uint8"])
@pytest.mark.parametrize("io", FORMS, ids=lambda io: f"{io.dtype}-{io.layout}")
def test_a_session_takes_and_gives_the_references_floats(io: IoForm, source: str, tmp_path: Path) -> None:
    model = quantized_cnn(dtype=source, second=True)
    expected = run_onnx(model, {"image": image()})
    artifact = compile_to(tmp_path, model, io)
    with LiteRt().open(artifact, artifact.options) as session:
        found = session.run({"image": image()})
    for name, scale in zip(expected, (SCALE, 0.05), strict=True):
        assert found[name].dtype == np.float32
        steps = difference(found[name], expected[name]) / scale
        assert steps.max() <= 1.001, name  # one quantization step


@pytest.mark.parametrize("layout", ["auto", "model"])
def test_int8_inputs_and_outputs_leave_no_conversion(layout: IoLayout) -> None:
    graph = translate(as_ir(quantized_cnn(second=True)), IoForm("int8", layout)).lowered.graph
    codes = [op.code for op in graph.operators]
    assert not {"QUANTIZE", "DEQUANTIZE"} & set(codes)
    assert [graph.tensors[i].dtype for i in (*graph.inputs, *graph.outputs)] == ["int8"] * 3
    names = [graph.tensors[i].name for i in (*graph.inputs, *graph.outputs)]
    assert names == [*graph.input_names, *graph.output_names]


def test_uint8_is_int8_with_the_zero_point_128_higher() -> None:
    found = translate(as_ir(quantized_cnn()), IoForm("uint8"))
    signed = translate(as_ir(quantized_cnn()), IoForm("int8"))
    codes = [op.code for op in found.lowered.graph.operators]
    assert codes.count("QUANTIZE") == 2
    assert codes[0] == codes[-1] == "QUANTIZE"
    for mine, other in zip((*found.inputs, *found.outputs), (*signed.inputs, *signed.outputs), strict=True):
        assert mine.quant is not None
        assert other.quant is not None
        assert mine.quant.scale == other.quant.scale
        assert mine.quant.zero_point[0] - other.quant.zero_point[0] == 128
        assert (mine.dtype, other.dtype) == ("uint8", "int8")


def test_the_shift_is_exact_in_the_runtime(tmp_path: Path) -> None:
    """All 256 values of uint8 through the file: the integers come out as they went in."""
    m = Model()
    x = m.quantized(m.input("x", (1, 256)), 0.25, 100)
    model = m.build(m.quantized(m.add("Reshape", x, m.ints(16, 16)), 0.25, 100))
    artifact = compile_to(tmp_path, model, IoForm("uint8"))
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(artifact.path))
    interpreter.allocate_tensors()
    values = np.arange(256, dtype=np.uint8).reshape(1, 256)
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], values)
    interpreter.invoke()
    found = interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
    np.testing.assert_array_equal(found, values.reshape(16, 16))


@pytest.mark.parametrize("dtype", ["float32", "int8"])
def test_the_models_own_axes(dtype: IoDtype) -> None:
    free = translate(as_ir(quantized_cnn()), IoForm(dtype, "auto"))
    fixed = translate(as_ir(quantized_cnn()), IoForm(dtype, "model"))
    assert free.inputs[0].permutation == (0, 2, 3, 1)
    assert free.inputs[0].shape == ("batch", 8, 8, 3)
    assert fixed.inputs[0].permutation == ()
    assert fixed.inputs[0].shape == ("batch", 3, 8, 8)
    assert len(fixed.transposes) == len(free.transposes) + 1


def test_integers_of_the_reference_stay() -> None:
    m = Model()
    ids = m.input("ids", (1, 4), "int64")
    table = m.quantized(m.add("Gather", m.weight(9, 4), ids), 0.1, 128)
    best = m.add("ArgMax", m.add("Relu", table), axis=-1, keepdims=0)
    made = translate(as_ir(m.build(best)), IoForm("int8"))
    assert made.lowered.rejections == ()
    assert [binding.dtype for binding in (*made.inputs, *made.outputs)] == ["int64", "int64"]
    assert all(binding.quant is None for binding in (*made.inputs, *made.outputs))


def test_an_input_that_is_itself_the_output_is_copied(tmp_path: Path) -> None:
    m = Model()
    x = m.quantized(m.input("x", (1, 4)), 0.5, 128)
    model = m.build(m.add("Identity", x, out="same"), x)
    artifact = compile_to(tmp_path, model, IoForm("int8"))
    feeds = {"x": np.asarray([[-1.0, 0.2, 0.5, 99.0]], np.float32)}
    with LiteRt().open(artifact, artifact.options) as session:
        found = session.run(feeds)
    for name, value in run_onnx(model, feeds).items():
        np.testing.assert_array_equal(found[name], value)


@dataclass(frozen=True)
class Refused:
    id: str
    model: onnx.ModelProto
    said: tuple[str, ...]


def _float_model() -> onnx.ModelProto:
    m = Model()
    return m.build(m.add("Relu", m.input("x", (1, 4)), out="y"))


def _float_tail() -> onnx.ModelProto:
    m = Model()
    return m.build(m.add("Exp", m.quantized(m.input("x", (1, 4)), 0.1, 128), out="y"))


def _two_scales() -> onnx.ModelProto:
    m = Model()
    x = m.input("x", (1, 4))
    return m.build(m.quantized(m.add("Add", m.quantized(x, 0.1, 128), m.quantized(x, 0.2, 128)), 0.3, 128))


def _residual_float() -> onnx.ModelProto:
    m = Model()
    x = m.input("x", (1, 4))
    y = m.quantized(m.add("Relu", m.quantized(x, 0.1, 128)), 0.1, 128)
    return m.build(y, m.add("Exp", x, out="e"))


REFUSED = (
    Refused("float", _float_model(), ("input 'x' is not quantized", "output 'y' is computed in float32")),
    Refused("float-tail", _float_tail(), ("output 'y' is computed in float32",)),
    Refused("two-scales", _two_scales(), ("input 'x' has several scales",)),
    Refused("float-reader", _residual_float(), ("input 'x' is not quantized", "output 'e'")),
)


@pytest.mark.parametrize("case", REFUSED, ids=lambda case: case.id)
def test_what_has_no_scale_is_refused(case: Refused, tmp_path: Path) -> None:
    with pytest.raises(TargetRefusalError) as caught:
        compile_to(tmp_path, case.model, IoForm("int8"))
    reasons = [rejection.reason for rejection in caught.value.rejections]
    assert len(reasons) == len(case.said)
    for reason, words in zip(reasons, case.said, strict=True):
        assert words in reason
    assert {rejection.rule for rejection in caught.value.rejections} == {"io-dtype"}
    assert "--io-dtype float32" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("end", ["input", "output"])
def test_a_boundary_of_16_bits_is_refused(end: str) -> None:
    wide, narrow = QuantParams("int16", (0.1,), (0,)), QuantParams("int8", (0.1,), (0,))
    first, last = (wide, narrow) if end == "input" else (narrow, wide)
    tensors = (
        Tensor("x", "float32", (1, 4)),
        Tensor("a", first.dtype, (1, 4), first),
        Tensor("b", last.dtype, (1, 4), last),
        Tensor("y", "float32", (1, 4)),
    )
    operators = tuple(
        Operator(code, (i,), (i + 1,)) for i, code in enumerate(("QUANTIZE", "QUANTIZE", "DEQUANTIZE"))
    )
    graph = Graph(tensors, operators, (0,), (3,), ("x",), ("y",))
    rejections = with_integer_io(graph, "int8")[1]
    assert [rejection.reason for rejection in rejections] == [
        f"{end} {'x' if end == 'input' else 'y'!r} is quantized to int16, not to int8 or uint8"
    ]


def test_shifted_both_ways() -> None:
    signed = QuantParams("int8", (0.5,), (-3,))
    assert shifted(signed, "int8") is signed
    assert shifted(signed, "uint8") == QuantParams("uint8", (0.5,), (125,))
    assert shifted(shifted(signed, "uint8"), "int8") == signed


def test_a_wrong_shift_would_be_seen(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Sabotage: with zero points 90 apart the lower end of the input saturates."""
    monkeypatch.setattr("edgekit.backends.litert.io_types.SHIFT", 90)
    model = quantized_cnn()
    feeds = {"image": np.minimum(4 * image(), 0.0)}
    artifact = compile_to(tmp_path, model, IoForm("uint8"))
    with LiteRt().open(artifact, artifact.options) as session:
        found = session.run(feeds)
    expected = run_onnx(model, feeds)
    assert max(difference(found[name], expected[name]).max() for name in expected) > 1.5 * SCALE
