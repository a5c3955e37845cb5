"""Meter: P1 to P3, and what a worker says of an artifact's memory."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.backends.onnxruntime import open_model
from edgekit.backends.resident import STATUS, Meter
from edgekit.backends.worker import WorkerSession
from edgekit.spec import RunOptions

MIB = 1 << 20
linux = pytest.mark.skipif(not STATUS.is_file(), reason="no /proc here")


def status(folder: Path, *, resident: int, mark: int) -> Path:
    path = folder / "status"
    path.write_text(f"Name:\tx\nVmHWM:\t    {mark} kB\nVmRSS:\t    {resident} kB\n")
    return path


def test_the_peak_is_what_came_after_the_start(tmp_path: Path) -> None:  # P1
    path, reset = status(tmp_path, resident=100, mark=100), tmp_path / "reset"
    meter = Meter(status=path, reset=reset)
    assert reset.read_text() == "5"
    status(tmp_path, resident=120, mark=150)
    assert meter.taken_bytes() == 50 * 1024


def test_an_old_peak_that_cannot_be_set_back_hides_a_lower_one(tmp_path: Path) -> None:  # P2
    path = status(tmp_path, resident=100, mark=400)
    meter = Meter(status=path, reset=tmp_path / "no" / "file")
    assert meter.taken_bytes() is None
    status(tmp_path, resident=100, mark=500)
    assert meter.taken_bytes() == 400 * 1024


def test_a_system_that_does_not_say_it(tmp_path: Path) -> None:  # P3
    assert Meter(status=tmp_path / "none", reset=tmp_path / "none").taken_bytes() is None


def _model(columns: int) -> ir.Model:
    """x (1, 1024) times a constant (1024, columns) float32."""
    x = ir.Value(name="x", shape=ir.Shape([1, 1024]), type=ir.TensorType(ir.DataType.FLOAT))
    weight = np.random.default_rng(0).normal(size=(1024, columns)).astype(np.float32)
    w = ir.Value(name="w", const_value=ir.tensor(weight, name="w"))
    node = ir.node("MatMul", [x, w], name="product")
    node.outputs[0].name, node.outputs[0].shape = "y", ir.Shape([1, columns])
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[w], opset_imports={"": 21})
    return ir.Model(graph, ir_version=10)


def _taken(columns: int) -> int:
    with open_model(_model(columns), RunOptions()) as session:
        assert isinstance(session, WorkerSession)
        session.time_ms({"x": np.ones((1, 1024), np.float32)}, runs=2)
        found = session.peak_memory_bytes()
    assert found is not None
    return found


@linux
def test_a_larger_model_takes_more_by_its_weights_at_least() -> None:
    """16 MiB of weights more; the runtime may hold them twice while it packs them, never less than once."""
    small, large = _taken(256), _taken(256 + 4096)
    assert large - small > 0.9 * 16 * MIB


@linux
def test_the_runtime_itself_is_not_counted() -> None:
    """onnxruntime's own libraries are above 20 MiB; 1 MiB of weights is not."""
    assert _taken(256) < 20 * MIB


@linux
def test_the_parts_of_a_known_model() -> None:
    """16 MiB of weights: loaded holds them, the runtime's own memory is apart, the peak is no less."""
    with open_model(_model(4096), RunOptions()) as session:
        assert isinstance(session, WorkerSession)
        session.time_ms({"x": np.ones((1, 1024), np.float32)}, runs=2)
        found = session.memory()
        assert session.import_ms is not None
        assert session.load_ms > 0
    assert found.baseline_bytes is not None
    assert found.loaded_bytes is not None
    assert found.peak_bytes is not None
    assert found.baseline_bytes > 20 * MIB  # Python, NumPy, onnxruntime
    assert 0.9 * 16 * MIB < found.loaded_bytes <= found.peak_bytes
    assert found.peak_bytes < 5 * 16 * MIB  # the file, the graph, weights packed: copies, but a few


def test_what_is_held_now_is_less_than_a_peak_that_has_passed(tmp_path: Path) -> None:
    path = status(tmp_path, resident=100, mark=100)
    meter = Meter(status=path, reset=tmp_path / "reset")
    status(tmp_path, resident=130, mark=180)
    assert meter.before == 100 * 1024
    assert meter.held_bytes() == 30 * 1024
    assert meter.taken_bytes() == 80 * 1024
    path.unlink()
    assert meter.held_bytes() is None


FREED = """
import sys; sys.path[:] = sys.argv[2:]
import contextlib
import numpy as np
from edgekit.backends import resident
def held():
    return resident._field(resident.STATUS, "VmRSS")
with resident.frees_at_once() if sys.argv[1] == "lean" else contextlib.nullcontext():
    np.ones(3 << 20)  # 24 MiB that are freed: what is smaller comes out of an arena from now on
    before = held()
    arrays = [np.ones(1 << 18) for _ in range(32)]  # of 2 MiB
    behind = np.ones(1 << 16)  # the arena's last: nothing before it goes back
    del arrays
    print(held() - before)
"""


@linux
@pytest.mark.parametrize(("how", "kept"), [("lean", False), ("plain", True)])
def test_what_is_freed_goes_back_at_once(how: str, kept: bool) -> None:
    """64 MiB of tensors that are freed. Sabotage: a plain process keeps them."""
    words = [sys.executable, "-c", FREED, how, *sys.path]
    left = int(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    assert (left > 60 * MIB) == kept
    assert kept or left < 4 * MIB
