"""apply: the QDQ graph computes the float graph to within steps, and ONNX Runtime really fuses it.

Tolerances are in steps of the output's scale. Inputs: standard normal, seed 0.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.errors import InputError
from edgekit.ir import external_data, io, set_aside
from edgekit.ir.digest import digest
from edgekit.ir.verify import QDQ, breaches
from edgekit.quantization.apply import apply, output_steps
from edgekit.quantization.place import place
from edgekit.spec import Array, Range
from edgekit.target import load
from tests.unit.ir.mapped import is_mapped

Floats = npt.NDArray[np.float32]
Build = Callable[..., ir.Model]
Evaluate = Callable[[ir.Model, Mapping[str, Array]], list[Floats]]
Ranges = Callable[[ir.Model, Mapping[str, Array]], dict[str, Range]]
Kernels = Callable[[ir.Model], Counter[str]]


def normal(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).normal(size=shape).astype(np.float32)


CNN = """
g (float[n, 1, 12, 12] image) => (float[n, 5] logits)
<float[8, 1, 3, 3] w1, float[8] b1, float[8, 1, 3, 3] wd, float[8, 8, 3, 3] w2, float[8] b2,
 float[5, 8] w3, float[5] b3, float low = {0}, float high = {6}, int64[2] flat = {-1, 8}>
{
  a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  b = Relu(a)
  c = Conv <pads = [1, 1, 1, 1], group = 8> (b, wd)
  d = Clip(c, low, high)
  e = Conv <pads = [1, 1, 1, 1]> (d, w2, b2)
  f = Add(b, e)
  h = Relu(f)
  i = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (h)
  j = GlobalAveragePool(i)
  k = Reshape(j, flat)
  logits = Gemm <transB = 1> (k, w3, b3)
}
"""
ARRAYS = {
    "w1": normal(8, 1, 3, 3),
    "b1": normal(8),
    "wd": normal(8, 1, 3, 3) * np.float32(0.5),
    "w2": normal(8, 8, 3, 3) * np.float32(0.2),
    "b2": normal(8) * np.float32(0.1),
    "w3": normal(5, 8),
    "b3": normal(5),
}


@pytest.fixture
def cnn(build: Build) -> ir.Model:
    return build(CNN, **ARRAYS)


@pytest.fixture
def feeds() -> dict[str, Array]:
    return {"image": normal(64, 1, 12, 12)}


def test_a_residual_cnn_is_within_steps_of_float(
    cnn: ir.Model, feeds: Mapping[str, Array], evaluate: Evaluate, exact_ranges: Ranges
) -> None:
    """4 steps on 95 % of values: five layers of rounding; 99.9 % within 8."""
    plan = place(cnn, load("portable"), exact_ranges(cnn, feeds))
    quantized = apply(cnn, plan)
    steps = output_steps(cnn, plan)["logits"]
    difference = np.abs(evaluate(quantized, feeds)[0] - evaluate(cnn, feeds)[0]) / steps
    assert np.percentile(difference, 95) <= 4
    assert np.percentile(difference, 99.9) <= 8


def test_onnx_runtime_runs_all_of_it_in_integers(
    cnn: ir.Model, feeds: Mapping[str, Array], exact_ranges: Ranges, kernels: Kernels
) -> None:
    found = kernels(apply(cnn, place(cnn, load("onnxruntime-cpu"), exact_ranges(cnn, feeds))))
    assert found["QLinearConv"] == 3
    assert found["QLinearAdd"] == 1
    assert found["QLinearGlobalAveragePool"] == 1
    assert found["QGemm"] == 1
    assert found["QuantizeLinear"] == found["DequantizeLinear"] == 1, "at the edges only"
    for operator in ("Conv", "Gemm", "Relu", "Clip", "Add", "GlobalAveragePool"):
        assert found[operator] == 0


def test_a_fused_clip_disappears_whatever_the_range(build: Build, kernels: Kernels) -> None:
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <float[2, 1, 3, 3] w, float low = {0}, "
        "float high = {6}>"
        "{ a = Conv(x, w) y = Clip(a, low, high) }"
    )
    model = build(text, w=normal(2, 1, 3, 3))
    for high in (6.0, 5.9, 3.3):
        plan = place(model, load("onnxruntime-cpu"), {"x": Range(-1, 1), "y": Range(0.0, high)})
        assert kernels(apply(model, plan))["Clip"] == 0


def test_names_types_and_the_float_model_stay(
    cnn: ir.Model, feeds: Mapping[str, Array], exact_ranges: Ranges
) -> None:
    before = digest(cnn)
    plan = place(cnn, load("portable"), exact_ranges(cnn, feeds))
    quantized = apply(cnn, plan)
    assert io.specs(quantized) == io.specs(cnn)
    assert digest(cnn) == before
    assert breaches(quantized, QDQ) == ()
    io.check(quantized)
    assert io.to_bytes(apply(cnn, plan)) == io.to_bytes(quantized)
    floats = [v for v in quantized.graph.initializers.values() if v.dtype == ir.DataType.FLOAT]
    assert all(name.endswith("_scale") or name in ("low", "high") for name in (v.name or "" for v in floats))


def test_a5_integers_of_a_large_model_lie_in_files(
    cnn: ir.Model,
    feeds: Mapping[str, Array],
    exact_ranges: Ranges,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    plan = place(cnn, load("portable"), exact_ranges(cnn, feeds))
    monkeypatch.setattr(set_aside, "SMALLEST_BYTES", 0)
    plain = apply(cnn, plan)
    assert [is_mapped(array) for array in integers(plain)] == [False] * 4  # a small one stays in memory
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    found = apply(cnn, plan)
    assert [is_mapped(array) for array in integers(found)] == [True] * 4
    assert digest(found) == digest(plain)


def integers(model: ir.Model) -> list[Array]:
    """Its int8 weights."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    return [
        each.numpy()
        for each in tensors
        if each is not None and each.numpy().dtype == np.int8 and each.size > 8
    ]


def test_activations_are_uint8_and_weights_int8_on_every_target(
    cnn: ir.Model, feeds: Mapping[str, Array], exact_ranges: Ranges
) -> None:
    ranges = exact_ranges(cnn, feeds)
    made = {
        io.to_bytes(apply(cnn, place(cnn, load(name), ranges))) for name in ("litert-cpu", "openvino-cpu")
    }
    assert len(made) == 1, "one interchange form"
    quantized = io.from_bytes(made.pop())
    types = {
        node.inputs[0].dtype
        for node in quantized.graph
        if node.op_type == "DequantizeLinear" and node.inputs[0] is not None
    }
    assert types == {ir.DataType.UINT8, ir.DataType.INT8, ir.DataType.INT32}


def test_a3_a_float_reader_of_an_input_goes_on_reading_the_input(build: Build) -> None:
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y, float[n, 1, 6, 6] z) <float[2, 1, 3, 3] w>"
        "{ y = Conv(x, w) z = Exp(x) }"
    )
    model = build(text, w=normal(2, 1, 3, 3))
    quantized = apply(model, place(model, load("portable"), {"x": Range(-1, 1), "y": Range(-9, 9)}))
    exp = next(node for node in quantized.graph if node.op_type == "Exp")
    assert exp.inputs[0] is quantized.graph.inputs[0]


def test_a2_a_float_reader_of_a_kernels_output_reads_what_the_runtime_has(build: Build) -> None:
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] z) <float[2, 1, 3, 3] w> { y = Conv(x, w) z = Exp(y) }"
    )
    model = build(text, w=normal(2, 1, 3, 3))
    quantized = apply(model, place(model, load("portable"), {"x": Range(-1, 1), "y": Range(-9, 9)}))
    exp = next(node for node in quantized.graph if node.op_type == "Exp")
    producer = None if exp.inputs[0] is None else exp.inputs[0].producer()
    assert producer is not None
    assert producer.op_type == "DequantizeLinear"
    assert output_steps(model, place(model, load("portable"), {"x": Range(-1, 1), "y": Range(-9, 9)})) == {}


def test_a4_an_output_that_a_kernel_also_reads(build: Build, evaluate: Evaluate) -> None:
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y, float[n, 2, 2, 2] z) "
        "<float[2, 1, 3, 3] w, float[2, 2, 3, 3] v> { y = Conv(x, w) z = Conv(y, v) }"
    )
    model = build(text, w=normal(2, 1, 3, 3), v=normal(2, 2, 3, 3))
    ranges = {"x": Range(-3, 3), "y": Range(-9, 9), "z": Range(-40, 40)}
    plan = place(model, load("portable"), ranges)
    quantized = apply(model, plan)
    assert [value.name for value in quantized.graph.outputs] == ["y", "z"]
    feeds = {"x": normal(2, 1, 6, 6)}
    steps = output_steps(model, plan)
    for name, got, wanted in zip(("y", "z"), evaluate(quantized, feeds), evaluate(model, feeds), strict=True):
        assert np.abs(got - wanted).max() <= 8 * steps[name]


def test_shared_weights_get_one_integer_form_per_reader(build: Build, evaluate: Evaluate) -> None:
    """The bias makes the scales of the second reader coarser; the first keeps its own."""
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y, float[n, 2, 4, 4] z) "
        "<float[2, 1, 3, 3] w, float[2] b> { y = Conv(x, w) z = Conv(x, w, b) }"
    )
    model = build(text, w=normal(2, 1, 3, 3) * np.float32(1e-9), b=np.array([5.0, -5.0], np.float32))
    ranges = {"x": Range(-3, 3), "y": Range(-1e-8, 1e-8), "z": Range(-5, 5)}
    plan = place(model, load("portable"), ranges)
    scales = [operator.weight.params.scale for operator in plan.operators if operator.weight]
    assert scales[0] != scales[1]
    got = evaluate(apply(model, plan), {"x": normal(2, 1, 6, 6)})
    np.testing.assert_allclose(got[1][:, 0], 5.0, atol=output_steps(model, plan)["z"], rtol=0)


def test_readers_with_equal_scales_share_the_integers(build: Build) -> None:
    text = (
        "g (float[n, 8] x) => (float[n, 8] y) <float[8, 8] w>"
        "{ a = Gemm <transB = 1> (x, w) b = Relu(a) y = Gemm <transB = 1> (b, w) }"
    )
    model = build(text, w=normal(8, 8))
    ranges = {name: Range(-9, 9) for name in ("x", "a", "b", "y")}
    quantized = apply(model, place(model, load("portable"), ranges))
    readers = [node for node in quantized.graph if node.op_type == "Gemm"]
    behind = [value.producer() for node in readers for value in node.inputs[1:2] if value is not None]
    assert len({id(node) for node in behind}) == 2, "runtimes fuse a DequantizeLinear into its one reader"
    assert len({node.inputs[0].name for node in behind if node is not None and node.inputs[0]}) == 1


def test_a_dead_channel_keeps_its_bias(build: Build, evaluate: Evaluate) -> None:
    weight = normal(2, 1, 3, 3)
    weight[0] = 0.0
    text = (
        "g (float[n, 1, 6, 6] x) => (float[n, 2, 4, 4] y) <float[2, 1, 3, 3] w, float[2] b> { y = "
        "Conv(x, w, b) }"
    )
    model = build(text, w=weight, b=np.array([0.37, 0.0], np.float32))
    plan = place(model, load("portable"), {"x": Range(-3, 3), "y": Range(-9, 9)})
    got = evaluate(apply(model, plan), {"x": normal(2, 1, 6, 6)})[0]
    np.testing.assert_allclose(got[:, 0], 0.37, atol=output_steps(model, plan)["y"] / 2, rtol=0)


def test_a_plan_for_another_model_is_refused(cnn: ir.Model, build: Build) -> None:
    other = build("g (float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }")
    with pytest.raises(InputError, match="for another model"):
        apply(other, place(cnn, load("portable"), {}))


def test_a_plan_without_operators_changes_nothing(cnn: ir.Model) -> None:
    assert digest(apply(cnn, place(cnn, load("gpu-cuda"), {}))) == digest(cnn)


def test_per_channel_matmul_on_sequences(
    build: Build, evaluate: Evaluate, exact_ranges: Ranges, kernels: Kernels
) -> None:
    model = build(
        "g (float[n, 5, 8] x) => (float[n, 5, 3] y) <float[8, 3] d> { y = MatMul(x, d) }",
        d=normal(8, 3) * np.array([1, 0.01, 100], np.float32),
    )
    feeds = {"x": normal(4, 5, 8)}
    plan = place(model, load("onnxruntime-cpu"), exact_ranges(model, feeds))
    quantized = apply(model, plan)
    assert plan.operators[0].weight is not None
    assert plan.operators[0].weight.params.axis == 1
    assert kernels(quantized)["QLinearMatMul"] == 1
    difference = np.abs(evaluate(quantized, feeds)[0] - evaluate(model, feeds)[0])
    assert difference.max() <= 4 * output_steps(model, plan)["y"]


@pytest.mark.parametrize("added", ["a, t", "t, a"])
def test_a_bias_behind_a_product_is_int32_and_in_its_kernel(
    added: str, build: Build, evaluate: Evaluate, exact_ranges: Ranges, kernels: Kernels
) -> None:
    """ONNX Runtime makes one QGemm of it: the Add is no kernel of its own."""
    model = build(
        "g (float[6, 5, 8] x) => (float[6, 5, 3] y) <float[8, 3] d, float[3] t> "
        f"{{ a = MatMul(x, d) y = Add({added}) }}",
        d=normal(8, 3),
        t=normal(3) * np.float32(20),
    )
    feeds = {"x": normal(6, 5, 8)}
    plan = place(model, load("portable"), exact_ranges(model, feeds))
    quantized = apply(model, plan)
    (operator,) = plan.operators
    assert operator.bias is not None
    assert operator.bias.params.dtype == "int32"
    assert set(plan.activations) == {"x", "y"}
    found = kernels(quantized)
    assert found["QGemm"] == 1
    assert found["Add"] + found["QLinearAdd"] + found["MatMul"] + found["Gemm"] == 0
    difference = np.abs(evaluate(quantized, feeds)[0] - evaluate(model, feeds)[0])
    assert difference.max() <= 2 * output_steps(model, plan)["y"]
