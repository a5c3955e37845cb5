"""Golden vectors on 64-bit ARM: `edgekit verify --device` under user-mode QEMU 10, plain NEON and dotprod.

The device is an arm64 Python in a userland of its own (userland.sh), reached as `--device local --python`:
the same agent, the same files and the same checks as on a board. EDGEKIT_ARM64 names the folder; without it
the tests skip, or fail where REQUIRE_ALL=1 says that everything must be here.
"""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

import edgekit
from edgekit.bundle import canonical_json
from edgekit.bundle import manifest as manifests
from edgekit.errors import ExitCode
from edgekit.measure.device_list import Given
from edgekit.pipeline.result import VerifyResult
from tests.arm64 import model_bundles
from tests.unit.pipeline import bundled

ARM64 = "EDGEKIT_ARM64"
CPUS = ("cortex-a53", "cortex-a76")  # plain NEON; dotprod and fp16. Never "max": SME takes a minute for one
EVERYWHERE = ("mobilenet_v2", "digits_cnn")
IF_ALL = (
    *("digits_autoencoder", "digits_detector", "digits_generator", "digits_keras"),
    *("digits_lstm_stateful", "digits_rnn", "digits_unet"),
)
ALL = os.environ.get("REQUIRE_ALL") == "1"


@pytest.fixture(scope="session")
def userland() -> Path:
    folder = Path(os.environ.get(ARM64, ""))
    if os.environ.get(ARM64) and (folder / f"python-{CPUS[0]}").is_file():
        return folder
    reason = f"no arm64 userland: tests/arm64/userland.sh FOLDER makes one, {ARM64}=FOLDER names it"
    if ALL:
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("arm64")


@pytest.fixture(scope="session")
def small(userland: Path, folder: Path) -> Path:
    """A bundle of a small CNN for both targets."""
    del userland  # nothing is compiled where it cannot run
    names = ("onnxruntime-arm64", "litert-arm64")
    held = [bundled.compiled(bundled.cnn(), folder, name) for name in names]
    return bundled.bundle(held, folder / "m-1", bundled.images())


def on(bundle: Path, python: Path) -> VerifyResult:
    return edgekit.verify(bundle, device="local", given=Given(str(python)))


def outcomes(found: VerifyResult) -> dict[str, str]:
    """Golden and placement of every artifact; the details of what is wrong."""
    rows = [row for row in found.rows if row.check in {"golden", "placement"}]
    return {f"{row.check} {row.subject}": row.detail or row.status for row in rows}


@pytest.mark.slow
@pytest.mark.timeout(
    2400
)  # mobilenet_v2 in float: 5 s for each of four images, several times that on a busy machine
@pytest.mark.parametrize("model", [*EVERYWHERE, *(IF_ALL if ALL else ())])
def test_golden_vectors_of_reference_models_pass(model: str, userland: Path, folder: Path) -> None:
    """Float and int8, ONNX Runtime and LiteRT, each as it ships."""
    bundle = model_bundles.released(model, folder)
    labels = {(each.name, each.label) for each in manifests.load(bundle).candidates}
    assert len(labels) == 4, labels
    for cpu in CPUS:
        found = on(bundle, userland / f"python-{cpu}")
        assert found.exit_code is ExitCode.OK, (cpu, outcomes(found))
        assert set(outcomes(found).values()) == {"pass"}, (cpu, outcomes(found))
        assert len(outcomes(found)) == 8
        assert found.device is not None
        assert found.device.facts["emulated"] == "QEMU (qemu-aarch64)"
        assert ("asimddp" in found.device.facts["features"]) is (cpu == "cortex-a76")


@pytest.mark.slow
def test_a_wrong_golden_vector_fails_there(small: Path, userland: Path, tmp_path: Path) -> None:
    """Sabotage: with a tolerance of nothing, another order of float32 sums is a difference."""
    bundle = tmp_path / "m-1"
    shutil.copytree(small, bundle)
    for name in ("manifest.json", "evidence.json"):
        value = json.loads((bundle / name).read_text())
        if name == "manifest.json":
            for target in value["targets"]:
                target["tolerance"] = {"relative_to_range": 0.0, "steps": 0.0}
            value["digest"] = canonical_json.digest(value)
            digest = value["digest"]
        else:
            value["manifest_digest"] = digest
            value["digest"] = canonical_json.digest(value)
        (bundle / name).write_bytes(canonical_json.render(value))
    found = on(bundle, userland / "python-cortex-a76")
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    wrong = [row.detail for row in found.rows if row.check == "golden" and row.status == "fail"]
    assert wrong
    assert all("allowed 0" in detail for detail in wrong)
