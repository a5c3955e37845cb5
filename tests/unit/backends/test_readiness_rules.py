"""What stands in the way on a device that is not here: each rule B1 to B10 fires, and not where it must not.

The number of parts and of placed nodes is held against ONNX Runtime's own tool for mobile devices, which has
the same operator lists and walks the same way.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import readiness, registry
from edgekit.errors import InputError, MissingBackendError
from edgekit.ir.pin import pinned

CHECKS = tuple(name for name in targets.names() if targets.load(name).is_check)


def model(signature: str, body: str, *, weights: str = "") -> ir.Model:
    head = '<ir_version: 10, opset_import: ["" : 21]>'
    text = f"{head}\ng ({signature}) => (y)\n{f'<{weights}>' if weights else ''}\n{{ {body} }}"
    found: ir.Model = ir.from_proto(onnx.parser.parse_model(text))
    return found


@dataclass(frozen=True)
class Case:
    """A target, a model and the rule that is broken; "" = none is."""

    id: str
    target: str
    rule: str
    model: ir.Model
    node: str = ""


RELU = model("float[batch,3,8,8] x", "y = Relu(x)")
HOLLOW = model("float[batch,3,h,8] x", "y = Relu(x)")
CONV = ("float[1,3,8,8] x", "y = Conv(x, w)")
WEIGHT = "float[4,3,1,1] w = {1,1,1,1,1,1,1,1,1,1,1,1}"
QUANTIZED = "q = QuantizeLinear(x, s, z) d = DequantizeLinear(q, s, z) y = Relu(d)"


def ones(count: int) -> str:
    return "{" + ",".join("1" * count) + "}"


def integers(dtype: str) -> ir.Model:
    return model("float[1,4] x", QUANTIZED, weights=f"float s = {{0.1}}, {dtype} z = {{0}}")


def product(scales: int, dtype: str = "int8") -> ir.Model:
    zeros = ",".join("0" * scales)
    steps = ",".join(["0.1"] * scales)
    shape = f"[{scales}]" if scales > 1 else ""
    weights = (
        f"{dtype}[4,2] w = {{1,2,3,4,5,6,7,8}}, float{shape} s = {{{steps}}}, {dtype}{shape} z = {{{zeros}}}"
    )
    return model("float[1,4] x", "d = DequantizeLinear<axis = 1>(w, s, z) y = MatMul(x, d)", weights=weights)


CASES = (
    Case("B1 operator", "nnapi-check", "operator", model("float[3,3] x", "y = Det(x)")),
    Case("B1 fits", "nnapi-check", "", RELU),
    Case("B2 height", "nnapi-check", "shape", HOLLOW),
    Case("B2 fits: the batch is bound", "qnn-check", "", RELU),
    Case("B2 fits: it takes open sizes", "coreml-check", "", HOLLOW),
    Case("B3 rank", "qnn-check", "rank", model("float[1,1,1,1,2,2] x", "y = Relu(x)")),
    Case("B3 fits", "qnn-check", "", model("float[1,1,1,2,2] x", "y = Relu(x)")),
    Case(
        "B4 one axis",
        "nnapi-check",
        "input-rank",
        model("float[1,3,8] x", "y = MaxPool<kernel_shape = [2]>(x)"),
    ),
    Case("B4 fits", "nnapi-check", "", model("float[1,3,8,8] x", "y = MaxPool<kernel_shape = [2,2]>(x)")),
    Case("B5 weight", "nnapi-check", "constant", model(f"{CONV[0]}, float[4,3,1,1] w", CONV[1])),
    Case("B5 fits", "nnapi-check", "", model(*CONV, weights=WEIGHT)),
    Case(
        "B5 fits: Core ML takes it computed",
        "coreml-check",
        "",
        model(f"{CONV[0]}, float[4,3,1,1] w", CONV[1]),
    ),
    Case(
        "B6 mode",
        "nnapi-check",
        "attribute",
        model("float[1,4,2,2] x", 'y = DepthToSpace<blocksize = 2, mode = "CRD">(x)'),
    ),
    Case(
        "B6 fits: left out",
        "nnapi-check",
        "",
        model("float[1,4,2,2] x", "y = DepthToSpace<blocksize = 2>(x)"),
    ),
    Case("B7 type", "coreml-check", "type", model("int32[4] x, int32[4] e", "y = Pow(x, e)")),
    Case("B7 fits", "coreml-check", "", model("float[4] x, float[4] e", "y = Pow(x, e)")),
    Case("B8 int8", "qnn-check", "integers", integers("int8")),
    Case("B8 fits: uint16", "qnn-check", "", integers("uint16")),
    Case("B8 uint16", "nnapi-check", "integers", integers("uint16")),
    Case("B9 scales", "qnn-check", "per-channel", product(2, "uint8")),
    Case("B9 fits", "qnn-check", "", product(1, "uint8")),
    Case("B10 int8", "qnn-check", "weight-type", product(1, "int8")),
    Case("B10 fits: NNAPI takes u8 x s8", "nnapi-check", "", product(1, "int8")),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_each_rule_fires_where_it_must_and_nowhere_else(case: Case) -> None:
    found = readiness.ready(case.model, targets.load(case.target))
    assert {each.rule for each in found.blocked} == ({case.rule} if case.rule else set())
    assert all(each.node and each.reason and each.remedy for each in found.blocked)
    assert found.placed == found.nodes - len({each.node for each in found.blocked})


def test_a_rule_that_is_taken_out_is_missed() -> None:
    """Sabotage: without its conditions a row takes the convolution that NNAPI cannot hold."""
    target = targets.load("nnapi-check")
    assert target.readiness is not None
    bare = tuple(row.model_copy(update={"constants": ()}) for row in target.readiness.support)
    lax = target.model_copy(update={"readiness": target.readiness.model_copy(update={"support": bare})})
    case = model(f"{CONV[0]}, float[4,3,1,1] w", CONV[1])
    assert readiness.ready(case, target).blocked
    assert not readiness.ready(case, lax).blocked


def test_shares_and_parts_of_a_model_with_a_gap() -> None:
    """16 of 16 + 32 MACs are placed; the operator in the middle cuts the graph in two parts."""
    weights = f"float[4,4] a = {ones(16)}, float[4,8] b = {ones(32)}"
    body = "h = MatMul(x, a) c = Mish(h) y = MatMul(c, b)"
    found = readiness.ready(model("float[batch,4] x", body, weights=weights), targets.load("nnapi-check"))
    assert (found.nodes, found.placed, found.partitions) == (3, 2, 2)
    assert (found.macs, found.placed_macs) == (48, 48)
    assert [each.rule for each in found.blocked] == ["operator"]


def test_control_flow_counts_with_its_body() -> None:
    one = "then_branch = t () => (float[1,4] a) { a = MatMul(x, w) }"
    other = "else_branch = e () => (float[1,4] b) { b = Relu(x) }"
    body = f"y = If(c) <{one}, {other}>"
    whole = model("float[1,4] x, bool c", body, weights=f"float[4,4] w = {ones(16)}")
    found = readiness.ready(whole, targets.load("qnn-check"))
    assert (found.nodes, found.placed, found.macs, found.placed_macs, found.partitions) == (1, 0, 16, 0, 0)


def random_graph(seed: int) -> onnx.ModelProto:
    """Nodes that read one or two earlier values; about a third is in no list (Mish)."""
    rng = np.random.default_rng(seed)
    values, nodes = ["x"], []
    for index in range(int(rng.integers(4, 18))):
        first, second = (values[int(rng.integers(len(values)))] for _ in range(2))
        kind = int(rng.integers(3))
        nodes.append(f"v{index} = " + (f"Mish({first})", f"Relu({first})", f"Add({first}, {second})")[kind])
        values.append(f"v{index}")
        head = '<ir_version: 10, opset_import: ["" : 21]> g (float[1,4] x)'
    return onnx.parser.parse_model(f"{head} => (float[1,4] {values[-1]}) {{ {' '.join(nodes)} }}")


def peer(proto: onnx.ModelProto, name: str) -> tuple[int, int]:
    """Placed nodes and parts by ONNX Runtime's tool."""
    from onnxruntime.tools.mobile_helpers import usability_checker as tool

    shaped = onnx.shape_inference.infer_shapes(proto)
    if name == "nnapi-check":
        found = tool.check_nnapi_partitions(shaped, True)
    else:
        found = tool.check_coreml_partitions(shaped, False, "coreml_supported_mlprogram_ops.md")
    return found.num_supported_nodes, found.num_partitions


@pytest.mark.parametrize("name", ["nnapi-check", "coreml-check"])
def test_parts_are_those_of_onnxruntimes_own_tool(name: str) -> None:
    rules = targets.load(name)
    for seed in range(60):
        proto = random_graph(seed)
        found = readiness.ready(ir.from_proto(proto), rules)
        assert (found.placed, found.partitions) == peer(proto, name), seed


def listed(name: str) -> set[str]:
    """Operators in the list that the onnxruntime wheel carries."""
    from onnxruntime.tools.mobile_helpers import usability_checker as tool

    lines = (Path(tool.__file__).parent / name).read_text("utf-8").splitlines()
    rows = [line.split("|")[1].strip() for line in lines if line.startswith("|") and "Operator" not in line]
    names = {
        row.replace("ai.onnx:", "").replace("com.microsoft:", "com.microsoft.")
        for row in rows
        if "-" not in row
    }
    return {"ArgMax" if each == "Argmax" else each for each in names}


@pytest.mark.parametrize(
    ("name", "file"),
    [("nnapi-check", "nnapi_supported_ops.md"), ("coreml-check", "coreml_supported_mlprogram_ops.md")],
)
def test_the_lists_are_those_of_the_provider(name: str, file: str) -> None:
    """An operator that the provider gains or loses makes this red: the table is to be read anew."""
    rules = targets.load(name).readiness
    assert rules is not None
    ours = {operator for row in rules.support for operator in row.operators}
    theirs = {each for each in listed(file) if not each.startswith(("com.microsoft.QLinear", "QLinear"))}
    assert ours == theirs  # canonical models have QDQ in place of QLinear operators


@pytest.mark.parametrize("name", CHECKS)
def test_nothing_of_a_check_is_available_or_opens(name: str) -> None:
    target = targets.load(name)
    found = registry.availability(target)
    assert not found.ok
    assert found.reason.startswith("not run here")
    assert found.remedy


@pytest.mark.parametrize("name", CHECKS)
def test_every_row_has_its_source(name: str) -> None:
    rules = targets.load(name).readiness
    assert rules is not None
    assert all(row.source.startswith("https://") for row in rules.support)


def test_a_target_without_rules_is_told_so() -> None:
    target = targets.load("onnxruntime-cpu").model_copy(update={"backend": "readiness"})
    with pytest.raises(MissingBackendError, match=r"no \[readiness\]"):
        registry.backend("readiness").check(RELU, target)


def test_sizes_are_bound_by_name_and_the_model_stays() -> None:
    found = pinned(HOLLOW, {"h": 6}, batch=2)
    assert found.graph.inputs[0].shape == ir.Shape((2, 3, 6, 8))
    assert found.graph.outputs[0].shape == ir.Shape((2, 3, 6, 8))
    assert HOLLOW.graph.inputs[0].shape is not None
    assert not HOLLOW.graph.inputs[0].shape.is_static()
    assert pinned(found, {}, batch=1) is found


def test_an_unknown_size_is_named_with_its_neighbours() -> None:
    with pytest.raises(InputError, match="no input has an open size 'bach'") as caught:
        pinned(HOLLOW, {"bach": 1})
    assert "batch" in caught.value.remedy
