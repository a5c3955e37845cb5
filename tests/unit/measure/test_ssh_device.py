"""A device over ssh: a real sshd on loopback. S and R are the cases of device_ssh and device_job."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.backends.base import file_entries
from edgekit.errors import EdgekitError, ExitCode, InputError, MissingBackendError
from edgekit.measure import device_job
from edgekit.measure.device_address import parse
from edgekit.measure.device_job import Job, JobArtifact, Recording
from edgekit.measure.device_ssh import SshDevice
from edgekit.measure.devices import DeviceOptions
from tests.unit.measure import loopback
from tests.unit.measure.loopback import Sshd


@pytest.fixture(scope="module")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    found = loopback.start(tmp_path_factory.mktemp("sshd"))
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def right_host_key(sshd: Sshd) -> None:
    sshd.know(sshd.folder / "host.pub")


@pytest.fixture(autouse=True)
def nothing_left_behind(sshd: Sshd) -> Iterator[None]:
    """After each test the device's temporary folder is empty: the agent sees to it where edgekit cannot."""
    yield
    until = time.monotonic() + 10
    while sshd.left_behind():
        assert time.monotonic() < until, sshd.left_behind()
        time.sleep(0.05)


def options(sshd: Sshd, **changes: Any) -> DeviceOptions:
    return replace(DeviceOptions(python=sys.executable, ssh_options=sshd.options), **changes)


def small_job(folder: Path, *, rounds: int = 10, names: tuple[str, ...] = ("a", "b")) -> Job:
    weight = numpy_helper.from_array(np.eye(4, dtype=np.float32), "w")
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["y"])],
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4])],
        [weight],
    )
    path = folder / "m.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)
    (entry,) = file_entries(folder, ["m.onnx"])
    feeds: Mapping[str, Any] = {"x": np.ones((1, 4), np.float32)}
    return Job(
        tuple(
            JobArtifact(name, {"m.onnx": path}, {"m.onnx": entry.sha256}, "onnxruntime", 1, "cpu", (), feeds)
            for name in names
        ),
        rounds=rounds,
        round_ms=2,
    )


def measured(sshd: Sshd, job: Job, **changes: Any) -> Recording:
    given = options(sshd, **changes)
    with SshDevice(parse(sshd.address), given) as device:
        return device_job.record(device, job, given)


def test_a_job_runs_and_nothing_is_left_behind(sshd: Sshd, tmp_path: Path) -> None:
    """R1; ``nothing_left_behind`` looks at what is left."""
    found = measured(sshd, small_job(tmp_path))
    assert found.incomplete == ""
    assert found.failures == []
    assert {name: len(rounds) for name, rounds in found.rounds.items()} == {"a": 10, "b": 10}
    assert found.facts["a"]["runtime"] == "onnxruntime"
    assert found.machine["cores"] > 0
    assert found.peak_bytes["a"] > 0


def test_a_file_that_arrived_damaged_is_out_and_the_other_stands(sshd: Sshd, tmp_path: Path) -> None:
    """R2"""
    job = small_job(tmp_path)
    wrong = replace(job.artifacts[0], hashes={"m.onnx": "0" * 64})
    found = measured(sshd, replace(job, artifacts=(wrong, job.artifacts[1])))
    assert [(each.artifact, each.kind) for each in found.failures] == [("a", "error")]
    assert "SHA-256" in found.failures[0].what
    assert len(found.rounds["b"]) == 10


def cut(sshd: Sshd, when: threading.Event) -> None:
    """Kill the server's side of every connection, as a cable would."""
    when.wait(60)
    for process in sshd.sessions():
        os.kill(process, signal.SIGKILL)


def test_a_connection_killed_in_mid_run_loses_nothing_that_had_arrived(
    sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R3: every block that was received is in the result, which says that it is incomplete."""
    seen: list[tuple[str, int, list[int]]] = []
    enough = threading.Event()
    take = Recording.take

    def watched(self: Recording, event: Mapping[str, Any]) -> None:
        take(self, event)
        if event["event"] == "block":
            seen.append((event["artifact"], event["round"], event["ns"]))
            if len(seen) == 25:
                enough.set()

    monkeypatch.setattr(Recording, "take", watched)
    killer = threading.Thread(target=cut, args=(sshd, enough))
    killer.start()
    found = measured(sshd, small_job(tmp_path, rounds=100_000))
    killer.join()
    assert "was lost" in found.incomplete
    assert len(seen) >= 25
    for name in ("a", "b"):
        arrived = [ns for artifact, _, ns in seen if artifact == name]
        assert found.rounds[name] == [tuple(each / 1e6 for each in ns) for ns in arrived]


def test_a_device_that_takes_too_long_keeps_its_samples(sshd: Sshd, tmp_path: Path) -> None:
    found = measured(sshd, small_job(tmp_path, rounds=1_000_000), limit_s=10)
    assert "10 s" in found.incomplete
    assert len(found.rounds["a"]) > 0


def test_a_banner_of_the_login_shell_is_passed_over() -> None:
    """R5"""
    lines = ["Welcome!", "{not json}", '{"edgekit": 99, "event": "start"}', '["a"]', "{}"]
    assert list(device_job.events_of(lines)) == []


def refused(sshd: Sshd, **changes: Any) -> EdgekitError:
    with pytest.raises(EdgekitError) as caught:
        SshDevice(parse(changes.pop("address", sshd.address)), options(sshd, **changes))
    return caught.value


def test_a_wrong_host_key_is_refused(sshd: Sshd) -> None:
    """S2"""
    sshd.know(sshd.folder / "other.pub")
    error = refused(sshd)
    assert error.exit_code is ExitCode.BACKEND_MISSING
    assert "not the one that this machine knows" in error.what
    assert f'ssh-keygen -R "[127.0.0.1]:{sshd.port}"' in error.remedy


def test_an_unknown_host_is_refused_and_not_learned(sshd: Sshd) -> None:
    """S2: loopback is no exception, and known_hosts stays empty."""
    known = sshd.folder / "known_hosts"
    known.write_text("")
    error = refused(sshd)
    assert "not known to this machine" in error.what
    assert f"ssh-keyscan -p {sshd.port} 127.0.0.1" in error.remedy
    assert known.read_text() == ""


def test_no_accepted_key_says_so_and_asks_nothing(sshd: Sshd) -> None:
    """S1: with a terminal or without, nobody is asked for a password."""
    others = [each for each in sshd.options if not each.startswith("IdentityFile")]
    error = refused(sshd, ssh_options=(*others, f"IdentityFile={sshd.folder / 'other'}"))
    assert error.exit_code is ExitCode.BACKEND_MISSING
    assert "accepts none of your keys" in error.what
    assert "ssh-copy-id" in error.remedy


def test_nobody_listening_is_a_missing_device(sshd: Sshd) -> None:
    error = refused(sshd, address="ssh://127.0.0.1:1")
    assert error.exit_code is ExitCode.BACKEND_MISSING
    assert "nothing listens there" in error.what


@pytest.mark.parametrize(
    "option",
    ["StrictHostKeyChecking=no", "stricthostkeychecking=accept-new", "BatchMode=no", "ControlPath=/x", "-v"],
)
def test_an_option_that_would_weaken_the_connection_is_refused(sshd: Sshd, option: str) -> None:
    error = refused(sshd, ssh_options=(*sshd.options, option))
    assert isinstance(error, InputError)


def test_a_missing_python_says_what_to_type(sshd: Sshd, tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError, match="there is no /nowhere/python3") as caught:
        measured(sshd, small_job(tmp_path), python="/nowhere/python3")
    assert "--python" in caught.value.remedy


def test_a_missing_runtime_is_a_failure_of_its_artifact(sshd: Sshd, tmp_path: Path) -> None:
    """The environment on the "device" has NumPy and ONNX Runtime only."""
    python = loopback.environment("numpy", "onnxruntime")
    job = small_job(tmp_path)
    other = replace(job.artifacts[1], backend="litert")
    found = measured(sshd, replace(job, artifacts=(job.artifacts[0], other)), python=str(python))
    assert found.facts["a"]["runtime"] == "onnxruntime"
    assert len(found.rounds["a"]) == 10
    assert [(each.artifact, each.kind) for each in found.failures] == [("b", "missing")]
    assert f"{python} -m pip install ai-edge-litert" in found.failures[0].remedy


def test_a_fresh_environment_has_nothing_and_says_so(sshd: Sshd, tmp_path: Path) -> None:
    """No NumPy: each artifact fails with what to type; nothing is installed without being told."""
    python = loopback.environment()
    found = measured(sshd, small_job(tmp_path), python=str(python))
    assert {each.kind for each in found.failures} == {"missing"}
    assert "numpy" in found.failures[0].what
    assert found.rounds == {}


@pytest.mark.slow
def test_install_makes_an_environment_that_goes_with_the_folder(sshd: Sshd, tmp_path: Path) -> None:
    loopback.environment("numpy", "onnxruntime")  # skips where pip can fetch nothing
    found = measured(sshd, small_job(tmp_path, names=("a",)), python=sys.executable, install=True)
    assert found.failures == []
    assert len(found.rounds["a"]) == 10
