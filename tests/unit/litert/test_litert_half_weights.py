"""float16 models: half the file, the constants' exact values, float32 between operators."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends.base import CompileRequest
from edgekit.backends.litert.backend import LiteRt, packed, translate
from edgekit.backends.litert.half import SMALLEST, has_half, widened, with_half_constants
from edgekit.backends.litert.tensors import Graph, Operator, Tensor
from edgekit.ir.infer import infer_shapes
from edgekit.quantization.float16 import to_float16
from edgekit.spec import Array, Precision, RunOptions
from tests.unit.litert.litert_models import Model, as_ir, relative_error, run_onnx

TARGET = targets.load("litert-cpu")


def network() -> onnx.ModelProto:
    m = Model(seed=4)
    x = m.input("image", ("batch", 3, 8, 8))
    y = m.add("Relu", m.add("Conv", x, m.weight(16, 3, 3, 3, scale=0.2), pads=[1, 1, 1, 1]))
    y = m.add("Relu", m.add("Conv", y, m.weight(16, 1, 3, 3, scale=0.3), group=16, pads=[1, 1, 1, 1]))
    flat = m.add("Reshape", m.add("MaxPool", y, kernel_shape=[2, 2], strides=[2, 2]), m.ints(0, -1))
    hidden = m.add("Tanh", m.add("Gemm", flat, m.weight(256, 300, scale=0.05), m.weight(300)))
    return m.build(m.add("Softmax", m.add("MatMul", hidden, m.weight(300, 7)), out="scores"))


def with_cast_weights() -> ir.Model:
    """float16 initializers, each behind a Cast to float32."""
    model = infer_shapes(as_ir(network()))
    for name, value in tuple(model.graph.initializers.items()):
        if value.dtype != ir.DataType.FLOAT or value.const_value is None:
            continue
        data = value.const_value.numpy().astype(np.float16)
        stored = ir.Value(
            name=f"{name}_half",
            shape=ir.Shape(data.shape),
            type=ir.TensorType(ir.DataType.FLOAT16),
            const_value=ir.tensor(data, name=f"{name}_half"),
        )
        model.graph.register_initializer(stored)
        cast = ir.node("Cast", [stored], attributes={"to": int(ir.DataType.FLOAT)}, name=f"{name}_cast")
        model.graph.insert_before(next(iter(model.graph)), cast)
        made = cast.outputs[0]
        made.name, made.shape, made.type = f"{name}_wide", value.shape, ir.TensorType(ir.DataType.FLOAT)
        value.replace_all_uses_with(made)
        del model.graph.initializers[name]
    return model


FORMS = {"all-half": lambda: to_float16(infer_shapes(as_ir(network()))), "cast-weights": with_cast_weights}


def feeds(batch: int = 3) -> dict[str, Array]:
    return {"image": np.random.default_rng(1).standard_normal((batch, 3, 8, 8)).astype(np.float32)}


def rounded(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same float32 model with constants that are float16 numbers."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    for tensor in out.graph.initializer:
        data = onnx.numpy_helper.to_array(tensor)
        if data.dtype == np.float32:
            half = data.astype(np.float16).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(half, tensor.name))
    return out


@pytest.mark.parametrize("form", FORMS)
def test_it_computes_in_float32_with_the_half_constants(form: str, tmp_path: Path) -> None:
    request = CompileRequest(FORMS[form](), TARGET, Precision.FP16, RunOptions(), "m")
    artifact = LiteRt().compile(request, tmp_path)
    with LiteRt().open(artifact, artifact.options) as session:
        found = session.run(feeds())["scores"]
        assert session.facts["kernels"] == "xnnpack"
    expected = run_onnx(rounded(network()), feeds())["scores"]
    assert relative_error(found, expected) < 1e-5  # of the output's range


@pytest.mark.parametrize("form", FORMS)
def test_the_file_is_half_as_large(form: str) -> None:
    wide = len(packed(translate(as_ir(network())), None))
    half = len(packed(translate(FORMS[form]()), None))
    assert half < 0.54 * wide


@pytest.mark.parametrize("form", FORMS)
def test_only_large_constants_are_dequantized_and_nothing_is_cast(form: str) -> None:
    graph = translate(FORMS[form]()).lowered.graph
    assert "CAST" not in {op.code for op in graph.operators}
    stored = [graph.tensors[op.inputs[0]] for op in graph.operators if op.code == "DEQUANTIZE"]
    assert len(stored) == 4
    for tensor in stored:
        assert tensor.dtype == "float16"
        assert tensor.data is not None
        assert tensor.data.size >= SMALLEST
    assert {tensor.dtype for tensor in graph.tensors} == {"float32", "float16", "int32"}


def test_a_float32_model_stays_as_it_is() -> None:
    """Also where its constants happen to be float16 numbers: nobody asked for it."""
    assert not has_half(as_ir(network()))
    graph = translate(as_ir(rounded(network()))).lowered.graph
    assert "float16" not in {tensor.dtype for tensor in graph.tensors}


def test_float16_inputs_and_outputs_are_float32_in_the_file(tmp_path: Path) -> None:
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 21]>
        m (float16[1,4] x) => (float16[1,4] y) { y = Relu(x) }"""
    )
    artifact = LiteRt().compile(CompileRequest(model, TARGET, Precision.FP16, RunOptions(), "m"), tmp_path)
    assert artifact.inputs[0].dtype == artifact.outputs[0].dtype == "float32"
    values = np.asarray([[-1, 0.5, 2, 60000]], np.float16)
    with LiteRt().open(artifact, artifact.options) as session:
        found = session.run({"x": values})["y"]
    assert found.dtype == np.float16
    np.testing.assert_array_equal(found, np.maximum(values, np.float16(0)))


def test_widened_leaves_the_model_alone() -> None:
    model = FORMS["all-half"]()
    before = ir.to_proto(model).SerializeToString(deterministic=True)
    assert not has_half(widened(model))
    assert has_half(model)
    assert ir.to_proto(model).SerializeToString(deterministic=True) == before


def test_attributes_are_widened() -> None:
    """float16 in ONNX text is given by its bits: 1.5, 2 and 3."""
    model = ir.from_onnx_text(
        """<ir_version: 10, opset_import: ["": 21]>
        m (float[2] x, int64[1] n) => (float[2] y) {
            k = Constant <value = float16[2] {15872, 16384}> ()
            h = Cast <to = 10> (x)
            z = ConstantOfShape <value = float16[1] {16896}> (n)
            s = Add (h, k)
            t = Add (s, z)
            y = Cast <to = 1> (t)
        }"""
    )
    model = widened(infer_shapes(model))
    assert not has_half(model)
    assert model.graph.node(0).attributes["value"].as_tensor().numpy().tolist() == [1.5, 2.0]
    assert model.graph.node(2).attributes["value"].as_tensor().numpy().tolist() == [3.0]


def constants(data: Array) -> Graph:
    tensors = (
        Tensor("x", "float32", data.shape),
        Tensor("k", "float32", data.shape, data=data),
        Tensor("y", "float32", data.shape),
    )
    return Graph(tensors, (Operator("ADD", (0, 1), (2,)),), (0,), (2,), ("x",), ("y",))


KEPT = {
    "not-a-half-number": np.full(SMALLEST, 0.1, np.float32),
    "too-large": np.full(SMALLEST, 1e6, np.float32),
    "small": np.zeros(SMALLEST - 1, np.float32),
    "integers": np.zeros(SMALLEST, np.int32),
    "not-a-number": np.full(SMALLEST, np.nan, np.float32),
}


@pytest.mark.parametrize("data", KEPT.values(), ids=KEPT)
def test_constants_that_stay(data: Array) -> None:
    graph = constants(data)
    assert with_half_constants(graph) == graph


def test_infinite_and_tiny_half_numbers_are_exact() -> None:
    data = np.resize(np.asarray([np.inf, -np.inf, 2.0**-24, -0.0, 65504], np.float32), SMALLEST)
    stored = with_half_constants(constants(data)).tensors[1].data
    assert stored is not None
    np.testing.assert_array_equal(stored.astype(np.float32), data)
