"""Exceptions for single operators: what matches, what wins, and what matches nothing (O1 to O3)."""

from __future__ import annotations

import onnx_ir as ir
import pytest

from edgekit.errors import RecipeError
from edgekit.quantization.overrides import Override, kept_float, resolve
from edgekit.spec import Precision


def _model() -> ir.Model:
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=[1, 4])
    first = ir.node("Relu", [x], name="body/relu")
    second = ir.node("Softmax", [first.outputs[0]], name="head/softmax")
    third = ir.node("Relu", [second.outputs[0]], name="head/relu")
    graph = ir.Graph([x], [third.outputs[0]], nodes=[first, second, third], opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


FLOAT = Precision.FP32


@pytest.mark.parametrize(
    ("override", "names"),
    [
        (Override(FLOAT, nodes="head/*"), {"head/softmax", "head/relu"}),
        (Override(FLOAT, operators="Relu"), {"body/relu", "head/relu"}),
        (Override(FLOAT, nodes="head/*", operators="Relu"), {"head/relu"}),
    ],
    ids=["by name", "by type", "both (O1)"],
)
def test_what_matches(override: Override, names: set[str]) -> None:
    found = kept_float(_model(), [override])
    assert set(found) == names
    assert all(each.rule == "override" and "override keeps it so" in each.reason for each in found.values())


def test_the_later_one_counts() -> None:
    found = resolve(_model(), [Override(FLOAT, nodes="*"), Override(Precision.W8, nodes="head/relu")])
    assert found["head/relu"].precision is Precision.W8
    assert found["body/relu"].precision is FLOAT


def test_integers_keep_nothing_float() -> None:
    assert kept_float(_model(), [Override(Precision.W8, operators="Relu")]) == {}


@pytest.mark.parametrize(
    ("override", "hint"),
    [
        (Override(FLOAT, nodes="head/rellu"), "head/relu"),
        (Override(FLOAT, operators="SoftMax"), "Softmax"),
        (Override(FLOAT, nodes="tail/*", operators="Relu"), "inspect"),
    ],
    ids=["misspelt name", "misspelt type", "no node has both"],
)
def test_a_wish_that_nobody_fulfils_is_an_error(override: Override, hint: str) -> None:
    with pytest.raises(RecipeError, match="matches no operator") as caught:
        resolve(_model(), [override])
    assert hint in str(caught.value)
