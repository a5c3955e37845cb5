"""Any damage inside a bundle is found, named, and ends with exit code 8."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pytest

from edgekit.backends.base import file_entries
from edgekit.bundle import canonical_json, npz
from edgekit.bundle.complete import complete, pack_beside
from edgekit.bundle.evidence import Evidence, MachineFacts, Measurement
from edgekit.bundle.golden import record, tolerance_for
from edgekit.bundle.manifest import Manifest, entry_of, parse
from edgekit.bundle.replace_folder import members
from edgekit.bundle.verify import Verification, verify
from edgekit.bundle.write import BundleContent, Shipped, write
from edgekit.errors import BackendCrashError, ExitCode
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


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    folder = write(content_in(tmp_path / "work"), tmp_path / "dist" / "digits-1.0.0")
    assert checked(folder).ok
    return folder


def checked(folder: Path, open_artifact: Callable[[Artifact], Session] = Product) -> Verification:
    return verify(folder, open_artifact=open_artifact)


def red(found: Verification, *words: str) -> None:
    assert found.exit_code is ExitCode.VERIFICATION_FAILED
    assert not found.ok
    for word in words:
        assert word in found.first_difference


FILES = [
    "README.md",
    "SHA256SUMS",
    "artifacts/large-cpu.bin",
    "artifacts/small-cpu.bin",
    "edgekit.lock",
    "evidence.intoto.json",
    "evidence.json",
    "golden/inputs.npz",
    "golden/large-cpu.npz",
    "golden/small-cpu.npz",
    "manifest.json",
    "ranges.json",
    "recipe.json",
    "report/model-card.md",
    "report/report.json",
    "sbom.cdx.json",
]


def test_the_list_of_files_is_complete(bundle: Path) -> None:
    assert sorted(members(bundle)) == FILES


@pytest.mark.parametrize("path", FILES)
@pytest.mark.parametrize("where", ["first", "middle", "last"])
def test_one_flipped_byte(bundle: Path, path: str, where: str) -> None:
    body = bytearray((bundle / path).read_bytes())
    body[{"first": 0, "middle": len(body) // 2, "last": -1}[where]] ^= 0x01
    (bundle / path).write_bytes(bytes(body))
    red(checked(bundle), path)


@pytest.mark.parametrize("path", ["manifest.json", "evidence.json"])
def test_every_byte_of_the_json_counts(bundle: Path, path: str) -> None:
    """Each 7th byte, one random bit each, seed 5: spaces and digits alike."""
    whole = (bundle / path).read_bytes()
    rng = np.random.default_rng(5)
    for place in range(0, len(whole), 7):
        body = bytearray(whole)
        body[place] ^= 1 << int(rng.integers(8))
        (bundle / path).write_bytes(bytes(body))
        red(checked(bundle), path)


@pytest.mark.parametrize("path", FILES)
def test_a_missing_file(bundle: Path, path: str) -> None:
    (bundle / path).unlink()
    red(checked(bundle), path, "missing")


@pytest.mark.parametrize("path", FILES)
def test_an_empty_file(bundle: Path, path: str) -> None:
    (bundle / path).write_bytes(b"")
    whole = path in ("manifest.json", "evidence.json")
    listed = path not in ("SHA256SUMS", "evidence.intoto.json")
    red(checked(bundle), path, "damaged" if whole else "0 bytes instead of" if listed else "")


@pytest.mark.parametrize("path", ["extra.txt", "artifacts/small-cpu.bin.bak", ".hidden", "golden/new/x.npz"])
def test_a_file_that_nobody_listed(bundle: Path, path: str) -> None:
    (bundle / path).parent.mkdir(exist_ok=True)
    (bundle / path).write_text("x")
    red(checked(bundle), path, "not part of the bundle")


def test_a_link_is_not_a_file(bundle: Path, tmp_path: Path) -> None:
    body = (bundle / "ranges.json").read_bytes()
    (tmp_path / "outside.json").write_bytes(body)
    (bundle / "ranges.json").unlink()
    (bundle / "ranges.json").symlink_to(tmp_path / "outside.json")
    red(checked(bundle), "ranges.json", "link")


def test_a_linked_folder_is_not_a_folder(bundle: Path, tmp_path: Path) -> None:
    (bundle / "artifacts").rename(tmp_path / "outside")
    (bundle / "artifacts").symlink_to(tmp_path / "outside", target_is_directory=True)
    red(checked(bundle), "artifacts", "link")


def test_a_folder_in_the_place_of_a_file(bundle: Path) -> None:
    for path in ("manifest.json", "ranges.json"):
        body = (bundle / path).read_bytes()
        (bundle / path).unlink()
        (bundle / path).mkdir()
        red(checked(bundle), path)
        (bundle / path).rmdir()
        (bundle / path).write_bytes(body)
    assert checked(bundle).ok


def test_files_that_cannot_be_read(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Path, *args: object, **kwargs: object) -> bytes:
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "read_bytes", refuse)
        red(checked(bundle), "manifest.json", "cannot be read: Permission denied")
    with monkeypatch.context() as patched:
        patched.setattr(Path, "stat", lambda self, **_: refuse(self))
        patched.setattr(Path, "is_file", lambda self: True)
        patched.setattr(Path, "is_dir", lambda self: True)
        patched.setattr(Path, "is_symlink", lambda self: False)
        patched.setattr(Path, "rglob", lambda self, pattern: iter(()))
        red(checked(bundle), "README.md", "cannot be read: Permission denied")


def read(folder: Path, path: str) -> dict[str, Any]:
    value: dict[str, Any] = json.loads((folder / path).read_text("utf-8"))
    return value


def reseal(folder: Path, path: str, value: dict[str, Any]) -> None:
    """Write a document back as edgekit would, with a digest that is right."""
    value["digest"] = canonical_json.digest(value)
    (folder / path).write_bytes(canonical_json.render(value))


def link_evidence(folder: Path) -> None:
    evidence = read(folder, "evidence.json")
    evidence["manifest_digest"] = read(folder, "manifest.json")["digest"]
    reseal(folder, "evidence.json", evidence)


def test_resealing_alone_is_not_what_goes_red(bundle: Path) -> None:
    for path in ("manifest.json", "evidence.json"):
        before = (bundle / path).read_bytes()
        reseal(bundle, path, read(bundle, path))
        assert (bundle / path).read_bytes() == before
    assert checked(bundle).ok


def test_an_edited_manifest(bundle: Path) -> None:
    value = read(bundle, "manifest.json")
    value["targets"][0]["tolerance"]["steps"] = 1e9
    (bundle / "manifest.json").write_bytes(canonical_json.render(value))
    red(checked(bundle), "manifest.json", "own digest")


def test_a_reformatted_manifest(bundle: Path) -> None:
    (bundle / "manifest.json").write_text(json.dumps(read(bundle, "manifest.json")))
    red(checked(bundle), "manifest.json", "not in the form")


def test_a_resealed_manifest_is_another_one_than_the_evidence_names(bundle: Path) -> None:
    value = read(bundle, "manifest.json")
    value["version"] = "2.0.0"
    reseal(bundle, "manifest.json", value)
    red(checked(bundle), "evidence.json", "another manifest")


@dataclass(frozen=True)
class Broken:
    id: str
    body: bytes


@pytest.mark.parametrize(
    "case",
    [
        Broken("no-json", b"{"),
        Broken("no-utf8", b"\xff\xfe"),
        Broken("a-list", b"[]"),
        Broken("null", b"null"),
        Broken("empty-object", b"{}"),
        Broken("wrong-schema", b'{"schema": 2}'),
        Broken("deep", b"[" * 100_000),
    ],
    ids=lambda case: case.id,
)
@pytest.mark.parametrize("path", ["manifest.json", "evidence.json"])
def test_documents_that_are_none(bundle: Path, path: str, case: Broken) -> None:
    (bundle / path).write_bytes(case.body)
    red(checked(bundle), path)


WRONG_VALUES: list[tuple[str, Any]] = [
    ("name", 7),
    ("targets", {}),
    ("files", "x"),
    ("surprise", 1),
    ("recipe_digest", "short"),
    ("version", "../up"),
]


@pytest.mark.parametrize(("key", "wrong"), WRONG_VALUES, ids=[key for key, _ in WRONG_VALUES])
def test_a_manifest_of_wrong_types_is_refused_even_when_resealed(bundle: Path, key: str, wrong: Any) -> None:
    value = read(bundle, "manifest.json")
    value[key] = wrong
    reseal(bundle, "manifest.json", value)
    red(checked(bundle), "manifest.json", key)


@pytest.mark.parametrize("path", ["../outside", "/etc/hostname", "a/../../b", "", "a//b", "c:\\x", "./a"])
def test_a_manifest_must_not_name_files_outside(bundle: Path, path: str) -> None:
    value = read(bundle, "manifest.json")
    value["files"][0]["path"] = path
    reseal(bundle, "manifest.json", value)
    red(checked(bundle), "manifest.json", "not a relative path")


def test_an_unknown_key_deep_inside(bundle: Path) -> None:
    """Leaf values ignore unknown keys; the canonical text does not."""
    value = read(bundle, "manifest.json")
    value["targets"][0]["artifact"]["options"]["surprise"] = 1
    reseal(bundle, "manifest.json", value)
    red(checked(bundle), "manifest.json")


def test_target_and_list_of_files_must_agree(bundle: Path) -> None:
    """A consistent forgery of one of the two entries of an artifact."""
    value = read(bundle, "manifest.json")
    value["targets"][0]["artifact"]["files"][0]["sha256"] = "0" * 64
    reseal(bundle, "manifest.json", value)
    link_evidence(bundle)
    evidence = read(bundle, "evidence.json")
    evidence["measurements"] = []
    reseal(bundle, "evidence.json", evidence)
    red(checked(bundle), "artifacts/large-cpu.bin", "disagree")


def test_manifest_and_evidence_must_agree(bundle: Path) -> None:
    evidence = read(bundle, "evidence.json")
    evidence["reports"][0]["path"] = "ranges.json"
    reseal(bundle, "evidence.json", evidence)
    red(checked(bundle), "ranges.json", "disagree")


def test_evidence_of_another_artifact(bundle: Path) -> None:
    evidence = read(bundle, "evidence.json")
    evidence["measurements"][0]["artifact_sha256"] = "0" * 64
    reseal(bundle, "evidence.json", evidence)
    red(checked(bundle), "evidence.json", "another artifact")


def test_golden_outputs_of_a_target_that_is_not_here(bundle: Path) -> None:
    evidence = read(bundle, "evidence.json")
    evidence["golden"][0]["target"] = "third-cpu"
    reseal(bundle, "evidence.json", evidence)
    red(checked(bundle), "evidence.json", "third-cpu")


def reseal_all(folder: Path) -> None:
    """Statement, checksums, archives and root digest of what lies there now: a forger's whole work."""
    described = parse(Manifest, (folder / "manifest.json").read_bytes(), name="manifest.json")
    witness = parse(Evidence, (folder / "evidence.json").read_bytes(), name="evidence.json")
    pack_beside(folder, described, complete(folder, described, witness, signer=None))


def forge_golden(folder: Path, target: str, change: Callable[[Array], Array]) -> None:
    """Other golden outputs, with hashes and digests that are all right."""
    path = f"golden/{target}.npz"
    arrays = npz.from_bytes((folder / path).read_bytes(), name=path)
    body = npz.to_bytes({name: change(value) for name, value in arrays.items()})
    (folder / path).write_bytes(body)
    evidence = read(folder, "evidence.json")
    for entry in evidence["golden"]:
        if entry["target"] == target:
            entry["file"] = entry_of(path, body).model_dump()
    reseal(folder, "evidence.json", evidence)
    reseal_all(folder)


def nudge(amount: float) -> Callable[[Array], Array]:
    def change(value: Array) -> Array:
        moved = np.array(value, np.float32)
        moved[2, 1] += amount
        return moved

    return change


@dataclass(frozen=True)
class Forgery:
    id: str
    target: str
    change: Callable[[Array], Array]
    words: str


FORGERIES = [
    Forgery("int8-beyond-four-steps", "small-cpu", nudge(4.1 * STEP), "4.1 steps, allowed 4"),
    Forgery("fp32-beyond-its-range", "large-cpu", nudge(0.001), "of the output's range, allowed 0.0001"),
    Forgery("nan", "large-cpu", nudge(np.nan), "recorded nan"),
    Forgery("shape", "small-cpu", lambda v: v[:3], "recorded (3, 3)"),
    Forgery("type", "small-cpu", lambda v: v.astype(np.float64), "recorded float64"),
]


@pytest.mark.parametrize("case", FORGERIES, ids=lambda case: case.id)
def test_the_replay_goes_red_where_hashes_are_forged(bundle: Path, case: Forgery) -> None:
    forge_golden(bundle, case.target, case.change)
    found = checked(bundle)
    red(found, case.target, "'y'", case.words)
    assert all(c.status == "pass" for c in found.checks if c.name not in ("golden", "signature"))


def test_a_nudge_within_the_tolerance_stays_green(bundle: Path) -> None:
    forge_golden(bundle, "small-cpu", nudge(3.9 * STEP))
    forge_golden(bundle, "large-cpu", nudge(0.0001))
    assert checked(bundle).ok


def test_golden_outputs_that_are_no_npz(bundle: Path) -> None:
    path = "golden/small-cpu.npz"
    (bundle / path).write_bytes(b"no zip")
    evidence = read(bundle, "evidence.json")
    for entry in evidence["golden"]:
        if entry["target"] == "small-cpu":
            entry["file"] = entry_of(path, b"no zip").model_dump()
    reseal(bundle, "evidence.json", evidence)
    reseal_all(bundle)
    red(checked(bundle), "small-cpu", "not a readable .npz")


def test_golden_outputs_that_are_empty_prove_nothing(bundle: Path) -> None:
    path = "golden/small-cpu.npz"
    body = npz.to_bytes({})
    (bundle / path).write_bytes(body)
    evidence = read(bundle, "evidence.json")
    for entry in evidence["golden"]:
        if entry["target"] == "small-cpu":
            entry["file"] = entry_of(path, body).model_dump()
    reseal(bundle, "evidence.json", evidence)
    reseal_all(bundle)
    red(checked(bundle), "small-cpu", "no output is recorded")


class OtherOutputs(Product):
    def run(self, feeds: Feeds) -> dict[str, Array]:
        return {"z": super().run(feeds)["y"]}


class Nan(Product):
    def run(self, feeds: Feeds) -> dict[str, Array]:
        return {"y": np.full_like(super().run(feeds)["y"], np.nan)}


class Empty(Product):
    def run(self, feeds: Feeds) -> dict[str, Array]:
        return {"y": super().run(feeds)["y"][:0]}


@pytest.mark.parametrize("session", [OtherOutputs, Nan, Empty])
def test_an_artifact_that_computes_something_else(bundle: Path, session: type[Product]) -> None:
    red(checked(bundle, session), "large-cpu")


def test_an_artifact_that_crashes(bundle: Path) -> None:
    def crash(artifact: Artifact) -> Session:
        raise BackendCrashError(f"{artifact.path.name}: the runtime died")

    red(checked(bundle, crash), "large-cpu", "the runtime died")


def test_damaged_artifacts_are_never_opened(bundle: Path) -> None:
    def refuse(artifact: Artifact) -> Session:
        assert artifact.target == "large-cpu"
        return Product(artifact)

    (bundle / "artifacts" / "small-cpu.bin").write_bytes(b"evil")
    found = checked(bundle, refuse)
    red(found, "artifacts/small-cpu.bin")
    (skipped,) = [c for c in found.checks if c.status == "not_run" and c.name == "golden"]
    assert "nothing is run from damaged files" in skipped.detail


def test_the_first_difference_is_the_one_in_front(bundle: Path) -> None:
    (bundle / "recipe.json").write_text("{}")
    (bundle / "edgekit.lock").write_text("")
    red(checked(bundle), "edgekit.lock")
