"""`bench --device`: start, memory, size, batches, threads and cores are told as they are of this machine."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.backends import affinity
from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.result import BenchResult

MIB = 1 << 20
BUDGET_S = 1.0  # one or two launches have all the parts; without a budget there are five


def _product(path: Path, *, columns: int, batch: str | int = "batch") -> Path:
    """x (batch, 1024) times a constant (1024, columns) float32; seed 0."""
    weight = np.random.default_rng(0).standard_normal((1024, columns)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "product",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 1024])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, columns])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return path


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    """16 MiB of weights here and on the "device", in one result each; the device's comes second."""
    path = _product(tmp_path_factory.mktemp("parts") / "m.onnx", columns=4096)
    there = edgekit.bench([path], devices=["local"], batches=(1, 4), budget_s=BUDGET_S)
    assert there.failures == ()
    return there


def test_the_start_is_told_in_parts(measured: BenchResult) -> None:
    for row in measured.rows:
        assert row.device == "local"
        assert row.phases is not None
        assert row.phases.launches >= 1
        assert row.phases.import_ms is not None
        assert row.phases.load_ms is not None
        assert row.phases.first_ms is not None
        assert min(row.phases.import_ms, row.phases.load_ms, row.phases.first_ms) > 0


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc here")
def test_memory_is_the_models_and_not_the_runtimes(measured: BenchResult) -> None:
    """16 MiB of weights are there at least once; the runtime, above 20 MiB, is in the baseline alone.

    The same file here, in a worker that loads its runtime first, takes the same to a tenth.
    """
    here = edgekit.bench([measured.rows[0].artifact], budget_s=BUDGET_S).rows[0].memory
    assert here is not None
    assert measured.rows[0].memory is not None
    assert measured.rows[0].memory.loaded_bytes == pytest.approx(here.loaded_bytes, rel=0.1)
    for row in measured.rows:
        assert row.memory is not None
        assert row.memory.baseline_bytes is not None
        assert row.memory.loaded_bytes is not None
        assert row.memory.peak_bytes is not None
        assert row.memory.baseline_bytes > 20 * MIB
        assert 0.9 * 16 * MIB < row.memory.loaded_bytes <= row.memory.peak_bytes < 5 * 16 * MIB
        assert row.memory_bytes == row.memory.peak_bytes


@pytest.mark.skipif(not Path("/proc/self/status").is_file(), reason="no /proc here")
@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu", "litert-cpu"])
def test_a_known_number_of_weights_is_found_on_every_runtime(tmp_path: Path, target: str) -> None:
    """Two models, 16 MiB of float weights apart: so is what loading adds, once at least and few copies.

    Sabotage: a meter that counted the runtime, or nothing at all, would find no difference.
    """
    found = []
    for columns in (64, 64 + 4096):
        model = _product(tmp_path / f"m{columns}.onnx", columns=columns, batch=1)
        edgekit.compile(model, target=target, out=tmp_path / f"{columns}")
        found.append(edgekit.bench([tmp_path / f"{columns}"], budget_s=BUDGET_S).rows[0].memory)
    small, large = found
    assert small is not None
    assert large is not None
    assert small.loaded_bytes is not None
    assert large.loaded_bytes is not None
    assert small.peak_bytes is not None
    assert large.peak_bytes is not None
    assert 0.9 * 16 * MIB < large.loaded_bytes - small.loaded_bytes < 4 * 16 * MIB
    assert 0.9 * 16 * MIB < large.peak_bytes - small.peak_bytes < 5 * 16 * MIB
    assert small.loaded_bytes < 64 * MIB
    assert small.baseline_bytes == pytest.approx(large.baseline_bytes, rel=0.1)


def test_batches_are_told_apart_and_have_their_own_inputs(measured: BenchResult) -> None:
    assert [row.batch for row in measured.rows] == [1, 4]
    for row in measured.rows:
        assert row.throughput_per_s == pytest.approx(1000 * row.batch / row.latency.p50_ms)
        assert row.size is not None
        assert row.size.file_bytes > 16 * MIB


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu", "litert-cpu"])
def test_inputs_that_a_runtime_uses_in_place_stay_where_they_are(tmp_path: Path, target: str) -> None:
    """An array of 768 KiB goes back to the system when nobody holds it: reading it then is a SIGSEGV."""
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("GlobalAveragePool", ["r"], ["y"])],
        "image",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 256, 256])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1, 1])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, str(tmp_path / "m.onnx"))
    edgekit.compile(tmp_path / "m.onnx", target=target, out=tmp_path / "out")
    found = edgekit.bench([tmp_path / "out"], devices=["local"], budget_s=BUDGET_S)
    assert found.failures == ()
    assert len(found.rows) == 1


def test_a_fixed_batch_is_refused_there_too(tmp_path: Path) -> None:
    fixed = _product(tmp_path / "fixed.onnx", columns=8, batch=1)
    found = edgekit.bench([fixed], devices=["local"], batches=(1, 2), budget_s=BUDGET_S)
    assert [row.batch for row in found.rows] == [1]
    (failed,) = found.failures
    assert failed.reason.startswith("at batch 2: its batch is fixed")
    assert found.exit_code is ExitCode.BAD_INPUT


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="this system pins no process")
def test_a_device_pins_and_says_where_it_ran(tmp_path: Path) -> None:
    model, core = _product(tmp_path / "m.onnx", columns=8), affinity.available()[-1]
    found = edgekit.bench([model], devices=["local"], cores=(core,), threads=(1, 2), budget_s=BUDGET_S)
    assert [(row.threads, row.cores) for row in found.rows] == [(1, str(core)), (2, str(core))]
    assert found.rows[0].caveats == ()
    assert found.rows[1].caveats == ("2 threads share 1 core: they wait for each other",)
    found = edgekit.bench([model], devices=["local"], cores=(4095,))
    (failed,) = found.failures
    assert "core 4095 is not to be had" in failed.reason
    assert found.rows == ()


@pytest.mark.parametrize("asked", [{"streams": (2,)}, {"recipe": "edgekit.toml"}], ids=str)
def test_what_a_device_cannot_do_is_refused_before_it_works(asked: dict[str, object]) -> None:
    with pytest.raises(InputError, match="on this machine only"):
        edgekit.bench(["not there.onnx"], devices=["local"], **asked)  # type: ignore[arg-type]


def test_end_to_end_needs_batch_1_before_anything_is_measured() -> None:
    with pytest.raises(InputError, match="at batch 1"):
        edgekit.bench(["not there.onnx"], batches=(2,), recipe="edgekit.toml")
