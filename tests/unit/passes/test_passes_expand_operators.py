"""Operators newer than opset 21 become the bodies that ONNX defines for them, with the same values."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.errors import ModelFileError
from edgekit.ir.expand import expand_newer
from edgekit.passes import canonicalize

TOLERANCE = 1e-5  # of the output's range: two orders of the same sums


def _model(op: str, opset: int, *, outputs: int = 1, **attributes: Any) -> ir.Model:
    names = [f"y{index}" for index in range(outputs)]
    inputs = ["q", "k", "v"] if op == "Attention" else ["q", "w"] if op == "RMSNormalization" else ["q"]
    node = helper.make_node(op, inputs, names, **attributes)
    shape = [1, 2, 4, 8]
    graph = helper.make_graph(
        [node],
        "test",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in inputs if name != "w"],
        [helper.make_tensor_value_info(names[0], TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(np.linspace(0.5, 2, 8, dtype=np.float32), "w")] if "w" in inputs else [],
    )
    made: ir.Model = ir.from_proto(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=11)
    )
    return made


@pytest.mark.parametrize(
    ("op", "opset", "attributes"),
    [
        ("Swish", 24, {"alpha": 1.5}),
        ("Swish", 24, {}),
        ("RMSNormalization", 23, {"epsilon": 1e-3}),
        ("Attention", 23, {"is_causal": 1}),
    ],
)
def test_the_body_computes_the_same(op: str, opset: int, attributes: dict[str, Any]) -> None:
    model = _model(op, opset, **attributes)
    result = canonicalize(model)
    assert result.opset_imports[""] == 21
    assert op not in {node.op_type for node in result.graph}
    rng = np.random.default_rng(3)
    feeds = {v.name: rng.standard_normal((1, 2, 4, 8)).astype(np.float32) for v in result.graph.inputs}
    (expected,) = ReferenceEvaluator(ir.to_proto(model)).run(None, feeds)
    (found,) = ReferenceEvaluator(ir.to_proto(result)).run(None, feeds)
    assert np.abs(found - expected).max() <= TOLERANCE * np.ptp(expected)


def test_an_output_that_nobody_asked_for_is_no_obstacle() -> None:
    model = _model("Attention", 23, outputs=4)
    for value in next(iter(model.graph)).outputs[1:]:
        value.name = ""
    assert "Attention" not in {node.op_type for node in canonicalize(model).graph}


def test_an_older_model_is_left_alone() -> None:
    model = _model("Relu", 21)
    assert expand_newer(model, 21) is model


def test_the_model_that_was_handed_in_stays() -> None:
    model = _model("Swish", 24)
    expand_newer(model, 21)
    assert [node.op_type for node in model.graph] == ["Swish"]


def test_an_operator_without_a_body_is_refused_by_name() -> None:
    model = _model("BitCast", 26, to=TensorProto.INT32)
    with pytest.raises(ModelFileError, match="BitCast"):
        canonicalize(model)
