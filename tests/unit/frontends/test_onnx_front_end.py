"""An ONNX file is its own reference; declared inputs fix or name its dynamic axes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import onnx_ir as ir
import pytest

from edgekit.frontends.source import SourceRequest, load
from edgekit.ir import io
from edgekit.spec import Dim, TensorSpec

MODEL = '<ir_version: 10, opset_import: ["" : 21]> g (float[N, 4] x) => (float[N, 4] y) { y = Relu(x) }'


@dataclass(frozen=True)
class Case:
    id: str
    inputs: tuple[TensorSpec, ...]
    dynamic: dict[str, dict[int, str]]
    batch: Dim


@pytest.mark.parametrize(
    "case",
    [
        Case("as-it-is", (), {}, "N"),
        Case("fixed", (TensorSpec("x", "float32", (3, 4)),), {}, 3),
        Case("named", (TensorSpec("x", "float32", ("batch", 4)),), {}, "batch"),
        Case("named-by-flag", (), {"x": {0: "rows"}}, "rows"),
    ],
    ids=lambda case: case.id,
)
def test_axes(case: Case, tmp_path: Path) -> None:
    ir.save(ir.from_onnx_text(MODEL), tmp_path / "m.onnx")
    loaded = load(SourceRequest("m.onnx", tmp_path, inputs=case.inputs, dynamic=case.dynamic))
    assert (loaded.framework, loaded.reference) == ("onnx", None)
    assert [spec.shape for specs in io.specs(loaded.model) for spec in specs] == [(case.batch, 4)] * 2


def test_other_opsets_and_metadata_are_left_to_the_passes(tmp_path: Path) -> None:
    model = ir.from_onnx_text(MODEL.replace("21", "17"))
    ir.save(model, tmp_path / "m.onnx")
    assert load(SourceRequest("m.onnx", tmp_path)).model.opset_imports == {"": 17}
