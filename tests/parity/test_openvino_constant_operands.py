"""Quantized sum of words (batch, n, d) and positions (n, d): positions are constant once the shape is fixed.

OpenVINO 2026.4 folds it, and its low precision transformation of Add or Mul then throws ("index '0' out of
range") while the model is loaded. ``place`` leaves such an operator float (constraint ``fed-operands``).
Source: measured; text_decoder adds embeddings so.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.openvino import OpenVino
from edgekit.passes import canonicalize
from edgekit.quantization.apply import apply
from edgekit.quantization.place import place
from edgekit.spec import Range
from edgekit.target import Target, load

TEXT = """<ir_version: 10, opset_import: ["" : 21]>
g (float[batch, n, 64] x) => (float[batch, n, 64] y)
<float[64, 64] w, float[32, 64] table, int64 zero = {0}, int64 one = {1}>
{ s = Shape(x) n = Gather(s, one) i = Range(zero, n, one) z = Gather(table, i)
  a = SUM(x, z) y = MatMul(a, w) }"""
CONSTRAINT = "fed-operands"


def made(operator: str) -> tuple[ir.Model, Mapping[str, Range]]:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32)
    constants = [ir.tensor(weight, name="w"), ir.tensor(weight[:32], name="table")]
    model = canonicalize(ir.from_onnx_text(TEXT.replace("SUM", operator), initializers=constants))
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    return model, {value.name or "": Range(-1.0, 3.0) for value in values}


def without(constraint: str, target: Target) -> Target:
    rows = tuple(
        row.model_copy(update={"constraints": tuple(c for c in row.constraints if c != constraint)})
        for row in target.kernel
    )
    return target.model_copy(update={"kernel": rows})


@pytest.mark.parametrize("name", ["openvino-cpu", "portable"])
@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_the_operator_stays_float_and_the_model_loads(operator: str, name: str) -> None:
    model, ranges = made(operator)
    plan = place(model, load(name), ranges)
    assert [each.pattern for each in plan.operators] == ["MatMul"]
    assert CONSTRAINT in {item.rule for item in plan.left_float}
    assert OpenVino().check(apply(model, plan), load("openvino-cpu")) == ()


@pytest.mark.parametrize("operator", ["Add", "Mul"])
def test_without_the_constraint_it_does_not_load(operator: str) -> None:
    """Sabotage; when this fails, OpenVINO was repaired and the constraint can go."""
    model, ranges = made(operator)
    target = load("openvino-cpu")
    plan = place(model, without(CONSTRAINT, target), ranges)
    assert [each.pattern for each in plan.operators] == [operator, "MatMul"]
    (rejection,) = OpenVino().check(apply(model, plan), target)
    assert rejection.rule == "load"


def test_operands_that_come_from_inputs_are_taken() -> None:
    """The constraint does not fire where both depend on an input, whatever their ranks."""
    text = TEXT.replace("x) =>", "x, float[n, 64] z) =>").replace("z = Gather(table, i)\n", "")
    text = text.replace("SUM", "Add").replace("s = Shape(x) n = Gather(s, one) i = Range(zero, n, one)", "")
    weight = ir.tensor(np.ones((64, 64), np.float32), name="w")
    model = canonicalize(ir.from_onnx_text(text.replace(", float[32, 64] table", ""), initializers=[weight]))
    values = [*model.graph.inputs, *(output for node in model.graph for output in node.outputs)]
    plan = place(model, load("openvino-cpu"), {value.name or "": Range(-1.0, 3.0) for value in values})
    assert [each.pattern for each in plan.operators] == ["Add", "MatMul"]
    assert OpenVino().check(apply(model, plan), load("openvino-cpu")) == ()
