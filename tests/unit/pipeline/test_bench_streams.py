"""`bench --streams`: rows, and failures (S1); S2 is in test_bench_parts_on_devices.py."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.errors import BackendCrashError, ExitCode
from edgekit.pipeline.bench import streams as under_test
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.result import BenchResult
from edgekit.report import render
from edgekit.spec import Silent


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> BenchResult:
    path = tmp_path_factory.mktemp("streams") / "m.onnx"
    weight = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "m",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 64])],
        [numpy_helper.from_array(weight, "w")],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), str(path))
    return edgekit.bench([path], batches=(2,), streams=(1, 2), budget_s=1)


def _again(result: BenchResult, counts: tuple[int, ...] = (2,)) -> BenchResult:
    return under_test.with_streams(result, counts, sweep=Sweep(), seed=0, progress=Silent())


def test_every_number_of_processes_has_its_throughput(measured: BenchResult) -> None:
    (row,) = measured.rows
    assert [each.streams for each in row.streams] == [1, 2]
    for each in row.streams:
        assert row.throughput_per_s is not None
        assert each.per_s > 0
        assert each.scaling == pytest.approx(each.per_s / row.throughput_per_s)
    assert "Throughput, several processes at once" in render(measured, "markdown")


def test_it_counts_samples_and_not_inferences(measured: BenchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "run_together", lambda sessions, feeds: 100.0 * len(sessions))
    (row,) = _again(measured, (1, 3)).rows
    assert [each.per_s for each in row.streams] == [200.0, 600.0]  # batch 2


def test_more_threads_than_cores_are_said(measured: BenchResult, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(under_test, "run_together", lambda sessions, feeds: 1.0)
    pinned = replace(measured, rows=tuple(replace(row, cores="0-1") for row in measured.rows))
    (row,) = _again(pinned, (2, 3)).rows
    assert [each.caveat for each in row.streams] == ["", "3 threads share 2 cores"]


def test_a_stream_that_dies_is_named_and_the_steady_state_stands(  # S1
    measured: BenchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(sessions: object, feeds: object) -> float:
        raise BackendCrashError("it was killed by SIGSEGV", why="", remedy="")

    monkeypatch.setattr(under_test, "run_together", dies)
    found = _again(measured, (2, 4))
    (row,) = found.rows
    assert row.streams == ()
    assert row.latency == measured.rows[0].latency
    (failed,) = found.failures
    assert failed.kind == "crash"
    assert failed.reason.startswith("at 2 streams: it was killed")
    assert Path(failed.artifact).name == "m.onnx"
    assert found.exit_code is ExitCode.INTERNAL
