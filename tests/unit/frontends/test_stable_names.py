"""Rules S1 to S6: names and orders follow from the graph, never from the process that made it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.frontends.stable_names import with_stable_names
from edgekit.ir import io

Floats = npt.NDArray[np.float32]

TEMPLATE = """
<ir_version: 10, opset_import: ["" : 18]>
agraph (float[unk__{k}, 2] x) => (float[unk__{k}, 2] y)
<float[2, 2] "m/dense/kernel__{b}" = {{1.0, 2.0, 3.0, 4.0}}, float[2] "const_fold_opt__{a}" = {{0.5, -0.5}},
 float[2] "unused__{b}" = {{0.0, 0.0}}>
{{ {nodes} }}
"""
DENSE = '[MatMul__{a}] "m/dense/MatMul:0" = MatMul(x, "m/dense/kernel__{b}")'
RELU = '["m/act/Relu"] "m/act/Relu__{b}:0" = Relu(x)'
SUM = '["m/sum__{a}"] "s:0" = Add("m/dense/MatMul:0", "m/act/Relu__{b}:0")'
BIAS = '["m/out/BiasAdd"] y = Add("s:0", "const_fold_opt__{a}")'
DEAD = '["m/dead"] "dead:0" = Neg(x)'


def graph(nodes: list[str], *, a: int, b: int) -> ir.Model:
    text = (
        TEMPLATE.format(nodes="\n".join(nodes), a=a, b=b, k=a).replace("{a}", str(a)).replace("{b}", str(b))
    )
    return ir.from_onnx_text(text)


def test_counters_and_order_do_not_reach_the_bytes() -> None:
    one = with_stable_names(graph([DENSE, RELU, SUM, BIAS], a=3, b=41))
    two = with_stable_names(graph([RELU, DEAD, DENSE, SUM, BIAS], a=77, b=8))
    assert io.to_bytes(one) == io.to_bytes(two)


def test_another_graph_gives_other_bytes() -> None:
    one = with_stable_names(graph([DENSE, RELU, SUM, BIAS], a=3, b=41))
    swapped = SUM.replace(
        '"m/dense/MatMul:0", "m/act/Relu__{b}:0"', '"m/act/Relu__{b}:0", "m/dense/MatMul:0"'
    )
    two = with_stable_names(graph([DENSE, RELU, swapped, BIAS], a=3, b=41))
    assert io.to_bytes(one) != io.to_bytes(two)


def test_names_are_readable_and_interface_is_kept() -> None:
    model = with_stable_names(graph([RELU, DEAD, DENSE, SUM, BIAS], a=77, b=8))
    assert [node.name for node in model.graph] == ["dense/MatMul", "Relu", "Add", "out/Add"]  # S1, S3
    assert list(model.graph.initializers) == ["dense/MatMul/1", "out/Add/1"]  # S2, S4
    assert [v.name for v in (*model.graph.inputs, *model.graph.outputs)] == ["x", "y"]  # S6
    assert io.specs(model)[0][0].shape == (None, 2)  # S5


def test_it_computes_the_same_and_leaves_the_original() -> None:
    original = graph([RELU, DENSE, SUM, BIAS], a=77, b=8)
    before = io.to_bytes(original)
    x = np.random.default_rng(0).standard_normal((3, 2)).astype(np.float32)
    np.testing.assert_array_equal(run(with_stable_names(original), x), run(original, x))
    assert io.to_bytes(original) == before


LOOP = """
<ir_version: 10, opset_import: ["" : 18]>
agraph (float[2] x) => (float[2] y)
{
  "trips__5" = Constant <value = int64 {3}> ()
  "go__6" = Constant <value = bool {1}> ()
  "outer__9" = Neg(x)
  ["f/loop__4"] y = Loop ("trips__5", "go__6", x) <body = body (int64 i, bool c, float[2] state) =>
    (bool "c2__7", float[2] "next__8")
    { "c2__7" = Identity(c) "next__8" = Add(state, "outer__9") }>
}
"""


def test_graphs_inside_nodes_are_named_too() -> None:
    one = with_stable_names(ir.from_onnx_text(LOOP))
    two = with_stable_names(ir.from_onnx_text(LOOP.replace("__", "__1").replace("body (", "body_frozen_7 (")))
    assert io.to_bytes(one) == io.to_bytes(two)
    assert b"__" not in io.to_bytes(one)


def test_a_value_that_only_an_inner_graph_reads_is_kept() -> None:
    x = np.array([1.0, -2.0], np.float32)
    np.testing.assert_allclose(run(with_stable_names(ir.from_onnx_text(LOOP)), x), -2 * x)


def run(model: ir.Model, x: Floats) -> Floats:
    from edgekit import settings

    settings.silence_native_libraries()
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession(io.to_bytes(model), providers=["CPUExecutionProvider"])
    result: Floats = session.run(None, {"x": x})[0]
    return result


COPIES = """
<ir_version: 10, opset_import: ["" : 18]>
agraph (float[2] x, int64 trips, bool go) => (float[2] y, float[t, 2] all)
{{
  y, all = Loop (trips, go, x) <body = body (int64 i, bool c, float[2] state) =>
    (bool c2, float[2] {outputs}) {{ c2 = Identity(c) one = Add(state, state) two = Identity(one) }}>
}}
"""


def test_of_two_equal_outputs_of_an_inner_graph_the_later_is_the_copy() -> None:
    straight, swapped = (
        with_stable_names(ir.from_onnx_text(COPIES.format(outputs=outputs)))
        for outputs in ("one, float[2] two", "two, float[2] one")
    )
    assert io.to_bytes(straight) == io.to_bytes(swapped)


EQUAL = """
<ir_version: 10, opset_import: ["" : 18]>
agraph (float[2] x) => (float[2] y)
<float[2] a = {{1.0, 2.0}}, float[2] b = {{1.0, 2.0}}>
{{ h = Add(x, a) y = Mul(h, {second}) }}
"""


def test_equal_initializers_are_one() -> None:
    shared, separate = (with_stable_names(ir.from_onnx_text(EQUAL.format(second=second))) for second in "ab")
    assert io.to_bytes(shared) == io.to_bytes(separate)
    assert len(separate.graph.initializers) == 1
