"""A bundle is written whole, reproducibly, and beside what others put there; it verifies as it is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import pytest

from edgekit.backends.base import file_entries
from edgekit.bundle import canonical_json
from edgekit.bundle import manifest as manifest_file
from edgekit.bundle.evidence import (
    AccuracyFacts,
    Evidence,
    LatencyFacts,
    MachineFacts,
    Measurement,
    RatioFacts,
)
from edgekit.bundle.golden import record, tolerance_for
from edgekit.bundle.manifest import Manifest
from edgekit.bundle.replace_folder import members
from edgekit.bundle.seals import UNSIGNED
from edgekit.bundle.verify import verify
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.errors import ExitCode, MissingBackendError
from edgekit.spec import Array, Artifact, Feeds, IoBinding, Precision, RunOptions, Session, TensorSpec


@dataclass
class Product:
    """A Session that computes x @ w from the artifact's one file, in float32."""

    artifact: Artifact
    open: bool = True

    @property
    def inputs(self) -> tuple[TensorSpec, ...]:
        return tuple(binding.reference for binding in self.artifact.inputs)

    @property
    def outputs(self) -> tuple[TensorSpec, ...]:
        return tuple(binding.reference for binding in self.artifact.outputs)

    @property
    def facts(self) -> Mapping[str, str]:
        return {"runtime": "fake"}

    def run(self, feeds: Feeds) -> dict[str, Array]:
        w = np.frombuffer(self.artifact.path.read_bytes(), "<f4").reshape(4, 3)
        return {"y": np.asarray(feeds["x"], np.float32) @ w}

    def time_ms(self, feeds: Feeds, *, runs: int) -> tuple[float, ...]:
        return (1.0,) * runs

    def close(self) -> None:
        self.open = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


STEP = 0.01
WEIGHTS = np.linspace(-1, 1, 12, dtype="<f4").reshape(4, 3)
INPUTS = {"x": np.linspace(0, 1, 20, dtype=np.float32).reshape(5, 4)}


def binding(name: str, width: int) -> IoBinding:
    spec = TensorSpec(name, "float32", ("batch", width))
    return IoBinding(spec, name, "float32", spec.shape)


def artifact_in(folder: Path, target: str, *, precision: Precision = Precision.W8A8) -> Artifact:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{target}.bin").write_bytes(WEIGHTS.tobytes())
    return Artifact(
        folder=folder,
        files=file_entries(folder, [f"{target}.bin"]),
        target=target,
        backend="fake",
        precision=precision,
        options=RunOptions(settings=(("hint", "latency"),)),
        inputs=(binding("x", 4),),
        outputs=(binding("y", 3),),
        plan_digest="abc",
        output_steps={"y": STEP} if precision is Precision.W8A8 else {},
        tools={"fake": "1"},
        notes=("a note",),
    )


def content_in(folder: Path, *, created: str = "2026-01-01T00:00:00Z") -> BundleContent:
    small, large = (
        artifact_in(folder, "small-cpu"),
        artifact_in(folder, "large-cpu", precision=Precision.FP32),
    )
    return BundleContent(
        name="digits",
        version="1.0.0",
        edgekit_version="0.1",
        model_digest="m" * 8,
        sources={"model.py": "0" * 64},
        calibration_digest="c",
        recipe={"schema": 1, "name": "digits"},
        ranges={"x": {"low": 0.0, "high": 1.0}},
        lock=b"lock\n",
        golden_inputs=INPUTS,
        shipped=tuple(
            Shipped(each, tolerance_for(each.precision), record(Product(each), INPUTS))
            for each in (small, large)
        ),
        machine=MachineFacts(key="k", facts={"cpu": "some"}),
        created=created,
        seconds={"calibrate": 0.5},
        measurements=(Measurement(target="small-cpu", artifact_sha256=small.files[0].sha256, status="pass"),),
        reports={"report.json": b"{}\n"},
    )


def bytes_by_path(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in members(folder)}


REPRODUCIBLE = {
    "manifest.json",
    "artifacts/small-cpu.bin",
    "artifacts/large-cpu.bin",
    "golden/inputs.npz",
    "ranges.json",
    "recipe.json",
    "edgekit.lock",
    "sbom.cdx.json",
    "README.md",
}
MEASURED = {
    "evidence.json",
    "golden/small-cpu.npz",
    "golden/large-cpu.npz",
    "report/report.json",
    "report/model-card.md",
}
SEALS = {"evidence.intoto.json", "SHA256SUMS"}
BESIDE = [f"digits-1.0.0{suffix}" for suffix in ("", ".evidence.tar", ".sha256", ".tar")]


def test_the_folder_holds_what_the_design_says(tmp_path: Path) -> None:
    bundle = write(content_in(tmp_path / "work"), tmp_path / "dist" / "digits-1.0.0")
    assert bundle == tmp_path / "dist" / "digits-1.0.0"
    assert members(bundle) == REPRODUCIBLE | MEASURED | SEALS
    assert sorted(p.name for p in bundle.parent.iterdir()) == BESIDE  # no draft is left


def test_it_verifies(tmp_path: Path) -> None:
    found = verify(write(content_in(tmp_path / "work"), tmp_path / "b"), open_artifact=Product)
    assert [(c.name, c.detail) for c in found.checks if c.status != "pass"] == [("signature", UNSIGNED)]
    assert (found.ok, found.first_difference, found.exit_code) == (True, "", ExitCode.OK)
    assert {c.subject for c in found.checks if c.name == "golden"} == {"small-cpu", "large-cpu"}
    assert {c.subject for c in found.checks if c.name == "file"} == (REPRODUCIBLE | MEASURED) - {
        "manifest.json",
        "evidence.json",
    }


def test_another_folder_and_time_give_the_same_bytes(tmp_path: Path) -> None:
    one = write(content_in(tmp_path / "a"), tmp_path / "one")
    late = replace(
        content_in(tmp_path / "elsewhere" / "b", created="2031-05-05T05:05:05Z"),
        seconds={"calibrate": 9.0},
        machine=MachineFacts(key="other"),
    )
    two = write(late, tmp_path / "two")
    first, second = bytes_by_path(one), bytes_by_path(two)
    assert {p: first[p] for p in REPRODUCIBLE} == {p: second[p] for p in REPRODUCIBLE}
    assert first["evidence.json"] != second["evidence.json"]
    assert str(tmp_path).encode() not in b"".join(first.values())


def test_the_order_of_targets_does_not_matter(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    turned = replace(content, shipped=content.shipped[::-1])
    assert bytes_by_path(write(content, tmp_path / "a")) == bytes_by_path(write(turned, tmp_path / "b"))


def test_an_artifact_survives_the_manifest(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    bundle = write(content, tmp_path / "b")
    held = manifest_file.load(bundle).artifacts(bundle)
    for each in content.shipped:
        moved = replace(each.artifact, folder=bundle / "artifacts")
        assert held[each.artifact.target] == moved
        assert held[each.artifact.target].path.is_file()


def test_the_manifest_is_sorted_json_that_carries_its_digest(tmp_path: Path) -> None:
    import json

    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    text = (bundle / "manifest.json").read_text("utf-8")
    value = json.loads(text)
    assert text == json.dumps(value, indent=2, sort_keys=True) + "\n"
    assert value["schema"] == 1
    assert value["digest"] == canonical_json.digest(value)
    assert [f["path"] for f in value["files"]] == sorted(REPRODUCIBLE - {"manifest.json"})
    assert value["recipe_digest"] == canonical_json.digest(json.loads((bundle / "recipe.json").read_text()))


def test_evidence_holds_every_kind_of_fact(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    latency = LatencyFacts(
        p50_ms=1,
        p90_ms=2,
        p95_ms=3,
        p99_ms=4,
        low_ms=0.9,
        high_ms=1.1,
        runs=100,
        stable=False,
        warning="noisy",
    )
    full = content.measurements[0].model_copy(
        update={
            "latency": latency,
            "float_latency": latency,
            "ratio": RatioFacts(value=0.5, low=0.4, high=0.6),
            "accuracy": AccuracyFacts(
                metric="top1",
                reference=0.99,
                candidate=0.98,
                drop=1.0,
                low=0.5,
                high=1.5,
                unit="pp",
                method="given",
                samples=899,
            ),
        }
    )
    bundle = write(replace(content, measurements=(full,)), tmp_path / "b")
    body = (bundle / "evidence.json").read_bytes()
    found = manifest_file.parse(Evidence, body, name="evidence.json")
    assert found.measurements == (full,)
    assert found.manifest_digest == manifest_file.load(bundle).digest
    assert verify(bundle, open_artifact=Product).ok


def test_an_earlier_bundle_is_replaced_and_foreign_files_stay(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    write(replace(content_in(tmp_path / "work"), reports={"old.html": b"old"}), folder)
    (folder / "notes.txt").write_text("mine")
    (folder / "report" / "mine.csv").write_text("1,2")
    write(content_in(tmp_path / "work"), folder)
    assert members(folder) == REPRODUCIBLE | MEASURED | SEALS | {"notes.txt", "report/mine.csv"}
    assert (folder / "notes.txt").read_text() == "mine"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_with_damaged_evidence_nothing_unlisted_is_deleted(tmp_path: Path) -> None:
    """What the evidence listed cannot be told from foreign files: kept rather than lost."""
    folder = write(replace(content_in(tmp_path / "work"), reports={"old.html": b"old"}), tmp_path / "b")
    (folder / "evidence.json").write_text("{")
    write(content_in(tmp_path / "work"), folder)
    assert members(folder) == REPRODUCIBLE | MEASURED | SEALS | {"report/old.html"}


def test_an_empty_folder_is_taken(tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    assert verify(write(content_in(tmp_path / "work"), tmp_path / "b"), open_artifact=Product).ok


def test_two_targets_may_share_a_file_of_the_same_content(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    shared = replace(content.shipped[0].artifact, target="second-cpu")
    twice = replace(content, shipped=(*content.shipped, Shipped(shared, tolerance_for(Precision.W8A8))))
    bundle = write(twice, tmp_path / "b")
    assert verify(bundle, open_artifact=Product).ok
    assert set(manifest_file.load(bundle).artifacts(bundle)) == {"small-cpu", "large-cpu", "second-cpu"}


def no_runtime(artifact: Artifact) -> Session:
    if artifact.target == "large-cpu":
        raise MissingBackendError("fake is not installed", remedy="pip install fake")
    return Product(artifact)


def test_a_missing_runtime_is_said_and_not_fatal(tmp_path: Path) -> None:
    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    found = verify(bundle, open_artifact=no_runtime)
    (skipped,) = [c for c in found.checks if c.status == "not_run" and c.name != "signature"]
    assert (skipped.name, skipped.subject) == ("golden", "large-cpu")
    assert "not run here: fake is not installed" in skipped.detail
    assert found.exit_code is ExitCode.OK


def test_only_the_named_targets_are_replayed(tmp_path: Path) -> None:
    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    found = verify(bundle, open_artifact=no_runtime, targets=["small-cpu", "small-cpu"])
    assert [c.subject for c in found.checks if c.name == "golden"] == ["small-cpu"]
    assert found.ok


def test_what_did_not_run_at_the_release_is_not_replayed(tmp_path: Path) -> None:
    content = content_in(tmp_path / "work")
    silent = replace(content, shipped=(content.shipped[0], replace(content.shipped[1], golden=None)))
    bundle = write(silent, tmp_path / "b")
    found = verify(bundle, open_artifact=Product)
    assert [(c.subject, c.status) for c in found.checks if c.name == "golden"] == [
        ("large-cpu", "not_run"),
        ("small-cpu", "pass"),
    ]
    asked = verify(bundle, open_artifact=Product, targets=["large-cpu"])
    assert asked.exit_code is ExitCode.VERIFICATION_FAILED


def test_sessions_are_closed(tmp_path: Path) -> None:
    opened: list[Product] = []

    def remember(artifact: Artifact) -> Product:
        opened.append(Product(artifact))
        return opened[-1]

    verify(write(content_in(tmp_path / "work"), tmp_path / "b"), open_artifact=remember)
    assert [session.open for session in opened] == [False, False]


def test_other_last_bits_stay_within_the_tolerance(tmp_path: Path) -> None:
    """What must not fire: another CPU's rounding of fp32 sums and a few steps of an int8 output."""

    class OtherCpu(Product):
        def run(self, feeds: Feeds) -> dict[str, Array]:
            y = np.asarray(super().run(feeds)["y"], np.float32)
            nudge = 4 * STEP * 0.99 if self.artifact.precision is Precision.W8A8 else 1e-5
            return {"y": y + np.float32(nudge)}

    bundle = write(content_in(tmp_path / "work"), tmp_path / "b")
    assert verify(bundle, open_artifact=OtherCpu).ok


@pytest.mark.parametrize("precision", [p for p in Precision if p is not Precision.AUTO])
def test_every_precision_has_a_tolerance(precision: Precision) -> None:
    assert tolerance_for(precision).relative_to_range > 0


def test_what_computes_in_16_bits_between_integers_has_the_wider_tolerance() -> None:
    plain, narrow = tolerance_for(Precision.W8A8), tolerance_for(Precision.W8A8, between=Precision.BF16)
    assert narrow.steps == plain.steps
    assert narrow.relative_to_range == tolerance_for(Precision.BF16).relative_to_range
    assert narrow.relative_to_range > plain.relative_to_range


def test_the_schema_forbids_unknown_keys() -> None:
    schema = Manifest.model_json_schema(by_alias=True)
    assert schema["additionalProperties"] is False
    assert "schema" in schema["properties"]
