"""`verify --device`: vectors replayed by the agent, what ran held against what was asked for.

The device is this machine with a Python of its own; a ``sitecustomize`` makes it one that computes, places or
ends otherwise. What an arm64 device gives is in tests/arm64.
"""

from __future__ import annotations

import platform
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import edgekit
from edgekit.cli.main import run
from edgekit.errors import ExitCode, InputError, MissingBackendError
from edgekit.measure.device_list import Given
from edgekit.measure.devices import LostDeviceError
from edgekit.pipeline import verify as verifying
from edgekit.pipeline.proof import Place
from edgekit.pipeline.result import VerifyResult
from edgekit.spec import Artifact, RunOptions, Session
from tests.unit.measure import loopback
from tests.unit.measure.loopback import Sshd
from tests.unit.pipeline import bundled

WRONG_NUMBERS = """
import onnxruntime
class Session(onnxruntime.InferenceSession):
    def io_binding(self):
        binding = super().io_binding()
        given = binding.copy_outputs_to_cpu
        binding.copy_outputs_to_cpu = lambda: [array + 0.5 for array in given()]
        return binding
onnxruntime.InferenceSession = Session
"""
NO_XNNPACK = """
from ai_edge_litert import interpreter
class Without(interpreter.Interpreter):
    def __init__(self, **given):
        none = interpreter.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
        super().__init__(**{**given, "experimental_op_resolver_type": none})
interpreter.Interpreter = Without
"""
NO_ONNXRUNTIME = """
import sys
sys.modules["onnxruntime"] = None
"""
EMULATED = """
import os
os.environ["EDGEKIT_EMULATED"] = "a test"
"""


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle for onnxruntime-cpu and litert-cpu."""
    work = tmp_path_factory.mktemp("work")
    held = [bundled.compiled(bundled.cnn(), work, name) for name in ("onnxruntime-cpu", "litert-cpu")]
    return bundled.bundle(held, work / "m-1", bundled.images())


def device_python(folder: Path, customize: str) -> str:
    """An interpreter that runs ``customize`` before anything else."""
    (folder / "site").mkdir()
    (folder / "site" / "sitecustomize.py").write_text(customize)
    launcher = folder / "python"
    launcher.write_text(
        f"#!/bin/sh\nexport PYTHONPATH={shlex.quote(str(folder / 'site'))}\n"
        f'exec {shlex.quote(sys.executable)} "$@"\n'
    )
    launcher.chmod(0o755)
    return str(launcher)


def on(bundle: Path, python: str | None = None, **given: object) -> VerifyResult:
    return edgekit.verify(bundle, device="local", given=Given(python), **given)  # type: ignore[arg-type]


def statuses(found: VerifyResult, check: str) -> dict[str, str]:
    return {row.subject: row.status for row in found.rows if row.check == check}


BOTH = {"litert-cpu": "pass", "onnxruntime-cpu": "pass"}


def test_vectors_and_placement_pass_on_a_sound_device(sound: Path) -> None:
    found = on(sound)
    assert statuses(found, "golden") == statuses(found, "placement") == BOTH
    assert found.exit_code is ExitCode.OK
    assert found.device is not None
    assert found.device.facts["architecture"] == platform.machine()
    assert "emulated" not in found.device.facts


def test_the_command_line_says_where(sound: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(sound), "--device", "local", "--target", "onnxruntime-cpu"]) == 0
    text = capsys.readouterr().out
    assert "golden vectors were replayed on local" in text
    assert "litert-cpu" not in text.partition("golden     ")[2]


def test_a_device_that_computes_otherwise_fails_with_the_first_difference(
    sound: Path, tmp_path: Path
) -> None:
    found = on(sound, device_python(tmp_path, WRONG_NUMBERS))
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert statuses(found, "golden") == {**BOTH, "onnxruntime-cpu": "fail"}
    (detail,) = [row.detail for row in found.rows if row.status == "fail"]
    assert detail.startswith("output 'y' at (0, 0) is ")
    assert "allowed 0.0001" in detail


def test_a_device_that_leaves_xnnpack_out_in_silence_fails(sound: Path, tmp_path: Path) -> None:
    found = on(sound, device_python(tmp_path, NO_XNNPACK))
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert statuses(found, "golden") == BOTH  # the numbers alone would not have shown it
    assert statuses(found, "placement") == {**BOTH, "litert-cpu": "fail"}
    (detail,) = [row.detail for row in found.rows if row.status == "fail"]
    assert "XNNPACK was asked for, and ai_edge_litert" in detail
    assert "runs its builtin kernels" in detail


def test_a_runtime_that_is_missing_there_is_not_run_unless_it_is_named(sound: Path, tmp_path: Path) -> None:
    python = device_python(tmp_path, NO_ONNXRUNTIME)
    found = on(sound, python)
    assert statuses(found, "golden") == {"litert-cpu": "pass", "onnxruntime-cpu": "not_run"}
    assert found.exit_code is ExitCode.OK
    with pytest.raises(MissingBackendError, match="onnxruntime cannot be imported"):
        on(sound, python, targets=["onnxruntime-cpu"])


def test_a_device_on_which_nothing_can_run_is_no_pass(tmp_path: Path) -> None:
    held = [bundled.compiled(bundled.cnn(), tmp_path, "onnxruntime-cpu")]
    bundle = bundled.bundle(held, tmp_path / "m-1", bundled.images())
    with pytest.raises(MissingBackendError, match="nothing was replayed on local") as caught:
        on(bundle, device_python(tmp_path, NO_ONNXRUNTIME))
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this is the processor that the target is for")
def test_a_device_of_another_processor_proves_nothing(tmp_path: Path) -> None:
    held = [bundled.compiled(bundled.cnn(), tmp_path, "onnxruntime-arm64")]
    bundle = bundled.bundle(held, tmp_path / "m-1", bundled.images())
    with pytest.raises(MissingBackendError, match="onnxruntime-arm64 is for aarch64"):
        on(bundle)


def test_a_batch_that_is_fixed_goes_over_in_parts(tmp_path: Path) -> None:
    held = [bundled.compiled(bundled.cnn(batch=2), tmp_path, "onnxruntime-cpu")]
    bundle = bundled.bundle(held, tmp_path / "m-1", bundled.images(6))
    assert on(bundle).exit_code is ExitCode.OK


def test_an_agent_that_ends_early_proves_nothing(sound: Path, tmp_path: Path) -> None:
    with pytest.raises(LostDeviceError, match="ended before it was done") as caught:
        on(sound, device_python(tmp_path, "import os\nos._exit(0)"))
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE


def test_a_file_that_was_damaged_is_not_sent(sound: Path, tmp_path: Path) -> None:
    bundle = tmp_path / "b"
    for path in sound.rglob("*"):
        if path.is_file():
            (bundle / path.relative_to(sound)).parent.mkdir(parents=True, exist_ok=True)
            (bundle / path.relative_to(sound)).write_bytes(path.read_bytes())
    (onnx,) = bundle.glob("artifacts/*.onnx")
    onnx.write_bytes(onnx.read_bytes()[:-1] + b"?")
    found = on(bundle)
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert statuses(found, "golden") == {"litert-cpu": "pass", "onnxruntime-cpu": "not_run"}


def test_an_emulator_is_named(sound: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    python = device_python(tmp_path, EMULATED)
    assert run(["verify", str(sound), "--device", "local", "--python", python]) == 0
    text = capsys.readouterr().out
    assert "emulated: a test" in text
    assert "times would mean nothing" in text


def test_benchmark_model_gives_no_outputs(sound: Path) -> None:
    given = Given(benchmark_model=Path("benchmark_model"))
    found = edgekit.verify(sound, device="local", given=given)
    assert {row.detail for row in found.rows if row.status == "fail"} == {
        "local is driven through benchmark_model"
    }


@pytest.fixture
def sshd(tmp_path: Path) -> Iterator[Sshd]:
    found = loopback.start(tmp_path)
    yield found
    found.stop()


@pytest.mark.slow
def test_over_ssh_and_nothing_is_left_behind(sound: Path, sshd: Sshd) -> None:
    given = Given(sys.executable, sshd.options)
    found = edgekit.verify(sound, device=sshd.address, given=given)
    assert statuses(found, "golden") == statuses(found, "placement") == BOTH
    assert sshd.left_behind() == []


# ---- here


def test_here_too_a_session_without_xnnpack_fails(sound: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert statuses(edgekit.verify(sound), "placement") == BOTH

    def opened(artifact: Artifact, place: Place) -> Session:
        settings = (("kernels", "builtin"),) if artifact.backend == "litert" else ()
        return edgekit.open(artifact) if not settings else _with(artifact, settings)

    monkeypatch.setattr(verifying, "open_at", opened)
    found = edgekit.verify(sound)
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert statuses(found, "placement") == {**BOTH, "litert-cpu": "fail"}


def _with(artifact: Artifact, settings: tuple[tuple[str, str], ...]) -> Session:
    from edgekit.backends import registry

    return registry.backend(artifact.backend).open(artifact, RunOptions(settings=settings))


def test_what_runs_on_a_stand_in_says_so_and_does_not_fail(tmp_path: Path) -> None:
    if platform.machine() == "aarch64":
        pytest.skip("nothing stands in for this processor here")
    held = [bundled.compiled(bundled.cnn(), tmp_path, "onnxruntime-arm64")]
    found = edgekit.verify(bundled.bundle(held, tmp_path / "m-1", bundled.images()))
    assert found.exit_code is ExitCode.OK
    assert statuses(found, "placement") == {"onnxruntime-arm64": "not_run"}
    assert any("not run on aarch64 here" in row.detail for row in found.rows)


def test_a_wrong_option_is_no_difference_of_the_bundle(sound: Path) -> None:
    given = Given(ssh_options=("StrictHostKeyChecking=no",))
    with pytest.raises(InputError, match="StrictHostKeyChecking is edgekit's own"):
        edgekit.verify(sound, device="ssh://me@127.0.0.1:1", given=given)
