"""A damaged file that kills a real runtime: named in the result, and the file beside it is measured.

ONNX Runtime refuses a divisor of 0 and computes Mod of int32 with the processor's own instruction: the least
integer modulo -1 is SIGFPE on x86 (Intel SDM, IDIV: #DE where the quotient does not fit). An erased block of
flash memory reads as -1.
"""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.errors import ExitCode

_KILLS = pytest.mark.skipif(
    platform.machine() not in {"x86_64", "AMD64"}, reason="an integer division faults on x86 only"
)
_DIVISOR = np.full(64, 7, np.int32)


def _remainders(path: Path) -> bytes:
    """y = x + (a mod d), with a = -2^31 and d = 7."""
    graph = helper.make_graph(
        [helper.make_node("Mod", ["a", "d"], ["r"]), helper.make_node("Add", ["x", "r"], ["y"])],
        "remainders",
        [helper.make_tensor_value_info("x", TensorProto.INT32, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, ["batch", 64])],
        [
            numpy_helper.from_array(np.full(64, np.iinfo(np.int32).min, np.int32), "a"),
            numpy_helper.from_array(_DIVISOR, "d"),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path)
    return path.read_bytes()


@_KILLS
def test_a_damaged_file_that_kills_onnx_runtime_is_named(tmp_path: Path) -> None:
    whole = _remainders(tmp_path / "whole.onnx")
    damaged = whole.replace(_DIVISOR.tobytes(), b"\xff" * _DIVISOR.nbytes)
    assert damaged != whole
    (tmp_path / "damaged.onnx").write_bytes(damaged)
    found = edgekit.bench([tmp_path / "damaged.onnx", tmp_path / "whole.onnx"], budget_s=1)
    assert [Path(row.artifact).name for row in found.rows] == ["whole.onnx"]
    assert found.rows[0].latency.runs >= 20
    (failed,) = found.failures
    assert Path(failed.artifact).name == "damaged.onnx"
    assert failed.kind == "crash"
    assert "damaged.onnx (onnxruntime) was killed by SIGFPE" in failed.reason
    assert found.exit_code is ExitCode.INTERNAL


def test_a_truncated_file_is_refused_by_name(tmp_path: Path) -> None:
    whole = _remainders(tmp_path / "whole.onnx")
    (tmp_path / "cut.onnx").write_bytes(whole[: len(whole) // 2])
    found = edgekit.bench([tmp_path / "whole.onnx", tmp_path / "cut.onnx"], budget_s=1)
    assert [Path(row.artifact).name for row in found.rows] == ["whole.onnx"]
    (failed,) = found.failures
    assert (Path(failed.artifact).name, failed.kind) == ("cut.onnx", "error")
    assert found.exit_code is ExitCode.BAD_INPUT
