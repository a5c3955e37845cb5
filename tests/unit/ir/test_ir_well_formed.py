"""One walk says of a graph what the five rules of FLOAT say, and leaves subgraphs to them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import onnx_ir as ir
import pytest

from edgekit.ir.verify import FLOAT, breaches, is_well_formed

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[2] x) => (float[2] y)
<float[2] c = {1, 2}>
{ a = Add(x, c) b = Relu(a) y = Exp(b) }
"""
BRANCHES = """
<ir_version: 10, opset_import: ["" : 21]>
g (bool p, float[2] x) => (float[2] y)
{
  y = If (p) <
    then_branch = t () => (float[2] u) { u = Relu(x) }, else_branch = e () => (float[2] v) { v = Exp(x) }
  >
}
"""


def model(text: str = TEXT) -> ir.Model:
    return ir.from_onnx_text(text)


@dataclass(frozen=True)
class Edit:
    id: str
    apply: Callable[[ir.Model], object]
    rule: str


def _value(m: ir.Model, index: int) -> ir.Value:
    return list(m.graph)[index].outputs[0]


def _swap(m: ir.Model) -> None:
    first = next(iter(m.graph))
    m.graph.remove(first)
    m.graph.append(first)


EDITS = (
    Edit("undefined", lambda m: list(m.graph)[1].replace_input_with(0, ir.Value(name="?")), "F1-defined"),
    Edit("output", lambda m: m.graph.outputs.__setitem__(0, ir.Value(name="?")), "F1-defined"),
    Edit("order", _swap, "F2-sorted"),
    Edit("twice", lambda m: setattr(_value(m, 0), "name", "b"), "F3-single-assignment"),
    Edit("an-input-again", lambda m: setattr(_value(m, 0), "name", "x"), "F3-single-assignment"),
    Edit("a-constant-again", lambda m: setattr(_value(m, 0), "name", "c"), "F3-single-assignment"),
    Edit("domain", lambda m: setattr(next(iter(m.graph)), "domain", "other"), "F4-domain"),
    Edit("data", lambda m: setattr(m.graph.initializers["c"], "const_value", None), "F5-data"),
)


def test_a_good_graph_is_well_formed() -> None:
    assert is_well_formed(model())
    assert not breaches(model(), FLOAT)


@pytest.mark.parametrize("edit", EDITS, ids=lambda edit: edit.id)
def test_what_a_rule_sees_the_walk_sees(edit: Edit) -> None:
    broken = model()
    edit.apply(broken)
    assert edit.rule in {each.rule for each in breaches(broken, FLOAT)}
    assert not is_well_formed(broken)


def test_subgraphs_are_left_to_the_rules() -> None:
    assert not is_well_formed(model(BRANCHES))
    assert not breaches(model(BRANCHES), FLOAT)
