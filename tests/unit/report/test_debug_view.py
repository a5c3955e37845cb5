"""What `edgekit debug` says where it names no cause: rounding, but not where nothing is rounded."""

from __future__ import annotations

from dataclasses import replace

import pytest

from edgekit.report import text, view_debug
from edgekit.spec import Precision
from tests.unit.report.rich_results import golden


@pytest.mark.parametrize("precision", [Precision.FP32, Precision.FP16, Precision.W8A8])
def test_float32_loses_nothing_by_rounding(precision: Precision) -> None:
    """A pruned file held against the model that it was pruned from."""
    found = golden("debug")
    row = replace(found.rows[0], precision=precision, causes=())
    said = text.render(view_debug.view(replace(found, rows=(row,))))
    assert ("what rounding costs" in said) == (precision is not Precision.FP32)
    assert ("--reference PRUNED.onnx" in said) == (precision is Precision.FP32)
