"""ir.digest: what counts as another model, and what does not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import digest as digests
from edgekit.ir.digest import digest, digest_of_tensor, equal

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
two (float[batch, 2] x) => (float[batch, 2] y)
<float[2, 2] v = {1, 2, 3, 4}, float[2, 2] w = {5, 6, 7, 8}>
{
  a = MatMul(x, v)
  b = LeakyRelu <alpha = 0.25> (a)
  y = MatMul(b, w)
}
"""


def model() -> ir.Model:
    return ir.from_onnx_text(TEXT)


def node(graph_model: ir.Model, index: int) -> ir.Node:
    return list(graph_model.graph)[index]


@dataclass(frozen=True)
class Edit:
    id: str
    apply: Callable[[ir.Model], object]


def _reorder(m: ir.Model) -> None:
    values = list(m.graph.initializers.items())[::-1]
    m.graph.initializers.clear()
    for _, value in values:
        m.graph.register_initializer(value)


def _set_weight(m: ir.Model) -> None:
    m.graph.initializers["w"].const_value = ir.tensor(np.array([[5, 6], [7, 8.5]], np.float32), name="w")


SAME = (
    Edit("doc string", lambda m: setattr(m.graph, "doc_string", "hello")),
    Edit("metadata", lambda m: node(m, 0).metadata_props.update(stack="trace")),
    Edit("producer", lambda m: setattr(m, "producer_name", "somebody")),
    Edit("order of initializers", _reorder),
    Edit("shape between nodes", lambda m: setattr(node(m, 0).outputs[0], "shape", ir.Shape(["batch", 2]))),
)
OTHER = (
    Edit("weight", _set_weight),
    Edit("attribute", lambda m: node(m, 1).attributes.update(alpha=ir.AttrFloat32("alpha", 0.5))),
    Edit("operator", lambda m: setattr(node(m, 1), "op_type", "Elu")),
    Edit("input shape", lambda m: setattr(m.graph.inputs[0], "shape", ir.Shape([1, 2]))),
    Edit("value name", lambda m: setattr(node(m, 0).outputs[0], "name", "other")),
    Edit("opset", lambda m: m.opset_imports.update({"": 20})),
)


@pytest.mark.parametrize("edit", SAME, ids=lambda edit: edit.id)
def test_what_does_not_matter_does_not_change_the_digest(edit: Edit) -> None:
    changed = model()
    edit.apply(changed)
    assert digest(changed) == digest(model())


@pytest.mark.parametrize("edit", OTHER, ids=lambda edit: edit.id)
def test_what_matters_changes_the_digest(edit: Edit) -> None:
    changed = model()
    edit.apply(changed)
    assert digest(changed) != digest(model())


def test_the_digest_is_this_one_on_every_machine() -> None:
    assert digest(model()) == "e101bc2da657f9a19214b609cab4a6f4e6bb0d16e87d2549d09066e0f8089967"


def test_equal_bytes_of_another_type_or_shape_are_another_tensor() -> None:
    zeros = [np.zeros(4, np.float32), np.zeros(4, np.int32), np.zeros((2, 2), np.float32)]
    assert len({digest_of_tensor(ir.tensor(array)) for array in zeros}) == 3


def test_every_kind_of_attribute_counts() -> None:
    attributes = [
        ir.AttrInt64("a", 1),
        ir.AttrInt64s("a", [1]),
        ir.AttrFloat32("a", 1.0),
        ir.AttrFloat32s("a", [1.0]),
        ir.AttrString("a", "1"),
        ir.AttrTensor("a", ir.tensor(np.ones(1, np.float32))),
        ir.AttrTensors("a", [ir.tensor(np.ones(1, np.float32))]),
        ir.AttrGraph("a", model().graph),
        ir.AttrGraphs("a", [model().graph]),
        ir.RefAttr("a", "b", ir.AttributeType.INT),
    ]
    digests = set()
    for attribute in attributes:
        changed = model()
        node(changed, 1).attributes["a"] = attribute
        digests.add(digest(changed))
    assert len(digests) == len(attributes)


def test_a_string_tensor_has_a_digest() -> None:
    left = ir.StringTensor(np.array([b"a", b"b"], dtype=object))
    right = ir.StringTensor(np.array([b"a", b"c"], dtype=object))
    assert digest_of_tensor(left) != digest_of_tensor(right)


@pytest.mark.parametrize("edit", [*SAME, *OTHER], ids=lambda edit: edit.id)
def test_equal_says_what_the_digests_say(edit: Edit) -> None:
    changed = model()
    edit.apply(changed)
    assert equal(model(), changed) == (digest(model()) == digest(changed))


def test_equal_reads_no_tensor_that_both_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[object] = []
    real = digests.digest_of_tensor

    def watched(tensor: ir.TensorProtocol) -> str:
        read.append(tensor)
        return real(tensor)

    monkeypatch.setattr(digests, "digest_of_tensor", watched)
    first = model()
    assert equal(first, first.clone())
    assert not read
    assert equal(first, model())  # other tensors of the same content
    assert len(read) == 4
