"""If, Loop and Scan become the operators of their bodies, with the same values; or are refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.litert.backend import translate
from edgekit.backends.litert.unroll import MOST_COPIES, unrolled
from edgekit.spec import Array
from tests.unit.litert.litert_models import as_ir, relative_error, run_litert, run_onnx

TOLERANCE = 1e-4  # as in tests/parity
FLOAT, INT64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL


def _info(name: str, kind: int, shape: list[int]) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def _model(nodes: list[Any], inputs: list[Any], outputs: list[Any], **constants: Array) -> onnx.ModelProto:
    made = [numpy_helper.from_array(value, name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "test", inputs, outputs, made)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


def _scan(**attributes: Any) -> onnx.ModelProto:
    """A running sum of scaled rows: (4, 3) in, its end and all steps out."""
    body = helper.make_graph(
        [
            helper.make_node("Mul", ["row", "factor"], ["scaled"]),
            helper.make_node("Add", ["sum", "scaled"], ["total"]),
            helper.make_node("Identity", ["total"], ["step"]),
        ],
        "body",
        [_info("sum", FLOAT, [3]), _info("row", FLOAT, [3])],
        [_info("total", FLOAT, [3]), _info("step", FLOAT, [3])],
        [numpy_helper.from_array(np.asarray([1, 2, 3], np.float32), "factor")],
    )
    node = helper.make_node(
        "Scan", ["start", "x"], ["end", "steps"], num_scan_inputs=1, body=body, **attributes
    )
    axis = attributes.get("scan_output_axes", [0])[0]
    return _model(
        [node],
        [_info("x", FLOAT, [4, 3])],
        [_info("end", FLOAT, [3]), _info("steps", FLOAT, [3, 4] if axis else [4, 3])],
        start=np.zeros(3, np.float32),
    )


def _loop(count: int, *, stops: bool = False) -> onnx.ModelProto:
    """x = x / 2 + the number of the iteration, ``count`` times; every x is kept."""
    condition = ("Less", ["number", "limit"]) if stops else ("Identity", ["going"])
    body = helper.make_graph(
        [
            helper.make_node(*condition, ["on"]),
            helper.make_node("Cast", ["number"], ["real"], to=FLOAT),
            helper.make_node("Mul", ["state", "half"], ["smaller"]),
            helper.make_node("Add", ["smaller", "real"], ["next"]),
            helper.make_node("Identity", ["next"], ["kept"]),
        ],
        "body",
        [_info("number", INT64, []), _info("going", BOOL, []), _info("state", FLOAT, [2])],
        [_info("on", BOOL, []), _info("next", FLOAT, [2]), _info("kept", FLOAT, [2])],
    )
    node = helper.make_node("Loop", ["count", "true", "x"], ["end", "all"], body=body)
    return _model(
        [node],
        [_info("x", FLOAT, [2])],
        [_info("end", FLOAT, [2]), _info("all", FLOAT, [count, 2])],
        count=np.asarray(count, np.int64),
        true=np.asarray(True),
        half=np.asarray(0.5, np.float32),
        limit=np.asarray(2, np.int64),
    )


def _if(*, width: int = 3, condition: bool | None = None) -> onnx.ModelProto:
    """Is the sum of x above 0? Then x + 1, else -x; ``width`` of the else branch."""
    branches = [
        helper.make_graph(
            [helper.make_node("Add", ["x", "one"], ["more"])], "then", [], [_info("more", FLOAT, [3])]
        ),
        helper.make_graph(
            [
                helper.make_node("Slice", ["x", "zero", "width"], ["part"]),
                helper.make_node("Neg", ["part"], ["less"]),
            ],
            "else",
            [],
            [_info("less", FLOAT, [width])],
        ),
    ]
    nodes = [
        helper.make_node("ReduceSum", ["x"], ["sum"], keepdims=0),
        helper.make_node("Greater", ["sum", "nothing"], ["above"]),
        helper.make_node(
            "If",
            ["above" if condition is None else "known"],
            ["y"],
            then_branch=branches[0],
            else_branch=branches[1],
        ),
    ]
    shape = [3] if width == 3 else [None]
    return _model(
        nodes,
        [_info("x", FLOAT, [3])],
        [helper.make_tensor_value_info("y", FLOAT, shape)],
        one=np.ones(3, np.float32),
        nothing=np.asarray(0, np.float32),
        zero=np.zeros(1, np.int64),
        width=np.asarray([width], np.int64),
        known=np.asarray(bool(condition)),
    )


@pytest.mark.parametrize(
    "model",
    [
        pytest.param(_scan(), id="scan"),
        pytest.param(_scan(scan_input_directions=[1], scan_output_directions=[1]), id="scan-backwards"),
        pytest.param(_scan(scan_output_axes=[1]), id="scan-into-columns"),
        pytest.param(_loop(5), id="loop"),
        pytest.param(_if(), id="if"),
        pytest.param(_if(condition=True), id="if-always"),
        pytest.param(_if(condition=False, width=2), id="if-never"),
    ],
)
def test_the_bodies_compute_the_same(model: onnx.ModelProto) -> None:
    shape = [dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim]
    for seed in range(3):  # both branches come up
        feeds: dict[str, Array] = {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}
        expected = run_onnx(model, feeds)
        found = run_litert(model, feeds)
        for name, value in expected.items():
            assert relative_error(found[name], value) <= TOLERANCE


@pytest.mark.parametrize(
    ("model", "operator"),
    [
        pytest.param(_loop(3, stops=True), "WHILE", id="a-condition-that-is-computed"),
        pytest.param(_loop(MOST_COPIES + 1), "WHILE", id="too-many-iterations"),
        pytest.param(_if(width=2), "IF", id="branches-of-different-shapes"),
    ],
)
def test_what_cannot_be_unrolled_is_a_subgraph(model: onnx.ModelProto, operator: str) -> None:
    lowered = translate(as_ir(model)).lowered
    assert lowered.rejections == ()
    assert operator in [op.code for op in lowered.graph.operators]


@pytest.mark.parametrize("model", [_loop(MOST_COPIES), _if()], ids=["loop", "if"])
def test_what_can_be_unrolled_is_not(model: onnx.ModelProto) -> None:
    codes = {op.code for op in translate(as_ir(model)).lowered.graph.operators}
    assert not codes & {"WHILE", "IF"}


def test_a_model_without_control_flow_is_left_alone() -> None:
    model = as_ir(
        _model([helper.make_node("Neg", ["x"], ["y"])], [_info("x", FLOAT, [2])], [_info("y", FLOAT, [2])])
    )
    assert unrolled(model) is model


def test_the_model_that_was_handed_in_stays() -> None:
    model: ir.Model = as_ir(_loop(2))
    unrolled(model)
    assert [node.op_type for node in model.graph] == ["Loop"]
