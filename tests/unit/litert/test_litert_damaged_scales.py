"""Scales that do not fit what they belong to: found by fuzzing. They are no constants, and nothing raises."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.litert.constants import Constants
from edgekit.spec import Array

ROWS = np.arange(-3, 3, dtype=np.int8).reshape(2, 3)


def learned(data: Array, scales: Array, **attributes: int) -> bool:
    given = [
        ir.Value(name=name, const_value=ir.tensor(array)) for name, array in (("q", data), ("s", scales))
    ]
    given[0].shape = ir.Shape(data.shape)
    node = ir.node("DequantizeLinear", given, attributes=attributes)
    node.outputs[0].name = "real"
    graph = ir.Graph([], node.outputs, nodes=[node], initializers=given, opset_imports={"": 21})
    return "real" in Constants(graph)


@pytest.mark.parametrize(
    ("data", "scales", "attributes"),
    [
        (ROWS[0], np.ones(3, np.float32), {"axis": 1}),
        (ROWS, np.ones(2, np.float32), {"axis": 1}),
        (ROWS, np.ones(2, np.float32), {"axis": -5}),
        (ROWS, np.ones(0, np.float32), {}),
        (ROWS.astype(ir.DataType.INT4.numpy()), np.ones(2, np.float32), {"axis": 7}),
        (ROWS.astype(ir.DataType.INT4.numpy()), np.ones(3, np.float32), {"axis": 0}),
        (ROWS.astype(ir.DataType.INT4.numpy()), np.ones((1, 1), np.float32), {"axis": 1, "block_size": 3}),
    ],
)
def test_scales_that_do_not_fit(data: Array, scales: Array, attributes: dict[str, int]) -> None:
    assert not learned(data, scales, **attributes)


@pytest.mark.parametrize(
    ("data", "scales", "attributes"),
    [
        (ROWS, np.array(0.5, np.float32), {}),
        (ROWS, np.ones(1, np.float32), {}),
        (ROWS, np.ones(3, np.float32), {}),
        (ROWS, np.ones(2, np.float32), {"axis": -2}),
        (ROWS.astype(ir.DataType.INT4.numpy()), np.ones(2, np.float32), {"axis": 0}),
        (ROWS.astype(ir.DataType.INT4.numpy()), np.ones((2, 1), np.float32), {"axis": 1, "block_size": 3}),
    ],
)
def test_scales_that_fit(data: Array, scales: Array, attributes: dict[str, int]) -> None:
    assert learned(data, scales, **attributes)
