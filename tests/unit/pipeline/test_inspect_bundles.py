"""`edgekit.inspect` on a bundle: artifacts with their evidence; damage is exit code 8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.bundle.evidence import AccuracyFacts, LatencyFacts, MachineFacts, Measurement, RatioFacts
from edgekit.bundle.golden import tolerance_for
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.errors import ExitCode, VerificationError
from edgekit.ir import io
from edgekit.spec import Artifact

SMALL = """
<ir_version: 10, opset_import: ["" : 21]>
g (float[batch,1,4,4] image) => (float[batch,2,4,4] scores)
<float[2,1,1,1] w = {1, 2}, float[2] b = {3, 4}>
{ h = Conv(image, w, b) scores = Relu(h) }
"""


def measurement(artifact: Artifact) -> Measurement:
    return Measurement(
        target=artifact.target,
        artifact_sha256=artifact.files[0].sha256,
        status="pass",
        runtime="litert 2.3.0",
        latency=LatencyFacts(
            p50_ms=0.5, p90_ms=0.6, p95_ms=0.7, p99_ms=0.8, low_ms=0.4, high_ms=0.6, runs=9, stable=True
        ),
        ratio=RatioFacts(value=0.5, low=0.4, high=0.6),
        accuracy=AccuracyFacts(
            metric="top1",
            reference=0.98,
            candidate=0.97,
            drop=1.0,
            low=0.5,
            high=1.5,
            unit="pp",
            method="m",
            samples=9,
        ),
    )


@pytest.fixture
def bundle(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    io.save(ir.from_onnx_text(SMALL), tmp_path / "m.onnx")
    made = [
        edgekit.compile(tmp_path / "m.onnx", target=target, out=tmp_path / "out", name="small")
        for target in ("litert-cpu", "onnxruntime-cpu")
    ]
    content = BundleContent(
        name="small",
        version="1.0.0",
        edgekit_version="0.1",
        model_digest="m" * 64,
        recipe={},
        ranges={},
        lock=b"lock\n",
        golden_inputs={"image": np.zeros((1, 1, 4, 4), np.float32)},
        shipped=tuple(Shipped(each, tolerance_for(each.precision)) for each in made),
        machine=MachineFacts(key="k", facts={"cpu": "a chip"}),
        created="2026-11-22T04:15:48+00:00",
        measurements=(
            measurement(made[0]),
            Measurement(
                target="onnxruntime-cpu",
                artifact_sha256=made[1].files[0].sha256,
                status="inconclusive",
                not_run="no such device",
            ),
        ),
    )
    return write(content, tmp_path / "small-1.0.0")


def test_a_bundle_shows_its_artifacts_with_their_evidence(bundle: Path) -> None:
    found = edgekit.inspect(bundle)
    assert found.kind == "bundle"
    assert (found.facts["name"], found.facts["version"]) == ("small", "1.0.0")
    assert found.facts["measured on"] == "a chip"
    assert [str(spec) for spec in found.inputs] == ["image:float32:batchx1x4x4"]
    first, second = found.bundled
    assert first.target == "litert-cpu"
    assert first.file.startswith("artifacts/small-")
    assert first.size_bytes == (bundle / first.file).stat().st_size
    assert (first.macs, first.parameters) == (32, 4)
    assert first.accuracy is not None
    assert (first.accuracy.metric, first.accuracy.value, first.accuracy.drop_pp) == ("top1", 0.97, 1.0)
    assert first.p50_ms == 0.5
    assert first.ratio is not None
    assert first.ratio.value == 0.5
    assert (second.accuracy, second.p50_ms, second.note) == (None, None, "no such device")
    assert (second.macs, second.parameters) == (32, 4)


def test_without_evidence_nothing_is_claimed(bundle: Path) -> None:
    (bundle / "evidence.json").unlink()
    found = edgekit.inspect(bundle)
    assert "no evidence" in found.notes[0]
    assert all(row.accuracy is None and row.p50_ms is None for row in found.bundled)


@pytest.mark.parametrize("name", ["manifest.json", "evidence.json"])
def test_a_damaged_description_is_found(bundle: Path, name: str) -> None:
    content = (bundle / name).read_bytes()
    (bundle / name).write_bytes(content.replace(b"small", b"large", 1).replace(b"a chip", b"b chip", 1))
    with pytest.raises(VerificationError, match=name) as caught:
        edgekit.inspect(bundle)
    assert caught.value.exit_code is ExitCode.VERIFICATION_FAILED


def test_a_damaged_artifact_is_found_before_it_is_read(bundle: Path) -> None:
    path = bundle / edgekit.inspect(bundle).bundled[0].file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(VerificationError, match="not the file that the manifest names"):
        edgekit.inspect(bundle)
    path.unlink()
    with pytest.raises(VerificationError, match="is missing"):
        edgekit.inspect(bundle)


def test_evidence_of_another_bundle_is_refused(bundle: Path, tmp_path: Path) -> None:
    from edgekit.bundle import manifest
    from edgekit.bundle.evidence import Evidence

    found = manifest.parse(Evidence, (bundle / "evidence.json").read_bytes(), name="evidence.json")
    other = manifest.sealed(found.model_copy(update={"manifest_digest": "0" * 64, "digest": ""}))
    (bundle / "evidence.json").write_bytes(manifest.to_bytes(other))
    with pytest.raises(VerificationError, match="about another bundle"):
        edgekit.inspect(bundle)
