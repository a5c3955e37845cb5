"""ir.graph: bypass keeps names and meaning in each of its cases."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.ir.graph import (
    add_initializer,
    bypass,
    constant,
    has_subgraphs,
    ints_attribute,
    rank,
    shape_of,
    sole_reader,
    walk,
)
from edgekit.ir.verify import FLOAT, breaches

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'


def model(text: str) -> ir.Model:
    return ir.from_onnx_text(HEAD + text)


def node(m: ir.Model, op_type: str) -> ir.Node:
    return next(item for item in walk(m) if item.op_type == op_type)


def test_c1_readers_of_an_inner_identity_read_its_input() -> None:
    m = model("g (float[2] x) => (float[2] y) { a = Identity(x) b = Relu(a) y = Neg(b) }")
    assert bypass(node(m, "Identity"))
    assert [item.op_type for item in m.graph] == ["Relu", "Neg"]
    assert node(m, "Relu").inputs[0] is m.graph.inputs[0]


def test_c2_the_input_takes_the_name_of_a_graph_output() -> None:
    m = model("g (float[2] x) => (float[2] y) { a = Relu(x) y = Identity(a) }")
    assert bypass(node(m, "Identity"))
    assert [value.name for value in m.graph.outputs] == ["y"]
    assert m.graph.outputs[0].producer() is node(m, "Relu")
    assert breaches(m, FLOAT) == ()


def test_c2_the_output_keeps_the_name_of_its_batch() -> None:
    m = model("g (float[N, 2] x) => (float[N, 2] y) { a = Relu(x) y = Identity(a) }")
    relu = node(m, "Relu").outputs[0]
    relu.shape = ir.Shape(["unk__0", 2])  # as shape inference calls it
    assert bypass(node(m, "Identity"))
    assert list(m.graph.outputs[0].shape or ()) == ["N", 2]


def test_c2_a_number_that_was_found_stays() -> None:
    m = model("g (float[N, 2] x) => (float[N, M] y) { a = Relu(x) y = Identity(a) }")
    node(m, "Relu").outputs[0].shape = ir.Shape(["N", 2])
    assert bypass(node(m, "Identity"))
    assert list(m.graph.outputs[0].shape or ()) == ["N", 2]


def test_c2_other_readers_of_the_input_go_on_reading_it() -> None:
    m = model("g (float[2] x) => (float[2] y, float[2] z) { a = Relu(x) y = Identity(a) z = Neg(a) }")
    assert bypass(node(m, "Identity"))
    assert node(m, "Neg").inputs[0] is m.graph.outputs[0]
    assert [value.name for value in m.graph.outputs] == ["y", "z"]
    assert breaches(m, FLOAT) == ()


def test_c3_an_identity_between_input_and_output_stays() -> None:
    m = model("g (float[2] x) => (float[2] y) { y = Identity(x) }")
    assert not bypass(node(m, "Identity"))
    assert len(list(m.graph)) == 1


def test_c3_an_identity_between_two_outputs_stays() -> None:
    m = model("g (float[2] x) => (float[2] y, float[2] z) { y = Relu(x) z = Identity(y) }")
    assert not bypass(node(m, "Identity"))


def test_a_node_whose_second_output_is_read_stays() -> None:
    m = model("g (float[2] x) => (float[2] y, bool[2] m) { a, m = Dropout(x) y = Neg(a) }")
    assert not bypass(node(m, "Dropout"))


def test_a_new_initializer_never_takes_a_name_in_use() -> None:
    m = model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { a = Mul(x, w) y = Neg(a) }")
    names = [
        add_initializer(m.graph, name, np.asarray(1, np.float32)).name
        for name in ("w", "w", "a", "x", "fresh")
    ]
    assert names == ["w_1", "w_2", "a_1", "x_1", "fresh"]
    assert m.graph.initializers["fresh"].shape == ir.Shape([])  # rank 0 is kept


def test_an_overridable_initializer_is_no_constant() -> None:
    m = model("g (float[2] x) => (float[2] y) <float[2] w = {1, 2}> { y = Mul(x, w) }")
    weight = m.graph.initializers["w"]
    assert constant(weight) is not None
    m.graph.inputs.append(weight)
    assert constant(weight) is None
    assert constant(None) is None


def test_sole_reader_means_one_use_and_nobody_outside() -> None:
    m = model(
        "g (float[2] x) => (float[2] y, float[2] b) { a = Relu(x) b = Neg(a) c = Exp(b) y = Add(c, c) }"
    )
    a, b, c = (node(m, name).outputs[0] for name in ("Relu", "Neg", "Exp"))
    assert sole_reader(a) is node(m, "Neg")
    assert sole_reader(b) is None  # an output
    assert sole_reader(c) is None  # read twice


def test_shapes_and_attributes_have_defaults() -> None:
    m = model("g (float[n, 3] x) => (float[n, 3] y) { y = Relu(x) }")
    assert shape_of(m.graph.inputs[0]) == (None, 3)
    assert (shape_of(None), rank(None)) == (None, None)
    assert ints_attribute(node(m, "Relu"), "pads", (0, 0)) == (0, 0)
    assert not has_subgraphs(node(m, "Relu"))


def test_walk_enters_subgraphs() -> None:
    m = model("""g (bool c, float[2] x) => (float[2] y) {
        y = If (c) <then_branch = t () => (float[2] a) { a = Relu(x) },
                    else_branch = e () => (float[2] b) { b = Neg(x) }>
    }""")
    assert {item.op_type for item in walk(m)} == {"If", "Relu", "Neg"}
    assert has_subgraphs(node(m, "If"))
