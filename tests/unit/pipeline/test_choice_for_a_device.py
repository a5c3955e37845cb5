"""A target whose device is not here ships its candidates, and a device's evidence chooses among them.

C: the cases of pipeline/open_choice.py. The evidence is written by hand: what a device measures is in
test_bench_bundle.py.
"""

from __future__ import annotations

import json
import platform
import shutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

import edgekit
from edgekit.bundle import device_evidence, sign
from edgekit.bundle import manifest as manifests
from edgekit.bundle.device_evidence import DeviceEvidence, DeviceMeasurement, DeviceTarget
from edgekit.bundle.evidence import LatencyFacts, MachineFacts, RatioFacts
from edgekit.cli.main import run
from edgekit.errors import ExitCode, InputError, VerificationError
from edgekit.pipeline import lock as locks
from edgekit.pipeline.open_choice import UndecidedEvidenceError
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import ReleaseResult
from edgekit.spec import Silent
from tests.unit.bundle.signing_keys import make_key, needs_signing

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = f"""
schema = 1
[model]
name = "digits"
version = "1.0.0"
source = "{EXAMPLE / "digits-cnn.onnx"}"
[data]
calibration = {{ source = "{EXAMPLE / "calibration.npz"}", samples = 64 }}
evaluation = {{ source = "{EXAMPLE / "evaluation.npz"}", metric = "top1" }}
preprocess = [
  {{ op = "resize", size = [28, 28] }}, {{ op = "scale", by = 0.0625 }}, {{ op = "layout", to = "NCHW" }},
]
[optimize]
quantize = {{ precision = "auto", method = "minmax" }}
[[target]]
name = "litert-arm64"
"""
TARGET = "litert-arm64"
RATIOS = {"fp16": 0.98, "dynamic": 1.4, "w8a8": 0.5}


@dataclass(frozen=True)
class Released:
    """A folder with recipe and lock, and the bundle of its open choice."""

    folder: Path
    result: ReleaseResult

    @property
    def bundle(self) -> Path:
        assert self.result.bundle is not None
        return self.result.bundle

    def again(self, **given: object) -> ReleaseResult:
        return released(self.folder, **given)


def released(folder: Path, **given: object) -> ReleaseResult:
    out = folder / "dist"
    cache = folder.parent / "cache"
    return release(folder / "edgekit.toml", out=out, cache_dir=cache, progress=Silent(), **given)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Released]:
    folder = tmp_path_factory.mktemp("choice") / "recipe"
    folder.mkdir()
    (folder / "edgekit.toml").write_text(RECIPE)
    with pytest.MonkeyPatch.context() as elsewhere:
        elsewhere.setattr(platform, "machine", lambda: "x86_64")
        yield Released(folder, released(folder))


@pytest.fixture
def opened(first: Released, tmp_path: Path) -> Released:
    """A copy of its own, with the same cache."""
    folder = first.folder.parent / tmp_path.name
    shutil.copytree(first.folder, folder)
    return Released(folder, ReleaseResult(**{**vars(first.result), "bundle": folder / "dist/digits-1.0.0"}))


def evidence_of(
    bundle: Path, ratios: Mapping[str, float] = RATIOS, *, width: float = 0.01, **wrong: dict[str, str]
) -> DeviceEvidence:
    """What a device would write; float takes 10 ms. ``wrong``: label -> fields of its measurement."""
    manifest = manifests.load(bundle)
    measured = []
    for entry in manifest.candidates:
        ratio = ratios.get(entry.label, 1.0)
        latency = dict.fromkeys(("p50_ms", "p90_ms", "p95_ms", "p99_ms", "low_ms", "high_ms"), 10.0 * ratio)
        interval = RatioFacts(value=ratio, low=ratio - width, high=ratio + width)
        fields = {
            "latency": LatencyFacts(**latency, runs=100, stable=True),
            "ratio": None if entry.label == "fp32" else interval,
            **wrong.get(entry.label, {}),
        }
        measured.append(DeviceMeasurement(label=entry.label, files=entry.artifact.files, **fields))
    target = DeviceTarget(name=TARGET, baseline="fp32", measured=tuple(measured))
    return DeviceEvidence(
        bundle=bundle.name,
        manifest_digest=manifest.digest,
        edgekit_version="0",
        created="2026-01-01T00:00:00Z",
        device="pi5",
        machine=MachineFacts(key="k", facts={"cpu": "Cortex-A76"}),
        targets=(target,),
    )


def written(evidence: DeviceEvidence, folder: Path, name: str = "pi5.json") -> Path:
    path = folder / name
    path.write_bytes(device_evidence.attested(evidence, None))
    return path


def shipped(result: ReleaseResult) -> str:
    (target,) = result.targets
    assert target.exit_code is ExitCode.OK, target.reason
    return next(each.name for each in target.candidates if each.shipped)


def archive(result: ReleaseResult) -> bytes:
    assert result.bundle is not None
    return result.bundle.with_name(f"{result.bundle.name}.tar").read_bytes()


# ---- C1


def test_every_artifact_inside_the_budgets_ships_and_the_report_says_that_the_choice_is_open(
    first: Released,
) -> None:
    manifest = manifests.load(first.bundle)
    assert [each.label for each in manifest.candidates] == ["fp32", "fp16", "dynamic", "w8a8"]
    assert manifest.open_choices().keys() == {TARGET}
    assert "the choice waits for the device: fp32, fp16, dynamic, w8a8" in first.result.targets[0].reason
    assert shipped(first.result) == "w8a8"  # the rule of search where nothing is measured
    (entry,) = manifest.targets
    assert entry.artifact in [each.artifact for each in manifest.candidates]


def test_inspect_says_that_the_choice_waits(first: Released) -> None:
    (note,) = edgekit.inspect(first.bundle).notes
    assert note.startswith("the choice for litert-arm64 waits for the device: fp32, fp16, dynamic, w8a8")


def test_candidates_are_hashed_and_replayed_like_what_ships(first: Released) -> None:
    found = edgekit.verify(first.bundle)
    assert found.exit_code is ExitCode.OK
    golden = {row.subject: row.status for row in found.rows if row.check == "golden"}
    assert golden == dict.fromkeys(
        (TARGET, *(f"{TARGET} {name}" for name in ("fp32", "fp16", "dynamic"))), "pass"
    )


def test_a_candidate_that_was_changed_is_found(opened: Released) -> None:
    (file,) = opened.bundle.glob("artifacts/candidates/*/fp16/*.tflite")
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    found = edgekit.verify(opened.bundle)
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert any(row.status == "fail" and "candidates/litert-arm64/fp16" in row.subject for row in found.rows)


def test_the_lock_makes_the_same_set_again(opened: Released) -> None:
    before = archive(opened.result)
    again = opened.again()
    assert again.lock == "followed"
    assert archive(again) == before


@pytest.mark.parametrize("precision", ["fp32"])
def test_where_nothing_is_to_be_chosen_nothing_else_ships(precision: str, opened: Released) -> None:
    recipe = opened.folder / "edgekit.toml"
    recipe.write_text(recipe.read_text().replace('"auto"', f'"{precision}"'))
    result = opened.again()
    assert result.bundle is not None
    assert manifests.load(result.bundle).candidates == ()
    assert '"candidates"' not in (opened.folder / locks.NAME).read_text()


# ---- C2


@pytest.mark.parametrize(
    ("ratios", "width", "chosen"),
    [
        pytest.param(RATIOS, 0.01, "w8a8", id="the fastest"),
        pytest.param({**RATIOS, "w8a8": 1.3}, 0.01, "fp16", id="the fastest that is not slower"),
        pytest.param({"fp16": 1.2, "dynamic": 1.4, "w8a8": 1.3}, 0.01, "fp32", id="all slower: float"),
        pytest.param({"fp16": 1.0, "dynamic": 1.4, "w8a8": 1.0}, 0.1, "fp32", id="none is proved: float"),
    ],
)
def test_evidence_chooses_by_the_same_rule(
    ratios: dict[str, float], width: float, chosen: str, opened: Released, tmp_path: Path
) -> None:
    evidence = evidence_of(opened.bundle, ratios, width=width)
    result = opened.again(evidence=(written(evidence, tmp_path),))
    assert shipped(result) == chosen
    assert "speed is that of pi5 (Cortex-A76)" in result.targets[0].reason
    assert (result.lock, result.lock_reason[:26]) == ("updated", "pi5 (Cortex-A76) chose for")
    assert result.bundle is not None
    manifest = manifests.load(result.bundle)
    assert manifest.candidates == ()
    assert not list(result.bundle.glob("artifacts/candidates/**/*.tflite"))


def test_what_was_chosen_is_made_again_without_the_evidence(opened: Released, tmp_path: Path) -> None:
    evidence = evidence_of(opened.bundle, {**RATIOS, "w8a8": 1.3})
    chosen = opened.again(evidence=(written(evidence, tmp_path),))
    before = archive(chosen)
    locked = json.loads((opened.folder / locks.NAME).read_text())["targets"][TARGET]
    sealed = manifests.sealed(evidence)
    assert (locked["chosen_by"], locked["precision"]) == (sealed.digest, "fp16")
    again = opened.again()
    assert (again.lock, shipped(again)) == ("followed", "fp16")
    assert archive(again) == before


def test_other_evidence_may_choose_again(opened: Released, tmp_path: Path) -> None:
    """The lock keeps the whole set."""
    slow, fast = evidence_of(opened.bundle, {**RATIOS, "w8a8": 1.3}), evidence_of(opened.bundle)
    assert shipped(opened.again(evidence=(written(slow, tmp_path, "slow.json"),))) == "fp16"
    assert shipped(opened.again(evidence=(written(fast, tmp_path, "fast.json"),))) == "w8a8"


# ---- C3 to C5


def test_evidence_about_other_bytes_is_none(opened: Released, tmp_path: Path) -> None:
    evidence = evidence_of(opened.bundle)
    (target,) = evidence.targets
    rows = [
        each.model_copy(
            update={"files": tuple(f.model_copy(update={"sha256": "0" * 64}) for f in each.files)}
        )
        if each.label == "w8a8"
        else each
        for each in target.measured
    ]
    forged = evidence.model_copy(update={"targets": (target.model_copy(update={"measured": tuple(rows)}),)})
    with pytest.raises(VerificationError, match="about another w8a8 of litert-arm64") as caught:
        opened.again(evidence=(written(forged, tmp_path),))
    assert caught.value.exit_code is ExitCode.VERIFICATION_FAILED


@pytest.mark.parametrize(
    ("old", "new"),
    [
        pytest.param('"p50_ms": 5.0', '"p50_ms": 1.0', id="a latency"),
        pytest.param('"label": "w8a8"', '"label": "w4"', id="a label"),
        pytest.param('"device": "pi5"', '"device":  "pi5"', id="a space"),
        pytest.param("device-evidence/v1", "evidence/v1", id="its type"),
        pytest.param('"subject": [', '"subject": [null, ', id="its subjects"),
        pytest.param("{", "[", id="no JSON"),
    ],
)
def test_evidence_that_was_changed_is_refused(old: str, new: str, opened: Released, tmp_path: Path) -> None:
    path = written(evidence_of(opened.bundle), tmp_path)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    with pytest.raises(VerificationError):
        opened.again(evidence=(path,))


@pytest.mark.parametrize(
    "fields",
    [
        {"failure": "native code died"},
        {"golden": "output 'y' at (0, 0) is 1, recorded 2"},
        {"placement": "XNNPACK was asked for"},
    ],
    ids=lambda fields: next(iter(fields)),
)
def test_what_did_not_run_there_as_it_should_may_not_ship(
    fields: dict[str, str], opened: Released, tmp_path: Path
) -> None:
    evidence = evidence_of(opened.bundle, w8a8=fields)
    result = opened.again(evidence=(written(evidence, tmp_path),))
    assert shipped(result) == "fp16"
    assert (
        f"w8a8 is no candidate: on pi5 (Cortex-A76): {next(iter(fields.values()))}"
        in result.targets[0].reason
    )


def test_an_emulated_processor_chooses_nothing(
    opened: Released, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    emulated = evidence_of(opened.bundle).model_copy(update={"emulated": "QEMU (qemu-aarch64)"})
    path = written(emulated, tmp_path)
    assert run(["release", str(opened.folder / "edgekit.toml"), "--evidence", str(path)]) == 2
    assert "emulated processor (QEMU (qemu-aarch64))" in capsys.readouterr().err


def test_a_measurement_that_broke_off_decides_nothing(opened: Released, tmp_path: Path) -> None:
    lost = evidence_of(opened.bundle).model_copy(update={"incomplete": "the connection was lost"})
    with pytest.raises(UndecidedEvidenceError, match="broke off") as caught:
        opened.again(evidence=(written(lost, tmp_path),))
    assert caught.value.exit_code is ExitCode.INCONCLUSIVE


def test_without_the_float_variant_nothing_can_be_said(opened: Released, tmp_path: Path) -> None:
    evidence = evidence_of(opened.bundle, fp32={"latency": None, "failure": "it crashed"})  # type: ignore[dict-item]
    with pytest.raises(UndecidedEvidenceError, match="no latency of fp32"):
        opened.again(evidence=(written(evidence, tmp_path),))


def test_a_candidate_that_was_not_measured_is_noticed(opened: Released, tmp_path: Path) -> None:
    evidence = evidence_of(opened.bundle)
    (target,) = evidence.targets
    fewer = target.model_copy(update={"measured": target.measured[:-1]})
    with pytest.raises(VerificationError, match="does not know w8a8"):
        opened.again(evidence=(written(evidence.model_copy(update={"targets": (fewer,)}), tmp_path),))


def test_evidence_of_another_target_or_twice_of_one_is_refused(opened: Released, tmp_path: Path) -> None:
    evidence = evidence_of(opened.bundle)
    path = written(evidence, tmp_path)
    with pytest.raises(InputError, match="two files of evidence"):
        opened.again(evidence=(path, path))
    (target,) = evidence.targets
    other = evidence.model_copy(
        update={"targets": (target.model_copy(update={"name": "onnxruntime-arm64"}),)}
    )
    with pytest.raises(InputError, match="onnxruntime-arm64, which this release does not have"):
        opened.again(evidence=(written(other, tmp_path, "other.json"),))
    with pytest.raises(InputError, match="cannot be read"):
        opened.again(evidence=(tmp_path / "none.json",))


# ---- signed


@needs_signing
def test_signed_evidence_counts_and_unsigned_or_another_ones_does_not(
    opened: Released, tmp_path: Path
) -> None:
    private, public = make_key(tmp_path / "own")
    _, other = make_key(tmp_path / "other")
    evidence = evidence_of(opened.bundle)
    signed = tmp_path / "signed.json"
    signed.write_bytes(device_evidence.attested(evidence, sign.with_key(private)))
    for key in (None, public):
        asked = sign.KeyOrigin(key) if key else None
        assert shipped(opened.again(evidence=(signed,), evidence_origin=asked)) == "w8a8"
    with pytest.raises(VerificationError):
        opened.again(evidence=(signed,), evidence_origin=sign.KeyOrigin(other))
    with pytest.raises(VerificationError, match="is not signed"):
        opened.again(evidence=(written(evidence, tmp_path),), evidence_origin=sign.KeyOrigin(public))


@needs_signing
def test_signed_evidence_that_was_changed_is_refused(opened: Released, tmp_path: Path) -> None:
    private, public = make_key(tmp_path / "own")
    signed = device_evidence.attested(evidence_of(opened.bundle), sign.with_key(private))
    path = tmp_path / "signed.json"
    document = json.loads(signed)
    payload = document["dsseEnvelope"]["payload"]
    document["dsseEnvelope"]["payload"] = payload[:-8] + ("A" * 4) + payload[-4:]
    path.write_text(json.dumps(document))
    with pytest.raises(VerificationError):
        opened.again(evidence=(path,), evidence_origin=sign.KeyOrigin(public))
