"""What a target cannot take is named by node and rule; what it can take is not."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import onnx.parser
import onnx_ir as ir
import pytest

from edgekit import target as targets
from edgekit.backends import registry
from edgekit.backends.openvino import OpenVino
from edgekit.backends.refusal import refuse, structural_rejections
from edgekit.spec import Rejection

CPU = targets.load("onnxruntime-cpu")


def model_of(body: str, *, kind: str = "float", opset: int = 21) -> ir.Model:
    text = (
        f'<ir_version: 10, opset_import: ["" : {opset}, "my.own" : 1]> '
        f"g ({kind}[batch,4,6,6] x) => ({kind}[batch,4,6,6] y) "
        f"<int64[4] s = {{1,5,6,6}}, float t = {{0.1}}, int16 z = {{0}}, uint8 u = {{7}}> {{ {body} }}"
    )
    return ir.serde.deserialize_model(onnx.parser.parse_model(text))


@dataclass(frozen=True)
class Refused:
    id: str
    body: str
    target: str
    rule: str
    node: str
    kind: str = "float"
    opset: int = 21
    changes: dict[str, Any] = field(default_factory=dict)


RELU = "[first] y = Relu(x)"
WIDE = "[odd] q = QuantizeLinear(x, t, z) y = DequantizeLinear(q, t, z)"
NO_SUCH_BROADCAST = "[odd] y = Expand(x, s)"  # 4 channels cannot become 5: known only when it runs
CASES = (
    Refused("R1 opset", RELU, "onnxruntime-cpu", "opset", "", opset=22),
    Refused("R2 domain", "[own] y = my.own.Foo(x)", "onnxruntime-cpu", "domain", "own"),
    Refused("R3 operator", RELU, "onnxruntime-cpu", "operator", "first", changes={"operators": ("Conv",)}),
    Refused("ORT unknown operator", "[odd] y = Foo(x)", "onnxruntime-cpu", "load", "odd"),
    Refused("ORT no kernel", "[odd] y = Atan(x)", "onnxruntime-cpu", "kernel", "odd", kind="double"),
    Refused("ORT wrong type", "[odd] y = Conv(x, x)", "onnxruntime-cpu", "load", "odd", kind="uint8"),
    Refused("ORT wrong attribute", "[odd] y = Softmax <axis = 9> (x)", "onnxruntime-cpu", "load", "odd"),
    Refused("ORT fails when it runs", NO_SUCH_BROADCAST, "onnxruntime-cpu", "load", "odd"),
    Refused("OpenVINO operator", "[odd] y = my.own.Foo(x)", "openvino-cpu", "domain", "odd"),
    Refused("OpenVINO converter", "[odd] y = Foo(x)", "openvino-cpu", "operator", "odd"),
    Refused("OpenVINO 16 bits", WIDE, "openvino-cpu", "16-bit", "odd"),
    Refused("OpenVINO lost name", "[odd] y = Dropout(x)", "openvino-cpu", "name", ""),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_the_rejection_names_node_and_rule(case: Refused) -> None:
    target = targets.load(case.target).model_copy(update=case.changes)
    model = model_of(case.body, kind=case.kind, opset=case.opset)
    found = registry.backend(target.backend).check(model, target)
    assert [(each.rule, each.node) for each in found] == [(case.rule, case.node)]
    assert found[0].reason
    assert found[0].remedy


@pytest.mark.parametrize(
    ("name", "body"), [("onnxruntime-cpu", WIDE), ("openvino-cpu", WIDE.replace("z)", "u)"))]
)
def test_quantization_that_a_runtime_keeps_is_not_refused(name: str, body: str) -> None:
    target = targets.load(name)
    assert registry.backend(target.backend).check(model_of(body), target) == ()


@pytest.mark.parametrize("name", ["onnxruntime-cpu", "openvino-cpu", "portable"])
def test_a_plain_model_is_not_refused(name: str) -> None:
    target = targets.load(name)
    assert registry.backend(target.backend).check(model_of(RELU), target) == ()


def test_operators_are_looked_for_inside_branches_too() -> None:
    body = (
        "[choose] y = If(c) <then_branch = t () => (float[4] a) { [inner] a = Foo() }, "
        "else_branch = e () => (float[4] b) { b = Foo() }>"
    )
    text = f'<ir_version: 10, opset_import: ["" : 21]> g (bool c) => (float[4] y) {{ {body} }}'
    model = ir.from_proto(onnx.parser.parse_model(text))
    found = structural_rejections(model, CPU.model_copy(update={"operators": ("If",)}))
    assert [each.reason for each in found] == ["onnxruntime-cpu has no Foo"] * 2


def test_the_message_lists_the_first_rejections_and_counts_the_rest() -> None:
    found = tuple(Rejection(f"n{i}", "operator", f"reason {i}", "replace it") for i in range(11))
    error = refuse(CPU, found)
    assert error.what == "target onnxruntime-cpu refuses the model: n0: reason 0 [operator]"
    assert "n7: reason 7" in error.why
    assert "and 3 more" in error.why
    assert error.remedy == "replace it"
    assert error.exit_code == 5


def test_openvino_that_is_not_installed_names_the_install_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit.backends.openvino.installed_version", lambda *_: "")
    found = OpenVino().probe(targets.load("openvino-cpu"))
    assert (found.ok, found.remedy) == (False, 'pip install "edgekit[openvino]"')
