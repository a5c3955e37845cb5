"""The Swift sources, compiled on Linux against a stand-in for LiteRT, compute what NumPy does and fall back.

Debian has a Swift compiler since 13 (swiftlang, 444 MB): CI does not install it.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from edgekit.backends.bindings import artifact_from_reference
from edgekit.bundle.packages.base import Source
from edgekit.preprocess import apply
from edgekit.spec import Array
from tests.unit.packages.mobile_bundle import STEPS, bundle, converted
from tests.unit.packages.test_android_package import SUFFIX
from tests.unit.packages.test_ios_package import KIT, packaged

HOST = Path(__file__).with_name("swift_host")
STRICT = ("-warnings-as-errors", "-swift-version", "5")


def compiled(files: dict[str, bytes], work: Path) -> Path:
    """A program of the package's sources; its modules are those of ``swift_host``."""
    swiftc = shutil.which("swiftc")
    if swiftc is None:
        pytest.skip("swiftc is not here (Debian 13: apt-get install swiftlang)")
    work.mkdir()
    for path, body in files.items():
        if path.startswith(f"{KIT}/") and path.endswith(".swift"):
            (work / Path(path).name).write_bytes(body)
    sources = sorted(path.name for path in work.glob("*.swift"))
    for stand_in in HOST.glob("*.swift"):
        shutil.copy(stand_in, work / stand_in.name)
    coreml = "CoreMLRunner.swift" in sources
    modules = ("CryptoKit", "LiteRT", *(["CoreML"] if coreml else []))
    for module in modules:
        command = [swiftc, "-emit-module", "-emit-object", "-parse-as-library", "-module-name", module]
        subprocess.run([*command, f"{module}.swift", "-o", f"{module}.o"], cwd=work, check=True, timeout=600)
    mine = [*sources, "Module.swift", "main.swift", *(f"{module}.o" for module in modules)]
    flags = (*STRICT, *(["-D", "WITH_COREML"] if coreml else []))
    command = [swiftc, *flags, "-module-name", "PhotoNetKit", "-I", ".", "-o", "app"]
    subprocess.run([*command, *mine], cwd=work, check=True, timeout=600)
    return work / "app"


@pytest.mark.slow
def test_the_sources_compute_what_numpy_computes_and_fall_back_with_the_reason(tmp_path: Path) -> None:
    folder = bundle(tmp_path, labels=("cat", "dog"))
    files = packaged(folder)
    program = compiled(files, tmp_path / "swift")
    out = tmp_path / "out"
    out.mkdir()
    resources = unpacked(files, tmp_path / "resources")
    command = [str(program), str(resources), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert 'labels ["cat", "dog"]' in done.stdout
    assert "works gpu false []" in done.stdout
    assert 'refuses cpu true ["unsupported"]' in done.stdout
    assert 'wrong cpu true ["golden vectors differ: sample 0: scores at' in done.stdout
    assert 'only ["golden vectors differ' in done.stdout
    _compare(folder, out)

    model = resources / "model/model.tflite"
    flipped = bytearray(model.read_bytes())
    flipped[100] ^= 1
    model.write_bytes(flipped)
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 1
    assert "model.tflite is damaged: sha256" in done.stdout


@pytest.mark.slow
def test_the_runner_of_core_ml_takes_the_golden_outputs_and_no_others(tmp_path: Path) -> None:
    folder = bundle(tmp_path, types="of Core ML")
    files = packaged(folder, coreml=converted(folder))
    program = compiled(files, tmp_path / "swift")
    out = tmp_path / "out"
    out.mkdir()
    command = [str(program), str(unpacked(files, tmp_path / "resources")), str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "coreml opened" in done.stdout
    assert "coreml refused sample 0: scores at 0 is 1000.0" in done.stdout
    _compare(folder, out)


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    """The resources of the package."""
    for path, body in files.items():
        if path.startswith(f"{KIT}/Resources/"):
            copy = folder / path.removeprefix(f"{KIT}/Resources/")
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(body)
    return folder


def _compare(folder: Path, out: Path) -> None:
    """Every array that the program wrote is NumPy's, to the bit."""
    source = Source.at(folder)
    entry, raw = source.manifest.targets[0], source.golden_raw()
    recorded = source.golden_outputs(entry)
    for number in range(len(raw["photo"])):
        feeds = {name: array[number][None] for name, array in raw.items()}
        feeds["photo"] = apply(raw["photo"][number], STEPS)[None]
        inside = artifact_from_reference(feeds, entry.artifact.inputs)
        expected: dict[str, tuple[str, Array]] = {}
        for at, each in enumerate(entry.artifact.inputs):
            expected[f"input_{at}_{number}"] = (each.reference.dtype, feeds[each.reference.name])
            expected[f"inside_{at}_{number}"] = (each.dtype, inside[each.name])
        for at, each in enumerate(entry.artifact.outputs):
            name = each.reference.name
            expected[f"output_{at}_{number}"] = (each.reference.dtype, recorded[name][number])
        for name, (dtype, wanted) in expected.items():
            found = np.fromfile(out / f"{name}.bin", SUFFIX[dtype])
            np.testing.assert_array_equal(found, wanted.ravel(), err_msg=name)
