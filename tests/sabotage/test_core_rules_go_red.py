"""Every rule of every stage is seen to fail: a good model, one wound, one rule that notices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.errors import ExitCode
from edgekit.ir.graph import add_initializer
from edgekit.ir.verify import (
    CANONICAL,
    FLOAT,
    QDQ,
    BrokenRuleError,
    RuleTable,
    breaches,
    is_quantized,
    verify,
)
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Range
from edgekit.target import load

TEXT = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[n, 1, 4, 4] x) => (float[n, 2, 2, 2] y)
<float[2, 1, 3, 3] w, float[2] c>
{ a = Conv(x, w, c) y = Relu(a) }
"""


def canonical() -> ir.Model:
    weight = np.random.default_rng(0).normal(size=(2, 1, 3, 3)).astype(np.float32)
    arrays = {"w": weight, "c": np.array([0.5, -0.5], np.float32)}
    tensors = [ir.tensor(array, name=name) for name, array in arrays.items()]
    return canonicalize(ir.from_onnx_text(TEXT, initializers=tensors))


def quantized() -> ir.Model:
    model = canonical()
    plan = place(model, load("portable"), {"x": Range(-1, 1), "y": Range(0, 4)})
    return apply(model, plan)


def node(model: ir.Model, op_type: str, index: int = 0) -> ir.Node:
    return [item for item in model.graph if item.op_type == op_type][index]


def other_constant(model: ir.Model, item: ir.Node, index: int, value: object, dtype: str) -> None:
    item.replace_input_with(index, add_initializer(model.graph, "wound", np.asarray(value, dtype)))


def undefined(model: ir.Model) -> None:
    node(model, "Relu").replace_input_with(0, ir.Value(name="ghost"))


def undefined_output(model: ir.Model) -> None:
    model.graph.outputs[0] = ir.Value(name="ghost")


def unsorted(model: ir.Model) -> None:
    first = node(model, "Conv")
    model.graph.remove(first)
    model.graph.append(first)


def twice(model: ir.Model) -> None:
    node(model, "Conv").outputs[0].name = "x"


def foreign(model: ir.Model) -> None:
    node(model, "Relu").domain = "com.example"


def hollow(model: ir.Model) -> None:
    next(iter(model.graph.initializers.values())).const_value = None


def nameless_node(model: ir.Model) -> None:
    node(model, "Conv").name = ""


def nameless_value(model: ir.Model) -> None:
    node(model, "Conv").outputs[0].name = ""


def same_node_names(model: ir.Model) -> None:
    node(model, "Conv").name = node(model, "Relu").name


def old_opset(model: ir.Model) -> None:
    model.opset_imports[""] = 20


def function(model: ir.Model) -> None:
    graph = ir.Graph((), (), nodes=())
    made = ir.Function("local", "f", graph=graph, attributes=[])
    model.functions[made.identifier()] = made


def constant_node(model: ir.Model) -> None:
    item = ir.node("Constant", [], attributes={"value_float": 1.0}, name="k")
    item.outputs[0].name = "k"
    model.graph.insert_before(next(iter(model.graph)), item)


def dropout(model: ir.Model) -> None:
    node(model, "Relu").op_type = "Dropout"


def initializer_input(model: ir.Model) -> None:
    model.graph.inputs.append(next(iter(model.graph.initializers.values())))


def metadata(model: ir.Model) -> None:
    node(model, "Relu").metadata_props["trace"] = "here"


def computed_scale(model: ir.Model) -> None:
    node(model, "QuantizeLinear").replace_input_with(1, model.graph.inputs[0])


def zero_scale(model: ir.Model) -> None:
    other_constant(model, node(model, "QuantizeLinear"), 1, 0.0, "float32")


def nan_scale(model: ir.Model) -> None:
    other_constant(model, node(model, "QuantizeLinear"), 1, np.nan, "float32")


def vector_zero_point(model: ir.Model) -> None:
    other_constant(model, node(model, "QuantizeLinear"), 2, [0, 0], "uint8")


def wrong_axis(model: ir.Model) -> None:
    weight = next(
        item for item in model.graph if item.op_type == "DequantizeLinear" and "axis" in item.attributes
    )
    weight.attributes["axis"] = ir.AttrInt64("axis", 1)


def float_zero_point(model: ir.Model) -> None:
    other_constant(model, node(model, "QuantizeLinear"), 2, 0.0, "float32")


def other_type(model: ir.Model) -> None:
    other_constant(model, node(model, "DequantizeLinear"), 2, 0, "int8")


def reader_of_integers(model: ir.Model) -> None:
    node(model, "DequantizeLinear").op_type = "Abs"


def other_scale_behind(model: ir.Model) -> None:
    other_constant(model, node(model, "DequantizeLinear"), 1, 0.125, "float32")


def bias_scale(model: ir.Model) -> None:
    bias = node(model, "Conv").inputs[2]
    producer = None if bias is None else bias.producer()
    assert producer is not None
    other_constant(model, producer, 1, [0.5, 0.5], "float32")


@dataclass(frozen=True)
class Wound:
    rule: str
    rules: RuleTable
    make: Callable[[], ir.Model]
    inflict: Callable[[ir.Model], None]

    @property
    def id(self) -> str:
        return f"{self.rule} {self.inflict.__name__}"


WOUNDS = (
    Wound("F1-defined", FLOAT, canonical, undefined),
    Wound("F1-defined", FLOAT, canonical, undefined_output),
    Wound("F2-sorted", FLOAT, canonical, unsorted),
    Wound("F3-single-assignment", FLOAT, canonical, twice),
    Wound("F4-domain", FLOAT, canonical, foreign),
    Wound("F5-data", FLOAT, canonical, hollow),
    Wound("C1-names", CANONICAL, canonical, nameless_node),
    Wound("C1-names", CANONICAL, canonical, nameless_value),
    Wound("C1-names", CANONICAL, canonical, same_node_names),
    Wound("C2-opset", CANONICAL, canonical, old_opset),
    Wound("C3-inlined", CANONICAL, canonical, function),
    Wound("C4-constants", CANONICAL, canonical, constant_node),
    Wound("C4-constants", CANONICAL, canonical, dropout),
    Wound("C5-inputs", CANONICAL, canonical, initializer_input),
    Wound("C6-metadata", CANONICAL, canonical, metadata),
    Wound("Q1-constant", QDQ, quantized, computed_scale),
    Wound("Q2-scale", QDQ, quantized, zero_scale),
    Wound("Q2-scale", QDQ, quantized, nan_scale),
    Wound("Q3-per-tensor", QDQ, quantized, vector_zero_point),
    Wound("Q4-axis", QDQ, quantized, wrong_axis),
    Wound("Q5-type", QDQ, quantized, float_zero_point),
    Wound("Q5-type", QDQ, quantized, other_type),
    Wound("Q6-pair", QDQ, quantized, reader_of_integers),
    Wound("Q7-same", QDQ, quantized, other_scale_behind),
    Wound("Q8-bias", QDQ, quantized, bias_scale),
)


@pytest.mark.parametrize("wound", WOUNDS, ids=lambda wound: wound.id)
def test_the_rule_notices_the_wound_and_is_silent_without_it(wound: Wound) -> None:
    healthy = wound.make()
    assert breaches(healthy, wound.rules) == ()
    wounded = wound.make()
    wound.inflict(wounded)
    assert wound.rule in {item.rule for item in breaches(wounded, wound.rules)}
    with pytest.raises(BrokenRuleError, match="after the knife") as caught:
        verify(wounded, wound.rules, after="the knife")
    assert caught.value.exit_code == ExitCode.INTERNAL


def test_every_rule_has_a_wound() -> None:
    wounded = {wound.rule for wound in WOUNDS}
    assert {rule.id for rule in (*FLOAT, *CANONICAL, *QDQ)} == wounded


def test_many_breaches_are_counted_and_three_are_shown() -> None:
    model = quantized()
    for item in model.graph:
        item.metadata_props["trace"] = "here"
    with pytest.raises(BrokenRuleError, match=r"\(and \d+ more\)"):
        verify(model, CANONICAL)


def test_a_quantized_model_is_recognized() -> None:
    assert is_quantized(quantized())
    assert not is_quantized(canonical())
