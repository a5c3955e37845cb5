"""The AAR: its class, run on a JVM over the packaged assets, computes what NumPy does."""

from __future__ import annotations

import io
import re
import subprocess
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import tree_sitter_kotlin

from edgekit.backends.bindings import artifact_from_reference
from edgekit.bundle.packages import android
from edgekit.bundle.packages.base import Source
from edgekit.errors import MissingBackendError
from edgekit.preprocess import apply
from edgekit.spec import Array
from tests.unit.packages import mobile_bundle
from tests.unit.packages.mobile_bundle import HOSTILE, SAMPLES, bundle, options, syntax_errors, tool

HARNESS = Path(__file__).with_name("android_jvm")
SUFFIX = {"float32": "<f4", "int32": "<i4", "int64": "<i8", "uint8": "u1", "int8": "i1", "bool": "?"}


def packaged(folder: Path, *, name: str = "") -> dict[str, bytes]:
    tool("javac", package="openjdk-17-jdk-headless")
    source = Source.at(folder)
    return dict(android.files(source, source.manifest.targets, options=options(name=name)).files)


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, bytes]]:
    """A bundle and its package, for tests that only look."""
    folder = bundle(tmp_path_factory.mktemp("plain"), labels=("cat", "dög"))
    return folder, packaged(folder)


def members(archive: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(archive)) as held:
        return {entry: held.read(entry) for entry in held.namelist()}


def aar_of(files: dict[str, bytes]) -> dict[str, bytes]:
    return members(next(body for path, body in files.items() if path.endswith(".aar")))


def unpacked(files: dict[str, bytes], folder: Path) -> Path:
    for path, body in aar_of(files).items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(body)
    return folder


def run(aar: Path, *, package: str, kind: str, work: Path) -> subprocess.CompletedProcess[str]:
    """The harness over the unpacked AAR, on this machine's JVM; arrays are written to ``work``."""
    javac = tool("javac", package="openjdk-17-jdk-headless")
    for path in (
        *HARNESS.rglob("Context.java"),
        *HARNESS.rglob("AssetManager.java"),
        HARNESS / "Harness.java",
    ):
        text = path.read_text("utf-8").replace("PACKAGE", f"org.edgekit.{package}").replace("TYPE", kind)
        copy = work / "src" / path.relative_to(HARNESS)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_text(text, "utf-8")
    sources = [str(path) for path in sorted((work / "src").rglob("*.java"))]
    classes = f"{work}/classes"
    subprocess.run([javac, "-cp", str(aar / "classes.jar"), "-d", classes, *sources], check=True, timeout=300)
    (work / "out").mkdir()
    return subprocess.run(
        [
            "java",
            "-cp",
            f"{classes}:{aar / 'classes.jar'}",
            "Harness",
            str(aar / "assets"),
            str(work / "out"),
        ],
        capture_output=True,
        text=True,
        timeout=300,
    )


def written(work: Path, name: str, dtype: str) -> Array:
    return np.fromfile(work / "out" / f"{name}.bin", SUFFIX[dtype])


Plain = tuple[Path, dict[str, bytes]]


def test_the_class_computes_what_numpy_computes_over_the_packaged_assets(
    tmp_path: Path, plain: Plain
) -> None:
    folder, files = plain
    aar = unpacked(files, tmp_path / "aar")
    done = run(aar, package="photo_net", kind="PhotoNet", work=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "verified edgekit/photo_net/model.tflite" in done.stdout
    assert "labels 2" in done.stdout
    source = Source.at(folder)
    entry, raw = source.manifest.targets[0], source.golden_raw()
    recorded = source.golden_outputs(entry)
    for number in range(SAMPLES):
        assert f"difference {number} []" in done.stdout
        assert f"moved {number} [scores at 0 is" in done.stdout  # the check sees what it must see
        feeds = {
            "photo": apply(raw["photo"][number], mobile_bundle.STEPS)[None],
            "ids": raw["ids"][number][None],
            "flags": raw["flags"][number][None],
        }
        inside = artifact_from_reference(feeds, entry.artifact.inputs)
        for at, binding in enumerate(entry.artifact.inputs):
            name = binding.reference.name
            found = written(tmp_path, f"input_{at}_{number}", binding.reference.dtype)
            np.testing.assert_array_equal(found, feeds[name].ravel())  # to the bit, resize included
            found = written(tmp_path, f"inside_{at}_{number}", binding.dtype)
            np.testing.assert_array_equal(found, inside[binding.name].ravel())
        for at, binding in enumerate(entry.artifact.outputs):
            found = written(tmp_path, f"output_{at}_{number}", binding.reference.dtype)
            np.testing.assert_array_equal(found, recorded[binding.reference.name][number].ravel())


@pytest.mark.parametrize("asset", ["model.tflite", "golden/output_0.bin", "labels.txt", "specification.json"])
def test_one_flipped_byte_of_an_asset_stops_the_class(tmp_path: Path, plain: Plain, asset: str) -> None:
    aar = unpacked(plain[1], tmp_path / "aar")
    path = aar / "assets/edgekit/photo_net" / asset
    body = bytearray(path.read_bytes())
    body[len(body) // 2] ^= 1
    path.write_bytes(body)
    done = run(aar, package="photo_net", kind="PhotoNet", work=tmp_path)
    assert done.returncode != 0
    assert f"edgekit/photo_net/{asset} is damaged: sha256" in done.stderr


def test_the_archive_has_what_the_format_asks_for_and_no_stub(plain: Plain) -> None:
    folder, files = plain
    held = aar_of(files)
    assert {"AndroidManifest.xml", "R.txt", "classes.jar"} <= set(held)
    assert b'package="org.edgekit.photo_net"' in held["AndroidManifest.xml"]
    assert held["assets/edgekit/photo_net/model.tflite"] == (folder / "artifacts/m.tflite").read_bytes()
    classes = members(held["classes.jar"])
    assert not [path for path in classes if path.startswith("android/")]
    spec = classes["org/edgekit/photo_net/PhotoNetSpec.class"]
    assert spec[6:8] == b"\x00\x34"  # class file version 52: Java 8
    assert b"litert:2.3.0" in files["app.gradle.kts.txt"]


def test_equal_bundles_give_equal_bytes(tmp_path: Path, plain: Plain) -> None:
    assert packaged(bundle(tmp_path / "two" / "deeper", labels=("cat", "dög"))) == plain[1]


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    folder = bundle(tmp_path, ins=HOSTILE[:3], outs=HOSTILE[3:], labels=HOSTILE[:2])
    files = packaged(folder)  # javac took it
    aar = unpacked(files, tmp_path / "aar")
    done = run(aar, package="photo_net", kind="PhotoNet", work=tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"difference {SAMPLES - 1} []" in done.stdout
    for path, body in files.items():
        if path.endswith((".kt", ".txt", ".md")):
            assert b"exit(" not in body, path
            assert b"@@" not in body, path
            assert body.isascii(), path
    kotlin = next(body for path, body in files.items() if path.endswith(".kt"))
    assert syntax_errors(kotlin, tree_sitter_kotlin.language()) == []


@pytest.mark.parametrize("name", ["class", "9lives", "Model", "a.b+c", "Ein-Haus_2"])
def test_any_model_name_becomes_a_package_and_a_type(tmp_path: Path, name: str) -> None:
    held = aar_of(packaged(bundle(tmp_path, name=name)))
    package = re.search(rb'package="org\.edgekit\.([a-z][a-z0-9_]*)"', held["AndroidManifest.xml"])
    assert package, held["AndroidManifest.xml"]
    assert any(
        re.fullmatch(rf"org/edgekit/{package[1].decode()}/[A-Z][A-Za-z0-9]*Spec\.class", path)
        for path in members(held["classes.jar"])
    )


def test_the_kotlin_source_parses_and_a_broken_one_does_not(plain: Plain) -> None:
    kotlin = plain[1]["kotlin/org/edgekit/photo_net/PhotoNetRunner.kt"]
    language = tree_sitter_kotlin.language()
    assert syntax_errors(kotlin, language) == []
    assert syntax_errors(kotlin.replace(b"override fun close() {", b"override fun close( {"), language)
    assert (
        b"class PhotoNetInputs(val photo: FloatArray, val ids: LongArray, val flags: BooleanArray)" in kotlin
    )


def test_without_javac_the_package_is_refused_with_the_line_to_type(
    plain: Plain, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = plain
    monkeypatch.setattr("shutil.which", lambda name: None)
    source = Source.at(folder)
    with pytest.raises(MissingBackendError, match="javac is not here") as refused:
        android.files(source, source.manifest.targets, options=options())
    assert "apt-get install openjdk-17-jdk-headless" in refused.value.remedy


def test_what_an_app_cannot_run_is_refused_by_the_manifest_alone(tmp_path: Path) -> None:
    entry = Source.at(bundle(tmp_path)).manifest.targets[0]
    assert android.unsuitable(entry) == ""
    first, *others = entry.artifact.inputs

    def reason(changed: object) -> str:
        held = entry.artifact.model_copy(update={"inputs": (changed, *others)})
        return android.unsuitable(entry.model_copy(update={"artifact": held}))

    def shaped(*shape: int | str) -> object:
        return replace(first, reference=replace(first.reference, shape=shape))

    assert "fixed batch of 8" in reason(shaped(8, 3, 4, 5))
    assert "open size 'width'" in reason(shaped("batch", 3, 4, "width"))
    assert "float16" in reason(replace(first, dtype="float16"))
    assert first.quant is not None
    per_channel = replace(first.quant, scale=(0.1, 0.2), zero_point=(0, 0), axis=3)
    assert "scale for each channel" in reason(replace(first, quant=per_channel))
