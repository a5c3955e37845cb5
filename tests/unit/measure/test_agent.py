"""The device agent as a program of its own: a job in, JSON lines out. E and L: the cases of agent.py."""

from __future__ import annotations

import ast
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit import target as targets
from edgekit.backends import onnxruntime_settings
from edgekit.measure import agent, machine, replicate, timer

AGENT = Path(agent.__file__)
Event = dict[str, Any]


def small_model(path: Path) -> Path:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4])],
        [weight],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    return path


def artifact(name: str, file: str, *, backend: str = "onnxruntime") -> dict[str, Any]:
    return {
        "name": name,
        "file": file,
        "backend": backend,
        "threads": 1,
        "device": "cpu",
        "settings": [],
        "inputs": [{"name": "x", "dtype": "float32", "shape": ["n", 4]}],
    }


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A device's folder: the agent and a model, nothing of edgekit."""
    shutil.copy(AGENT, tmp_path / "agent.py")
    small_model(tmp_path / "m.onnx")
    return tmp_path


def start(
    folder: Path, artifacts: list[dict[str, Any]], *, environment: dict[str, str] | None = None, **job: object
) -> subprocess.Popen[str]:
    (folder / "job.json").write_text(json.dumps({"artifacts": artifacts, "rounds": 4, "round_ms": 1, **job}))
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    return subprocess.Popen(
        [sys.executable, str(folder / "agent.py"), "run", str(folder / "job.json")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**inherited, **(environment or {})},
    )


def finished(process: subprocess.Popen[str]) -> list[Event]:
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return [json.loads(line) for line in out.splitlines()]


def of(events: list[Event], kind: str) -> list[Event]:
    return [each for each in events if each["event"] == kind]


def test_two_artifacts_run_interleaved_in_two_processes(folder: Path) -> None:
    events = finished(start(folder, [artifact("a", "m.onnx"), artifact("b", "m.onnx")]))
    assert [each["event"] for each in events[:1]] == ["start"]  # E1
    assert [each["artifact"] for each in of(events, "opened")] == ["a", "b"]  # E2
    runs = {each["artifact"]: each["runs"] for each in of(events, "warm")}  # E3
    order = [(each["round"], each["artifact"]) for each in of(events, "block")]  # E4
    assert order == [(0, "a"), (0, "b"), (1, "b"), (1, "a"), (2, "a"), (2, "b"), (3, "b"), (3, "a")]
    assert all(len(each["ns"]) == runs[each["artifact"]] for each in of(events, "block"))
    assert all(min(each["ns"]) > 0 for each in of(events, "block"))
    (summary,) = of(events, "summary")  # E7
    assert set(summary["peak_bytes"]) == {"a", "b"}
    facts = of(events, "opened")[0]["facts"]
    assert facts["runtime"] == "onnxruntime"
    assert facts["numpy"] == np.__version__


def test_each_launch_has_processes_of_its_own_in_the_order_of_the_job(folder: Path) -> None:
    """E10; the second launch runs backwards, and nobody of the first is alive any more."""
    both = [artifact("a", "m.onnx"), artifact("b", "m.onnx")]
    events = finished(start(folder, both, rounds=2, launches=3, backwards=[False, True, False]))
    assert [each["artifact"] for each in of(events, "opened")] == ["a", "b", "b", "a", "a", "b"]
    blocks = [(each["launch"], each["artifact"]) for each in of(events, "block")]
    forward, backward = ["a", "b", "b", "a"], ["b", "a", "a", "b"]
    assert blocks == [
        *((0, name) for name in forward),
        *((1, name) for name in backward),
        *((2, name) for name in forward),
    ]
    assert [each["launch"] for each in of(events, "launched")] == [0, 1]
    (summary,) = of(events, "summary")
    assert all(summary["peak_bytes"][name] for name in "ab")


def test_what_failed_in_one_launch_is_in_no_later_one(folder: Path) -> None:
    (folder / "bad.onnx").write_bytes(b"not a model")
    both = [artifact("bad", "bad.onnx"), artifact("good", "m.onnx")]
    events = finished(start(folder, both, rounds=2, launches=3))
    assert [each["artifact"] for each in of(events, "failed")] == ["bad"]
    assert [(each["launch"], each["artifact"]) for each in of(events, "block")] == [
        (launch, "good") for launch in (0, 0, 1, 1, 2, 2)
    ]


def test_feeds_of_the_job_are_bound(folder: Path) -> None:
    """A batch of 3 from the .npz; without one, an open size is 1."""
    np.savez(folder / "feeds.npz", np.ones((3, 4), np.float32))
    good = {**artifact("a", "m.onnx"), "feeds": "feeds.npz"}
    assert not of(finished(start(folder, [good])), "failed")
    np.savez(folder / "feeds.npz", np.ones((3, 5), np.float32))
    (failed,) = of(finished(start(folder, [good])), "failed")
    assert failed["kind"] == "error"


def test_a_crash_of_native_code_has_a_name_and_the_others_go_on(folder: Path) -> None:
    """E5: a runtime that dies of SIGSEGV while it loads "corrupt"; the neighbour's samples are all there."""
    fakes = folder / "fakes"
    fakes.mkdir()
    (fakes / "openvino.py").write_text(
        "import os, signal, sys\n"
        "class Core:\n"
        "    def read_model(self, path):\n"
        "        sys.stderr.write('corrupt weights'); sys.stderr.flush()\n"
        "        os.kill(os.getpid(), signal.SIGSEGV)\n"
    )
    both = [artifact("broken", "corrupt.xml", backend="openvino"), artifact("good", "m.onnx")]
    events = finished(start(folder, both, environment={"PYTHONPATH": str(fakes)}))
    (failed,) = of(events, "failed")
    assert failed["artifact"] == "broken"
    assert failed["kind"] == "crash"
    assert "SIGSEGV" in failed["what"]
    assert "corrupt weights" in failed["what"]
    assert [each["artifact"] for each in of(events, "block")] == ["good"] * 4


def test_a_child_killed_in_the_middle_keeps_its_earlier_blocks(folder: Path) -> None:
    process = start(folder, [artifact("a", "m.onnx"), artifact("b", "m.onnx")], rounds=400, round_ms=5)
    assert process.stdout is not None
    events: list[Event] = []
    while not of(events, "block"):
        events.append(json.loads(process.stdout.readline()))
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    os.kill(int(children[0]), signal.SIGKILL)
    events += finished(process)
    (failed,) = of(events, "failed")
    assert "SIGKILL" in failed["what"]
    rounds = {name: [e["round"] for e in of(events, "block") if e["artifact"] == name] for name in "ab"}
    killed = rounds.pop(failed["artifact"])  # the system does not promise in which order it lists children
    assert killed == list(range(len(killed)))
    assert len(killed) < 400
    assert list(rounds.values()) == [list(range(400))]


def test_a_runtime_that_is_missing_says_what_to_type(folder: Path) -> None:
    fakes = folder / "fakes"
    fakes.mkdir()
    (fakes / "openvino.py").write_text("raise ImportError('no such thing')\n")
    job = [artifact("a", "m.xml", backend="openvino")]
    (failed,) = of(finished(start(folder, job, environment={"PYTHONPATH": str(fakes)})), "failed")
    assert failed["kind"] == "missing"
    assert "pip install openvino" in failed["remedy"]
    assert "--install" in failed["remedy"]


def test_a_damaged_file_is_an_error_with_its_name(folder: Path) -> None:
    (folder / "m.onnx").write_bytes(b"not a model")
    events = finished(start(folder, [artifact("a", "m.onnx")]))
    assert [(each["artifact"], each["kind"]) for each in of(events, "failed")] == [("a", "error")]


def test_an_artifact_that_hangs_is_out_after_its_time(folder: Path) -> None:
    fakes = folder / "fakes"
    fakes.mkdir()
    (fakes / "openvino.py").write_text(
        "import time\nclass Core:\n    def read_model(self, path):\n        time.sleep(600)\n"
    )
    job = [artifact("slow", "m.xml", backend="openvino"), artifact("good", "m.onnx")]
    events = finished(start(folder, job, environment={"PYTHONPATH": str(fakes)}, reply_s=8))
    assert [(each["artifact"], each["kind"]) for each in of(events, "failed")] == [("slow", "timeout")]
    assert len(of(events, "block")) == 4


def test_the_life_line_ends_everything_and_removes_the_folder(folder: Path) -> None:
    """L1, and that nothing is removed without being told."""
    device = folder / "device"
    device.mkdir()
    for name in ("agent.py", "m.onnx"):
        shutil.copy(folder / name, device / name)
    process = start(device, [artifact("a", "m.onnx")], rounds=100_000, life_line=True, remove=True)
    assert process.stdout is not None
    while json.loads(process.stdout.readline())["event"] != "block":
        pass
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    process.communicate(timeout=30)
    assert process.returncode == 1
    assert not device.exists()
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_without_a_life_line_the_end_of_stdin_means_nothing(folder: Path) -> None:
    process = start(folder, [artifact("a", "m.onnx")], remove=True)
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None
    assert len(of(finished(process), "block")) == 4
    assert folder.exists()


def test_the_agent_is_one_file_that_python_3_9_reads() -> None:
    """Grammar of 3.9; at module level the standard library only; nothing of edgekit anywhere."""
    tree = ast.parse(AGENT.read_text("utf-8"), feature_version=(3, 9))
    everywhere = [
        name
        for node in ast.walk(tree)
        for name in (
            [alias.name for alias in node.names]
            if isinstance(node, ast.Import)
            else [node.module or ""]
            if isinstance(node, ast.ImportFrom)
            else []
        )
    ]
    runtimes = {"numpy", "onnxruntime", "openvino"}
    assert {name.split(".")[0] for name in everywhere} <= {*sys.stdlib_module_names, *runtimes}


def test_python_3_9_runs_it() -> None:
    old = shutil.which("python3.9")
    if old is None or subprocess.run([old, "-c", ""], capture_output=True, check=False).returncode:
        pytest.skip("no python3.9 on this machine")
    done = subprocess.run([old, "-I", str(AGENT), "facts"], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout)["machine"]["python"].startswith("3.9")


def test_the_agent_measures_as_the_timer_does() -> None:
    """The constants are copies, because the file travels alone."""
    assert agent.ROUNDS == replicate.ROUNDS
    names = ("ROUND_MS", "MOST_RUNS", "LEAD_IN_FROM", "WARM_UP_WINDOWS", "WARM_UP_MS", "WINDOW_MS")
    assert {name: getattr(agent, name) for name in names} == {name: getattr(timer, name) for name in names}


def test_the_facts_are_those_of_the_machine() -> None:
    ours, its = machine.facts(), agent.machine()
    assert its["cpu"] == ours.cpu
    assert tuple(its["features"]) == ours.features
    assert its["cores"] == ours.cores
    assert its["governor"] == ours.governor


def test_a_gpu_that_the_agent_does_not_know_is_refused_and_never_the_cpu(folder: Path) -> None:
    with pytest.raises(agent.Refusal, match="WebGPU") as caught:
        agent.OPENERS["onnxruntime"]({**artifact("m", str(folder / "m.onnx")), "device": "gpu"}, [])
    assert caught.value.kind == "missing"


def test_tensorrt_is_refused_and_never_cuda(folder: Path) -> None:
    asked = {
        **artifact("m", str(folder / "m.onnx")),
        "device": "cuda",
        "settings": [["provider", "tensorrt"]],
    }
    with pytest.raises(agent.Refusal, match="TensorRT") as caught:
        agent.OPENERS["onnxruntime"](asked, [])
    assert caught.value.kind == "missing"


def test_settings_of_a_provider_are_not_the_sessions() -> None:
    """As ``onnxruntime_settings.read``; what an agent does not do (graphs, memory of the GPU) it drops."""
    for target in ("gpu-cuda", "onnxruntime-cpu"):
        options = targets.load(target).run.options()
        read = onnxruntime_settings.read(dict(options.settings), device=options.device)
        session, cuda = agent._without_providers([list(pair) for pair in options.settings])
        session.pop("graph_optimization_level", None)
        assert session == dict(read.session)
        if read.providers:
            kept = dict(read.providers[0][1])
            kept.pop("enable_cuda_graph", None)
            assert cuda == kept
