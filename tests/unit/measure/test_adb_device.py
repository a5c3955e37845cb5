"""A device over adb, and LiteRT's benchmark_model on it: a fake ``adb`` whose device is a folder."""

from __future__ import annotations

import os
import shutil
import stat
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends.base import file_entries
from edgekit.errors import InputError, MissingBackendError
from edgekit.measure import benchmark_model, device_adb, device_job
from edgekit.measure.device_adb import AdbDevice
from edgekit.measure.device_address import parse
from edgekit.measure.device_job import Job, JobArtifact, Recording
from edgekit.measure.devices import DeviceOptions, LostDeviceError
from edgekit.measure.replicate import backwards

LAUNCHES = 10
ADB = """\
import os, shutil, subprocess, sys
room, here = os.environ["FAKE_ROOM"], os.environ["FAKE_STATE"]
serial, verb, *rest = sys.argv[2:]
assert sys.argv[1] == "-s"
if serial != "FAKE" or os.path.exists(os.path.join(here, "gone")):
    sys.exit(sys.stderr.write(f"error: device '{serial}' not found\\n") and 1)
if verb == "get-state":
    state = open(os.path.join(here, "state")).read()
    if state != "device":
        sys.exit(sys.stderr.write(f"error: device {state}\\n") and 1)
    print(state)
elif verb == "push":
    shutil.copyfile(rest[0], rest[1].replace("/data/local/tmp", room))
elif verb == "shell":
    sys.exit(subprocess.call(["sh", "-c", rest[0].replace("/data/local/tmp", room)]))
"""

# Lines of a build of 2024 (warm-up first, prefixed), and of one of TensorFlow 2.4 (no median, other memory).
RECENT = """\
INFO: STARTING!
INFO: Graph: [a0/m.tflite]
INFO: Running benchmark for at least 1 iterations and at least 0.5 seconds but terminate if exceeding 150 seconds.
INFO: count=1 curr=1357602 p5=1357602 median=1357602 p95=1357602
INFO: count=50 first=1249964 curr=1240143 min=1238588 max=1252566 avg=1.24027e+06 std=2565 p5=1238753 median=1239807 p95=1247415
INFO: Inference timings in us: Init: 5579, First inference: 1357602, Warmup (avg): 1.3576e+06, Inference (avg): 1.24027e+06
INFO: Memory footprint delta from the start of the tool (MB): init=6.36328 overall=109.832
INFO: Overall peak memory footprint (MB) via periodic monitoring: 113.5
"""  # noqa: E501 - as the tool prints it
OLD = """\
count=4 first=360262 curr=290000 min=290000 max=360262 avg=304586 std=3000
count=50 first=249042 curr=250889 min=247067 max=254474 avg=249684 std=1442
Inference timings in us: Init: 16242, First inference: 360262, Warmup (avg): 304586, Inference (avg): 249684
Peak memory footprint (MB): init=4.92969 overall=138.809
"""


@dataclass
class Phone:
    room: Path
    state: Path
    tools: Path

    def tool(self, script: str) -> Path:
        """A benchmark_model that is this shell script."""
        path = self.tools / "benchmark_model"
        path.write_text(f"#!/bin/sh\n{script}\n")
        return path


@pytest.fixture
def phone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Phone]:
    found = Phone(*(tmp_path / name for name in ("room", "state", "tools")))
    for each in (found.room, found.state, found.tools, tmp_path / "bin"):
        each.mkdir()
    adb = tmp_path / "bin" / "adb"
    adb.write_text(f"#!{sys.executable}\n{ADB}")
    adb.chmod(adb.stat().st_mode | stat.S_IXUSR)
    (found.state / "state").write_text("device")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_ROOM", str(found.room))
    monkeypatch.setenv("FAKE_STATE", str(found.state))
    yield found
    assert (found.state / "gone").exists() or list(found.room.iterdir()) == []  # nothing is left behind


def job(folder: Path, *names: str, backend: str = "litert") -> Job:
    (folder / "m.tflite").write_bytes(b"a model")
    (entry,) = file_entries(folder, ["m.tflite"])
    return Job(
        tuple(
            JobArtifact(
                name,
                {"m.tflite": folder / "m.tflite"},
                {"m.tflite": entry.sha256},
                backend,
                2,
                "cpu",
                (),
                {"x": np.ones((1, 4), np.float32)},
            )
            for name in names
        ),
        launches=LAUNCHES,
    )


def measured(phone: Phone, what: Job, tool: Path) -> Recording:
    with AdbDevice(parse("adb:FAKE")) as device:
        return device_job.recorded(benchmark_model.events(device, what, tool, limit_s=60))


def saying(text: str) -> str:
    return f"cat >&2 <<'END'\n{text}END"


def test_benchmark_model_runs_interleaved_and_its_medians_are_the_samples(
    phone: Phone, tmp_path: Path
) -> None:
    script = f'echo "$@" >> {phone.state}/calls\n{saying(RECENT)}'
    found = measured(phone, job(tmp_path, "a", "b"), phone.tool(script))
    assert found.incomplete == ""
    assert found.rounds["a"] == [(1239.807,)] * LAUNCHES
    assert [each.load_ms for each in found.launches["a"]] == [5.579] * LAUNCHES
    assert [each.first_ms for each in found.launches["b"]] == [1357.602] * LAUNCHES
    assert found.peak_bytes == {"a": 113_500_000, "b": 113_500_000}
    calls = (phone.state / "calls").read_text().splitlines()
    graphs = [line.split()[0].removeprefix("--graph=") for line in calls]
    orders = [
        ["a0/m.tflite", "a1/m.tflite"][:: -1 if backwards(each, seed=0) else 1] for each in range(LAUNCHES)
    ]
    assert graphs == [graph for order in orders for graph in order]
    assert "--num_threads=2" in calls[0].split()
    assert "medians" in found.facts["a"]["samples"]


def test_an_old_build_has_no_median() -> None:
    run = benchmark_model.parse(OLD)
    assert (run.typical_us, run.init_us, run.first_us) == (249684, 16242, 360262)
    assert run.peak_bytes == 138_809_000


@pytest.mark.parametrize("text", ["", "STARTING!\n", RECENT.split("INFO: count=50", maxsplit=1)[0]])
def test_output_without_timings_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no timings"):
        benchmark_model.parse(text)


def test_a_model_that_crashes_the_tool_is_named_and_the_other_stands(phone: Phone, tmp_path: Path) -> None:
    script = f'case "$1" in *a0/*) kill -SEGV $$;; esac\n{saying(RECENT)}'
    found = measured(phone, job(tmp_path, "bad", "good"), phone.tool(script))
    assert [(each.artifact, each.kind) for each in found.failures] == [("bad", "crash")]
    assert len(found.rounds["good"]) == LAUNCHES


def test_a_model_that_the_tool_refuses_is_an_error(phone: Phone, tmp_path: Path) -> None:
    found = measured(phone, job(tmp_path, "bad"), phone.tool("echo 'Failed to load'; exit 1"))
    assert [(each.artifact, each.kind) for each in found.failures] == [("bad", "error")]
    assert "Failed to load" in found.failures[0].what


def test_other_files_than_tflite_are_not_for_the_tool(phone: Phone, tmp_path: Path) -> None:
    found = measured(phone, job(tmp_path, "m.onnx", backend="onnxruntime"), phone.tool(saying(RECENT)))
    assert [(each.artifact, each.kind) for each in found.failures] == [("m.onnx", "missing")]


def test_a_batch_that_the_tool_would_not_run_is_refused(phone: Phone, tmp_path: Path) -> None:
    what = job(tmp_path, "one", "four")
    four = replace(what.artifacts[1], inputs={"x": np.ones((4, 4), np.float32)})
    what = replace(what, artifacts=(what.artifacts[0], four))
    found = measured(phone, what, phone.tool(saying(RECENT)))
    assert [(each.artifact, each.kind) for each in found.failures] == [("four", "error")]
    assert "of batch 4" in found.failures[0].what
    assert len(found.rounds["one"]) == LAUNCHES


@pytest.mark.skipif(shutil.which("taskset") is None, reason="no taskset on this machine")
def test_the_tool_runs_on_the_cores_that_were_asked_for(phone: Phone, tmp_path: Path) -> None:
    script = f"grep Cpus_allowed_list /proc/$$/status >> {phone.state}/cores\n{saying(RECENT)}"
    what = job(tmp_path, "a")
    measured(phone, replace(what, artifacts=(replace(what.artifacts[0], cores=(0,)),)), phone.tool(script))
    assert set((phone.state / "cores").read_text().split()) == {"Cpus_allowed_list:", "0"}


def test_a_phone_that_goes_away_keeps_its_rounds(phone: Phone, tmp_path: Path) -> None:
    script = (
        f"echo x >> {phone.state}/calls\n{saying(RECENT)}\n"
        f"[ $(wc -l < {phone.state}/calls) -lt 4 ] || touch {phone.state}/gone"
    )
    found = measured(phone, job(tmp_path, "a"), phone.tool(script))
    assert "went away" in found.incomplete
    assert len(found.rounds["a"]) == 4


def test_a_tool_that_is_not_there(phone: Phone, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is no file"):
        measured(phone, job(tmp_path, "a"), tmp_path / "nothing")


def test_with_python_on_the_phone_the_agent_runs(phone: Phone, tmp_path: Path) -> None:
    """It says that the file, which is no model, is refused: the way there and back works."""
    options = DeviceOptions(python=sys.executable)
    with AdbDevice(parse("adb:FAKE")) as device:
        found = device_job.record(device, job(tmp_path, "a"), options)
    assert found.incomplete == ""
    assert [(each.artifact, each.kind) for each in found.failures] == [("a", "error")]


def test_without_python_the_remedy_is_benchmark_model(phone: Phone, tmp_path: Path) -> None:
    with AdbDevice(parse("adb:FAKE")) as device, pytest.raises(MissingBackendError) as caught:
        device_job.record(device, job(tmp_path, "a"), DeviceOptions(python="/nowhere/python3"))
    assert "--benchmark-model" in caught.value.remedy


@pytest.mark.parametrize("state", ["offline", "unauthorized"])
def test_a_phone_that_is_not_ready(phone: Phone, state: str) -> None:
    (phone.state / "state").write_text(state)
    with pytest.raises(MissingBackendError, match="adb:FAKE is not there") as caught:
        AdbDevice(parse("adb:FAKE"))
    assert state in caught.value.why


def test_another_serial_number_is_not_there(phone: Phone) -> None:
    with pytest.raises(MissingBackendError, match="adb:OTHER is not there"):
        AdbDevice(parse("adb:OTHER"))


def test_no_adb_says_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingBackendError, match="adb is not on this machine"):
        AdbDevice(parse("adb:FAKE"))


def test_a_phone_that_hangs_is_lost(phone: Phone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device_adb, "_ANSWER_S", 0.5)
    with AdbDevice.__new__(AdbDevice) as device:
        device._address, device._folder, device._running = parse("adb:FAKE"), "", None
        with pytest.raises(LostDeviceError, match="no answer within"):
            device._adb("shell", "sleep 30", limit_s=0.5)
