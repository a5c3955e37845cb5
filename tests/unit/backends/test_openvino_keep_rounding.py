"""The form in which OpenVINO rounds between a quantized Conv and the Add that reads it: R1 to R3.

The numbers are in tests/parity/test_runtimes_agree.py.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends import openvino
from edgekit.backends.base import CompileRequest
from edgekit.backends.openvino_keep_rounding import with_rounding
from edgekit.ir.graph import is_onnx
from edgekit.spec import Precision, Rejection
from edgekit.target import Target, load

TARGET = load("openvino-cpu")

HEAD = '<ir_version: 10, opset_import: ["" : 21]>\n'
GRAPH = """
g (float[1, 4, 5, 5] x) => (float[1, 4, 5, 5] y) <float[4, 4, 1, 1] w, float s, uint8 z>
{
  xq = QuantizeLinear(x, s, z)
  xd = DequantizeLinear(xq, s, z)
  c = Conv(xd, w)
  ACTIVATION
  q = QuantizeLinear(READ, s, z)
  d = DequantizeLinear(q, s, z)
  a = NEXT(d, xd)
  yq = QuantizeLinear(a, s, z)
  y = DequantizeLinear(yq, s, z)
}
"""


def model(*, activation: str = "", following: str = "Add") -> ir.Model:
    text = GRAPH.replace("ACTIVATION", activation and f"r = {activation}(c)")
    text = text.replace("READ", "r" if activation else "c").replace("NEXT", following)
    tensors = [
        ir.tensor(np.ones((4, 4, 1, 1), np.float32), name="w"),
        ir.tensor(np.float32(0.1), name="s"),
        ir.tensor(np.uint8(7), name="z"),
    ]
    return ir.from_onnx_text(HEAD + text, initializers=tensors)


def kept(found: ir.Model) -> list[ir.Node]:
    return [node for node in found.graph if is_onnx(node, "LeakyRelu")]


def test_a_function_that_changes_nothing_stands_before_the_quantization() -> None:
    source = model()
    found = with_rounding(source)
    (same,) = kept(found)
    assert same.attributes["alpha"].as_float() == 1.0
    assert same.inputs[0] is not None
    assert same.inputs[0].name == "c"
    assert [use.node.op_type for use in same.outputs[0].uses()] == ["QuantizeLinear"]
    assert not kept(source)  # a clone was changed


@pytest.mark.parametrize(
    "source",
    [model(activation="Relu"), model(following="Mul")],
    ids=["R2 an activation", "R3 no Add"],
)
def test_where_the_rounding_stays_nothing_is_added(source: ir.Model) -> None:
    assert with_rounding(source) is source


@pytest.mark.parametrize("rules", [TARGET, TARGET.placed("lean")], ids=["rows", "lean"])
def test_only_plans_that_other_runtimes_share_are_protected(
    rules: Target, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    converted: list[ir.Model] = []

    def seen(form: ir.Model, folder: Path, target: Target, **_: object) -> tuple[Rejection, ...]:
        converted.append(form)
        for suffix in ("bin", "xml"):
            (folder / f"model.{suffix}").write_text("")
        return ()

    monkeypatch.setattr(openvino, "_try", seen)
    openvino.OpenVino().compile(
        CompileRequest(model(), rules, Precision.W8A8, rules.run.options(), "m"), tmp_path
    )
    assert bool(kept(converted[0])) is rules.keeps_rounding
    assert rules.keeps_rounding is (rules is TARGET)
