"""A package is chosen with a reason, written whole and reproducibly, and refused with every reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.bundle import sign
from edgekit.bundle.packages import KINDS, load
from edgekit.bundle.packages import write as written
from edgekit.bundle.packages.base import Package
from edgekit.bundle.replace_folder import members
from edgekit.bundle.sign import KeyOrigin
from edgekit.errors import ExitCode, InputError, OutputError, UnknownNameError, VerificationError
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.result.package import PackageResult
from edgekit.spec import Silent
from tests.unit.bundle.signing_keys import make_key
from tests.unit.packages.bundles import bundle_of, onnx_artifact
from tests.unit.packages.images import image_bundle, litert_is_here


def made(bundle: Path, *wanted: Wanted, out: Path | None = None) -> PackageResult:
    return package(bundle, wanted=wanted, out=out, progress=Silent())


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {path: (folder / path).read_bytes() for path in members(folder)}


def test_every_kind_is_a_package() -> None:
    for kind in KINDS:
        module: Package = load(kind)
        assert module.BACKENDS
        assert module.HOLDS in {"one", "one of each"}
        assert isinstance(module.PREFERRED, tuple)


def test_an_unknown_kind_is_refused_with_its_neighbours() -> None:
    with pytest.raises(UnknownNameError, match="unknown kind of package 'pithon'") as caught:
        load("pithon")
    assert "did you mean python" in caught.value.remedy


def test_it_lies_beside_the_bundle_and_says_what_it_holds(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "dist" / "linear-1.2.0", onnx_artifact(tmp_path / "work"))
    found = made(bundle, Wanted("python"))
    row = found.packages[0]
    assert row.path == tmp_path / "dist" / "linear-1.2.0-python"
    assert (found.exit_code, found.signature) == (ExitCode.OK, "unsigned")
    assert [(each.target, each.reason) for each in row.artifacts] == [
        ("onnxruntime-cpu", "the only one that fits")
    ]
    said = written.load(row.path)
    assert members(row.path) == {written.FILE_NAME, *(entry.path for entry in said.files)}
    assert row.size_bytes == sum(len(body) for body in bytes_of(row.path).values())
    assert [p.name for p in row.path.parent.iterdir() if p.name.startswith(".")] == []


def test_the_same_bundle_gives_the_same_bytes(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "work"))
    copy = bundle_of(tmp_path / "elsewhere" / "c", onnx_artifact(tmp_path / "other" / "work"))
    for kind in KINDS:
        one, two = (
            made(bundle, Wanted(kind), out=tmp_path / "1"),
            made(copy, Wanted(kind), out=tmp_path / "2"),
        )
        if one.packages[0].path and two.packages[0].path:
            assert bytes_of(one.packages[0].path) == bytes_of(two.packages[0].path)
            assert str(tmp_path).encode() not in b"".join(bytes_of(one.packages[0].path).values())


@pytest.mark.skipif(not litert_is_here(), reason="ai-edge-litert is not installed")
def test_both_runtimes_in_other_folders_give_the_same_bytes(tmp_path: Path) -> None:
    found = []
    for name in ("one", "two"):
        bundle = image_bundle(tmp_path / name, "onnxruntime-cpu", "litert-cpu")
        rows = made(bundle, Wanted("web"), Wanted("c"), out=tmp_path / f"{name}-out").packages
        found.append([bytes_of(row.path) for row in rows if row.path])
    assert len(found[0]) == 2
    assert found[0] == found[1]


def test_an_earlier_package_is_replaced_and_foreign_files_stay(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "work"))
    path = made(bundle, Wanted("python"), out=tmp_path).packages[0].path
    assert path is not None
    before = bytes_of(path)
    (path / "notes.txt").write_text("mine")
    (path / "README.md").write_text("edited")
    made(bundle, Wanted("python"), out=tmp_path)
    assert bytes_of(path) == before | {"notes.txt": b"mine"}


def test_an_archive_is_refused_with_what_to_type(tmp_path: Path) -> None:
    (tmp_path / "m-1.0.tar").write_bytes(b"")
    with pytest.raises(InputError, match="made of a bundle's folder") as caught:
        made(tmp_path / "m-1.0.tar", Wanted("python"))
    assert "tar -xf m-1.0.evidence.tar" in caught.value.remedy


@pytest.mark.parametrize("there", ["notes.txt", written.FILE_NAME])
def test_what_is_no_package_is_not_replaced(tmp_path: Path, there: str) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "work"))
    (tmp_path / "linear-1.2.0-python").mkdir()
    (tmp_path / "linear-1.2.0-python" / there).write_text("{}")
    with pytest.raises(OutputError, match="not this package"):
        made(bundle, Wanted("python"), out=tmp_path)
    assert (tmp_path / "linear-1.2.0-python" / there).read_text() == "{}"


def test_targets_are_chosen_by_preference_or_as_asked(tmp_path: Path) -> None:
    work = tmp_path / "work"
    bundle = bundle_of(
        tmp_path / "b", onnx_artifact(work, target="a-first"), onnx_artifact(work, target="onnxruntime-cpu")
    )
    row = made(bundle, Wanted("python")).packages[0]
    assert [each.target for each in row.artifacts] == ["onnxruntime-cpu"]
    assert row.artifacts[0].reason == "the first of onnxruntime-cpu, a-first; --target chooses another"
    asked = made(bundle, Wanted("python", ("a-first",))).packages[0]
    assert [(each.target, each.reason) for each in asked.artifacts] == [("a-first", "asked for")]


def test_an_unknown_target_is_an_error(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "work"))
    with pytest.raises(UnknownNameError, match="onnxruntime-cpi"):
        made(bundle, Wanted("python", ("onnxruntime-cpi",)))


def test_an_artifact_for_a_gpu_is_refused_and_others_are_written(tmp_path: Path) -> None:
    """C2; the exit code is 5, and the other kinds of the command line are made all the same."""
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w", target="gpu-cuda", device="cuda"))
    found = made(bundle, Wanted("python"))
    assert (found.exit_code, found.packages[0].path) == (ExitCode.TARGET_REFUSES, None)
    assert "meant for cuda" in found.packages[0].reason
    assert "[[target]]" in found.packages[0].remedy


def test_without_golden_outputs_there_is_no_package(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"), run=False)
    found = made(bundle, Wanted("python"))
    assert found.exit_code is ExitCode.TARGET_REFUSES
    assert "no golden outputs of onnxruntime-cpu" in found.packages[0].reason


@pytest.mark.parametrize(
    "path", ["artifacts/onnxruntime-cpu.onnx", "golden/onnxruntime-cpu.npz", "golden/inputs.npz"]
)
def test_nothing_is_packaged_from_a_damaged_bundle(tmp_path: Path, path: str) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"))
    body = bytearray((bundle / path).read_bytes())
    body[len(body) // 2] ^= 1
    (bundle / path).write_bytes(bytes(body))
    with pytest.raises(VerificationError, match=path):
        made(bundle, Wanted("python"), out=tmp_path / "out")
    assert not list((tmp_path / "out").glob("*"))


def test_who_signed_the_bundle_is_checked_where_it_is_asked_for(tmp_path: Path) -> None:
    """Without a key the package says that nobody looked; with another's key nothing is written."""
    pytest.importorskip("model_signing", reason="the extra sign is not installed")
    private, public = make_key(tmp_path)
    _, other = make_key(tmp_path, "other")
    artifact = onnx_artifact(tmp_path / "w")
    bundle = bundle_of(tmp_path / "b" / "linear-1.2.0", artifact, signer=sign.with_key(private))
    wanted = (Wanted("python"),)
    assert made(bundle, *wanted).signature == "signed (model.sig), by whom was not checked"
    found = package(bundle, wanted=wanted, out=tmp_path / "o", origin=KeyOrigin(public), progress=Silent())
    assert found.signature == f"signed by the key {public.name}"
    assert found.packages[0].path is not None
    assert written.load(found.packages[0].path).signature == found.signature
    with pytest.raises(VerificationError, match="no signature of the key"):
        package(bundle, wanted=wanted, out=tmp_path / "p", origin=KeyOrigin(other), progress=Silent())
    assert not (tmp_path / "p").exists()
    unsigned = bundle_of(tmp_path / "u" / "linear-1.2.0", artifact)
    with pytest.raises(VerificationError, match="not signed"):
        package(unsigned, wanted=wanted, out=tmp_path / "p", origin=KeyOrigin(public), progress=Silent())
