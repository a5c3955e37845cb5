"""`bench --recipe`: what lies around an inference. P numbers are those of the module under test."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.cli.main import run
from edgekit.errors import BackendCrashError, DataError, ExitCode, InputError, UnknownNameError
from edgekit.measure.chain import FEWEST, time_chain
from edgekit.pipeline.bench import end_to_end as under_test
from edgekit.pipeline.bench.end_to_end import SAMPLES, with_end_to_end
from edgekit.pipeline.post_processing import post_processing
from edgekit.pipeline.result import BenchResult
from edgekit.report import csv, render
from edgekit.spec import Silent

RECIPE = """
schema = 1
[model]
name = "tiny"
version = "1"
source = "m.onnx"
[data]
calibration = {{ source = "data.npz" }}
evaluation = {{ source = "data.npz" }}
preprocess = [
  {{ op = "resize", size = [8, 8] }},
  {{ op = "scale", by = 0.5 }},
  {{ op = "layout", to = "NCHW" }},
]
{more}
[[target]]
name = "onnxruntime-cpu"
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.onnx takes (1, 3, 8, 8); its samples are photographs of 32 x 48; seed 0."""
    path, rng = tmp_path_factory.mktemp("recipe"), np.random.default_rng(0)
    graph = helper.make_graph(
        [helper.make_node("Flatten", ["x"], ["f"]), helper.make_node("MatMul", ["f", "w"], ["y"])],
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])],
        [numpy_helper.from_array(rng.standard_normal((192, 10)).astype(np.float32), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, path / "m.onnx")
    images = rng.integers(0, 256, (20, 32, 48, 3)).astype(np.uint8)
    np.savez(path / "data.npz", x=images, labels=np.zeros(20, np.int64))
    (path / "plain.toml").write_text(RECIPE.format(more=""))
    (path / "post.toml").write_text(RECIPE.format(more='postprocess = "post.py:answer"'))
    (path / "post.py").write_text(
        "import time\n"
        "def answer(outputs):\n"
        "    time.sleep(0.004)\n"
        "    print('not on stdout')\n"
        "    assert outputs['y'].shape == (1, 10)\n"
        "    return int(outputs['y'].argmax())\n"
        "def breaks(outputs):\n"
        "    raise KeyError('boxes')\n"
    )
    return path


@pytest.fixture(scope="module")
def measured(folder: Path) -> BenchResult:
    return edgekit.bench([folder / "m.onnx"], batches=(1, 2), budget_s=1)


def test_the_steps_of_the_recipe_are_timed_in_their_order(folder: Path, measured: BenchResult) -> None:
    found = with_end_to_end(measured, folder / "plain.toml", progress=Silent())
    first, second = found.rows
    assert second.end_to_end is None  # N1: batch 2
    assert first.end_to_end is not None
    names = [step.name for step in first.end_to_end.steps]
    assert names == ["1 resize", "2 scale", "3 layout", "input form", "output form"]
    assert [step.where for step in first.end_to_end.steps][-2:] == ["pre-processing", "post-processing"]
    assert first.end_to_end.samples == SAMPLES
    assert all(step.p50_ms > 0 for step in first.end_to_end.steps)
    around = sum(step.p50_ms for step in first.end_to_end.steps)
    assert first.end_to_end.inference_ms == first.latency.p50_ms
    assert first.end_to_end.total_ms == pytest.approx(around + first.latency.p50_ms)
    assert first.end_to_end.share == pytest.approx(first.latency.p50_ms / first.end_to_end.total_ms)


def test_a_slow_post_processing_takes_the_share(
    folder: Path, measured: BenchResult, capsys: pytest.CaptureFixture[str]
) -> None:
    """It sleeps for 4 ms, and the inference takes some microseconds."""
    plain = with_end_to_end(measured, folder / "plain.toml", progress=Silent()).rows[0].end_to_end
    slow = with_end_to_end(measured, folder / "post.toml", progress=Silent()).rows[0].end_to_end
    assert plain is not None
    assert slow is not None
    assert slow.steps[-1].name == "post.py:answer"
    assert slow.steps[-1].p50_ms >= 4
    assert slow.share < plain.share
    assert capsys.readouterr().out == ""


def test_every_report_has_it(folder: Path, measured: BenchResult) -> None:
    found = with_end_to_end(measured, folder / "plain.toml", progress=Silent())
    assert json.loads(render(found, "json"))["rows"][0]["end_to_end"]["steps"][0]["name"] == "1 resize"
    assert "End to end, from a raw sample to the answer" in render(found, "markdown")
    assert "1 resize" in render(found, "html")
    assert "inference_share" in csv.render(found).splitlines()[0]


def test_the_command_line_takes_a_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = ["bench", str(folder / "m.onnx"), "--recipe", str(folder / "post.toml"), "--budget", "1s"]
    line += ["--format", "json", "-q"]
    assert run(line) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["rows"][0]["end_to_end"]["steps"][-1]["name"] == "post.py:answer"


def test_an_artifact_that_dies_meanwhile_keeps_its_steady_state(  # N3
    folder: Path, measured: BenchResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*arguments: object) -> object:
        raise BackendCrashError("it was killed by SIGSEGV", why="", remedy="")

    monkeypatch.setattr(under_test, "_results", dies)
    found = with_end_to_end(measured, folder / "plain.toml", progress=Silent())
    assert found.rows == measured.rows
    (failed,) = found.failures
    assert (failed.kind, failed.reason) == ("crash", "at end to end: it was killed by SIGSEGV")
    assert found.exit_code is ExitCode.INTERNAL


def test_a_recipe_that_is_wrong_is_said_before_anything_is_measured(folder: Path) -> None:
    (folder / "wrong.toml").write_text(RECIPE.format(more='postprocess = "post.py:none"'))
    for recipe, says in (("no.toml", "cannot be read"), ("wrong.toml", "none")):
        with pytest.raises(InputError, match=says):
            edgekit.bench(["not there.onnx"], recipe=folder / recipe)


def test_post_processing_that_is_not_there(folder: Path) -> None:  # P1, P2
    with pytest.raises(DataError, match=r"is no file\.py:callable in"):
        post_processing("none.py:answer", base=folder)
    with pytest.raises(UnknownNameError, match="answers"):
        post_processing("post.py:answers", base=folder)
    (folder / "bad.py").write_text("import no_such_module_anywhere\n")
    with pytest.raises(DataError, match="cannot be imported: ModuleNotFoundError"):
        post_processing("bad.py:answer", base=folder)


def test_post_processing_that_raises_is_named(folder: Path) -> None:  # P3
    own = post_processing("post.py:breaks", base=folder)
    with own.ready(), pytest.raises(DataError, match=r"post.py:breaks raised KeyError: 'boxes'"):
        own({"y": np.zeros((1, 10), np.float32)})


def test_a_chain_times_each_step_in_turn_and_leaves_the_first_pass_out() -> None:
    """A clock of its own: the first step takes 3 ms, the second 5; the first pass takes 100 ms more."""
    now, calls = [0], list[tuple[str, int]]()

    def step(name: str, cost_ms: int) -> Any:
        def work(value: int) -> int:
            now[0] += cost_ms * 1_000_000 + (100_000_000 if len(calls) < 2 else 0)
            calls.append((name, value))
            return value + 1

        return work

    found: Mapping[str, tuple[float, ...]] = time_chain(
        [("a", step("a", 3)), ("b", step("b", 5))], [10, 20], budget_ms=1.0, clock=lambda: now[0]
    )
    assert found == {"a": (3.0,) * (FEWEST - 1), "b": (5.0,) * (FEWEST - 1)}
    assert calls[:4] == [("a", 10), ("b", 11), ("a", 20), ("b", 21)]


def test_a_long_chain_ends_at_its_budget() -> None:
    found = time_chain([("a", lambda value: time.sleep(0.002))], [0], budget_ms=40.0)
    assert FEWEST - 1 <= len(found["a"]) <= 20
