"""`bench BUNDLE --device --evidence`: replayed, measured, written. B: cases of pipeline/bench/of_bundle.py.

The device is this machine, taken for the processor that the target is for.
"""

from __future__ import annotations

import os
import platform
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from edgekit.bundle import device_evidence
from edgekit.cli.main import run
from edgekit.errors import ExitCode, InputError, MissingBackendError, VerificationError
from edgekit.measure.device_address import parse
from edgekit.measure.device_list import NamedDevice
from edgekit.measure.devices import DeviceOptions
from edgekit.pipeline import device_session
from edgekit.pipeline.bench import of_bundle as bench_bundle
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import BenchResult
from edgekit.spec import Silent
from tests.unit.pipeline.test_choice_for_a_device import RECIPE, TARGET, shipped
from tests.unit.pipeline.test_verify_on_a_device import NO_XNNPACK, device_python


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A recipe whose choice is open, released."""
    made = tmp_path_factory.mktemp("bench") / "recipe"
    made.mkdir()
    (made / "edgekit.toml").write_text(RECIPE.replace('"auto"', '"w8a8"'))
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(platform, "machine", lambda: "x86_64")
        released(made)
        yield made


def released(folder: Path, **given: object) -> str:
    out, cache = folder / "dist", folder.parent / "cache"
    found = release(folder / "edgekit.toml", out=out, cache_dir=cache, progress=Silent(), **given)  # type: ignore[arg-type]
    return shipped(found)


@pytest.fixture
def any_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    def takes_any(artifact: object, machine: Mapping[str, object], *, device: str) -> None:
        del artifact, machine, device

    monkeypatch.setattr(device_session, "check_processor", takes_any)


def measured(folder: Path, evidence: Path, options: DeviceOptions | None = None) -> BenchResult:
    return bench_bundle.bench_bundle(
        folder / "dist" / "digits-1.0.0",
        NamedDevice("local", parse("local"), options or DeviceOptions()),
        sweep=Sweep(budget_s=0.1),
        seed=0,
        progress=Silent(),
        evidence=evidence,
    )


@pytest.mark.slow
@pytest.mark.usefixtures("any_processor")
def test_from_bench_to_the_final_bundle(folder: Path, tmp_path: Path) -> None:
    evidence = tmp_path / "here.json"
    result = measured(folder, evidence)
    assert result.exit_code is ExitCode.OK
    assert [row.artifact for row in result.rows] == [f"{TARGET} fp32", f"{TARGET} w8a8"]
    found = device_evidence.read(evidence.read_bytes(), name="here.json")
    (target,) = found.targets
    assert (target.name, target.baseline) == (TARGET, "fp32")
    assert [each.label for each in target.measured] == ["fp32", "w8a8"]
    assert all(each.latency and not each.golden and not each.placement for each in target.measured)
    assert all(each.ran["kernels"] == "xnnpack" for each in target.measured)
    assert found.machine.facts["architecture"]
    assert found.emulated == ""
    assert released(folder, evidence=(evidence,)) in {"fp32", "w8a8"}  # whichever is faster here
    released(folder, update=True)  # open again for the next test


@pytest.mark.slow
@pytest.mark.usefixtures("any_processor")
def test_an_emulated_device_is_measured_and_marked(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_EMULATED", "a test")
    evidence = tmp_path / "emulated.json"
    result = measured(folder, evidence)
    assert all(row.caveats == ("emulated by a test: not a measurement",) for row in result.rows)
    assert device_evidence.read(evidence.read_bytes(), name="e").emulated == "a test"
    monkeypatch.delenv("EDGEKIT_EMULATED")
    with pytest.raises(InputError, match="emulated processor"):
        released(folder, evidence=(evidence,))


@pytest.mark.usefixtures("any_processor")
def test_a_float_variant_that_runs_on_something_else_is_no_measure(folder: Path, tmp_path: Path) -> None:
    python = device_python(tmp_path, NO_XNNPACK)
    with pytest.raises(VerificationError, match=f"the float variant of {TARGET} cannot be the measure"):
        measured(folder, tmp_path / "e.json", DeviceOptions(python=python))
    assert not (tmp_path / "e.json").exists()


@pytest.mark.skipif(platform.machine() == "aarch64", reason="this is the processor that the target is for")
def test_a_device_of_another_processor_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingBackendError, match="litert-arm64 is for aarch64"):
        measured(folder, tmp_path / "e.json")


def test_a_bundle_without_an_open_choice_is_refused(folder: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "edgekit.toml"
    recipe.write_text(RECIPE.replace('"auto"', '"fp32"'))
    release(recipe, out=tmp_path / "dist", cache_dir=folder.parent / "cache", progress=Silent())
    with pytest.raises(InputError, match=r"no choice of digits-1\.0\.0 is open"):
        measured(tmp_path, tmp_path / "e.json")


def test_a_damaged_bundle_is_not_measured(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    (file,) = (tmp_path / "copy").glob("dist/*/artifacts/candidates/*/fp32/*.tflite")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    with pytest.raises(VerificationError, match="its content changed"):
        measured(tmp_path / "copy", tmp_path / "e.json")


def test_a_bundle_whose_choice_is_open_needs_no_flag(folder: Path, tmp_path: Path) -> None:
    bundle = folder / "dist" / "digits-1.0.0"
    assert bench_bundle.waits([bundle], baseline=None)
    assert not bench_bundle.waits([bundle, bundle], baseline=None)
    assert not bench_bundle.waits([bundle], baseline=bundle)
    assert not bench_bundle.waits([tmp_path], baseline=None)


@pytest.mark.parametrize("more", [[], ["--device", "local", "--device", "adb:1"]])
def test_evidence_is_of_one_bundle_and_one_device(
    more: list[str], folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bundle = folder / "dist" / "digits-1.0.0"
    assert run(["bench", str(bundle), "--evidence", os.devnull, *more]) == 2
    assert "--evidence needs one bundle and one --device" in capsys.readouterr().err
