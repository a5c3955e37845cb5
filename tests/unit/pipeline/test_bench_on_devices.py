"""`bench --device` from the command line to the result: real artifacts, a real sshd, parallel devices.

D numbers are those of pipeline/bench/on_devices.py.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import edgekit
from edgekit.cli.main import run
from edgekit.errors import ExitCode, MissingBackendError
from edgekit.measure import device_job
from edgekit.measure.device_address import parse
from edgekit.measure.device_job import Failure, Recording
from edgekit.measure.device_list import Given, NamedDevice
from edgekit.measure.devices import DeviceOptions
from edgekit.pipeline.bench import on_devices as bench_devices
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.result import BenchResult
from edgekit.spec import Silent
from tests.unit.measure import loopback
from tests.unit.measure.loopback import Sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = loopback.start(tmp_path_factory.mktemp("sshd"))
    yield found
    found.stop()


@pytest.fixture(scope="module")
def cnn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """m.onnx, its int8 form q.onnx, and both for LiteRT; seed 0."""
    folder, rng = tmp_path_factory.mktemp("cnn"), np.random.default_rng(0)
    constants = [
        numpy_helper.from_array((rng.standard_normal(shape) * 0.2).astype(np.float32), name)
        for name, shape in (("w1", (8, 3, 3, 3)), ("b1", (8,)), ("w2", (10, 8)))
    ]
    nodes = [
        helper.make_node("Conv", ["x", "w1", "b1"], ["c"], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("GlobalAveragePool", ["r"], ["p"]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2"], ["y"], transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "cnn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 16, 16])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 10])],
        constants,
    )
    onnx.save(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "m.onnx"
    )
    data = folder / "cal.npz"
    np.savez(data, x=rng.random((16, 3, 16, 16)).astype(np.float32))
    edgekit.quantize(
        folder / "m.onnx",
        calibration_data=str(data),
        target="litert-cpu",
        precision="w8a8",
        out=folder / "q.onnx",
    )
    edgekit.compile(folder / "q.onnx", target="litert-cpu", out=folder / "int8")
    edgekit.compile(folder / "m.onnx", target="litert-cpu", out=folder / "float")
    return folder


def over_ssh(sshd: Sshd, *, name: str = "board", python: str = sys.executable) -> NamedDevice:
    return NamedDevice(name, parse(sshd.address), DeviceOptions(python=python, ssh_options=sshd.options))


def bench(
    paths: list[Path], devices: list[NamedDevice], *, baseline: Path | None = None, budget_s: float = 1.0
) -> BenchResult:
    return bench_devices.bench_on_devices(
        paths, devices=devices, baseline=baseline, sweep=Sweep(budget_s=budget_s), seed=0, progress=Silent()
    )


def test_an_int8_file_of_edgekit_runs_on_tflite_runtime_2_14_over_ssh(sshd: Sshd, cnn: Path) -> None:
    """The device has NumPy < 2 and tflite_runtime alone; the file was written by a compiler of today."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite_runtime 2.14 has no wheel for this Python")
    python = loopback.environment("numpy<2", "tflite_runtime==2.14.0")
    found = bench([cnn / "int8", cnn / "float"], [over_ssh(sshd, python=str(python))])
    assert found.exit_code is ExitCode.OK
    assert found.failures == ()
    assert [row.status for row in found.devices] == ["complete"]
    for row in found.rows:
        assert row.device == "board"
        assert row.ran_on.startswith("tflite_runtime 2.14.0")
        assert row.latency.runs >= 8
        assert row.memory_bytes
    assert sshd.left_behind() == []


def test_a_file_that_is_too_new_for_the_runtime_says_so(sshd: Sshd, cnn: Path) -> None:
    """FULLY_CONNECTED with float activations and int8 weights per channel is version 12: 2.14 has 10."""
    if sys.version_info >= (3, 12):
        pytest.skip("tflite_runtime 2.14 has no wheel for this Python")
    python = loopback.environment("numpy<2", "tflite_runtime==2.14.0")
    weight = np.random.default_rng(0).standard_normal((64, 32)).astype(np.float32)
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "dense",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 64])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 32])],
        [numpy_helper.from_array(weight, "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, cnn / "dense.onnx")
    edgekit.quantize(cnn / "dense.onnx", target="litert-cpu", precision="dynamic", out=cnn / "d.onnx")
    edgekit.compile(cnn / "d.onnx", target="litert-cpu", out=cnn / "dynamic")
    found = bench([cnn / "dynamic"], [over_ssh(sshd, python=str(python))])
    assert found.exit_code is ExitCode.BACKEND_MISSING
    (failed,) = found.failures
    assert "older than the file" in failed.reason
    assert "ai-edge-litert" in failed.remedy


def test_onnx_files_run_where_only_onnxruntime_is(
    sshd: Sshd, cnn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a baseline, so that there is a verdict; the .tflite is named as what cannot run (D4)."""
    python = loopback.environment("numpy", "onnxruntime")
    paths = [cnn / "m.onnx", cnn / "q.onnx", cnn / "int8"]
    real = device_job.record

    def two_launches(*args: Any, enough: Any) -> Recording:
        """What a ratio needs, whatever time they take; the referee has seen both."""
        return real(*args, enough=lambda recording: enough(recording) or recording.ended == 2)

    monkeypatch.setattr(device_job, "record", two_launches)
    found = bench(paths, [over_ssh(sshd, python=str(python))], baseline=cnn / "m.onnx", budget_s=300.0)
    assert found.exit_code is ExitCode.BACKEND_MISSING
    assert found.rows[0].verdict == "baseline"
    assert found.rows[1].ratio is not None
    (failed,) = found.failures
    assert (failed.artifact, failed.kind) == (str(cnn / "int8"), "missing")


def test_several_devices_at_once_and_one_is_not_there(sshd: Sshd, cnn: Path) -> None:
    """D2; and the machine itself as a device."""
    gone = NamedDevice("gone", parse("ssh://127.0.0.1:1"), DeviceOptions(ssh_options=sshd.options))
    here = NamedDevice("local", parse("local"), DeviceOptions())
    found = bench([cnn / "m.onnx"], [over_ssh(sshd), gone, here])
    assert [(row.name, row.status) for row in found.devices] == [
        ("board", "complete"),
        ("gone", "missing"),
        ("local", "complete"),
    ]
    assert [row.device for row in found.rows] == ["board", "local"]
    assert found.exit_code is ExitCode.BACKEND_MISSING
    assert "nothing listens" in found.devices[1].reason


def test_one_device_that_is_not_there_is_its_error(cnn: Path) -> None:
    """D1"""
    with pytest.raises(MissingBackendError, match="nothing listens there"):
        bench([cnn / "m.onnx"], [NamedDevice("gone", parse("ssh://127.0.0.1:1"), DeviceOptions())])


def arranged(monkeypatch: pytest.MonkeyPatch, **changes: Any) -> None:
    """Let the recording be as a broken run leaves it: a few rounds, and ``changes``."""
    real = device_job.record

    def broken(*args: Any, enough: Any) -> Recording:
        found = real(*args, enough=lambda recording: True)  # the referee sees nothing
        found.samples = {name: {0: launches[0][:3]} for name, launches in found.samples.items()}
        return replace(found, **changes)

    monkeypatch.setattr(device_job, "record", broken)


def test_a_lost_device_keeps_its_rows_and_is_exit_code_7(cnn: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """D3: three rounds have an interval of their own, and no verdict."""
    arranged(monkeypatch, incomplete="the connection was lost")
    here = NamedDevice("local", parse("local"), DeviceOptions())
    found = bench([cnn / "m.onnx", cnn / "q.onnx"], [here], baseline=cnn / "m.onnx")
    assert found.exit_code is ExitCode.INCONCLUSIVE
    assert [row.status for row in found.devices] == ["incomplete"]
    assert [row.verdict for row in found.rows] == ["baseline", "undecided"]
    assert all(row.latency.raw_ms for row in found.rows)


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("crash", ExitCode.INTERNAL),
        ("error", ExitCode.BAD_INPUT),
        ("missing", ExitCode.BACKEND_MISSING),
        ("timeout", ExitCode.INCONCLUSIVE),
    ],
)
def test_each_failure_has_its_exit_code(
    kind: Any, code: ExitCode, cnn: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """D4"""
    arranged(monkeypatch, failures=[Failure("b.onnx", kind, "it died")])
    here = NamedDevice("local", parse("local"), DeviceOptions())
    found = bench([cnn / "m.onnx"], [here])
    assert found.exit_code is code
    assert len(found.rows) == 1


def test_a_corrupt_artifact_is_named_and_the_other_stands(cnn: Path) -> None:
    bad = cnn / "corrupt" / "x.tflite"
    bad.parent.mkdir(exist_ok=True)
    good = next((cnn / "int8").glob("*.tflite"))
    sidecar = json.loads(good.with_name(good.name + ".json").read_text())
    content = good.read_bytes()[:8] + b"\xff" * 600
    bad.write_bytes(content)
    sidecar["files"] = [
        {"path": bad.name, "sha256": hashlib.sha256(content).hexdigest(), "size_bytes": len(content)}
    ]
    bad.with_name(bad.name + ".json").write_text(json.dumps(sidecar))
    found = bench([bad, cnn / "float"], [NamedDevice("local", parse("local"), DeviceOptions())])
    assert found.exit_code in {ExitCode.INTERNAL, ExitCode.BAD_INPUT}
    assert [each.artifact for each in found.failures] == [str(bad)]
    assert [row.artifact for row in found.rows] == [str(cnn / "float")]


def test_the_command_line_measures_on_a_device_of_devices_toml(
    sshd: Sshd, cnn: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    listed = tmp_path / "boards.toml"
    listed.write_text(
        f'[[device]]\nname = "pi"\naddress = "{sshd.address}"\npython = "{sys.executable}"\n'
        f"ssh_options = {json.dumps(sshd.options)}\nthreads = 2\n"
    )
    line = ["bench", str(cnn / "m.onnx"), "--device", "pi", "--devices", str(listed), "--budget", "1s"]
    assert run([*line, "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [row["device"] for row in found["rows"]] == ["pi"]
    assert "threads: 2" in found["rows"][0]["ran_on"]
    assert found["devices"][0]["facts"]["cores"]
    assert run([*line, "--threads", "1"]) == 0
    text = capsys.readouterr().out
    assert "pi" in text
    assert "threads: 1" in text


def test_a_missing_device_on_the_command_line_is_exit_code_6(
    cnn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(cnn / "m.onnx"), "--device", "ssh://127.0.0.1:1"]) == 6
    assert "nothing listens there" in capsys.readouterr().err


def test_python_measures_on_devices_too(sshd: Sshd, cnn: Path) -> None:
    given = Given(python=sys.executable, ssh_options=sshd.options)
    found = edgekit.bench([cnn / "m.onnx"], devices=[sshd.address], given=given, budget_s=1)
    assert [row.device for row in found.rows] == [sshd.address]


def test_an_interrupt_leaves_nothing_on_the_device(sshd: Sshd, cnn: Path, tmp_path: Path) -> None:
    """Ctrl-C while the device measures: exit code 130, the folder is gone, and so is the connection.

    Many files: a single small one may be done before the signal comes.
    """
    options = [part for each in sshd.options for part in ("--ssh-option", each)]
    files = [str(shutil.copy(cnn / "m.onnx", tmp_path / f"m{number}.onnx")) for number in range(12)]
    line = ["bench", *files, "--device", sshd.address, "--python", sys.executable, *options]
    # A job in a shell's background ignores SIGINT, and hands that down; Ctrl-C means one that does not.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        process = subprocess.Popen([sys.executable, "-m", "edgekit", *line], stderr=subprocess.PIPE)
    finally:
        signal.signal(signal.SIGINT, before)
    until = time.monotonic() + 60
    while not any(list(each.glob("child-0.log")) for each in sshd.left_behind()):
        assert time.monotonic() < until
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert sshd.left_behind() == []
    assert sshd.sessions() == []
