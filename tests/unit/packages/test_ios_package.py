"""The Swift package: its files parse, its hashes are those of its resources, hostile names are text."""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import tree_sitter_swift

from edgekit.bundle.packages import ios
from edgekit.bundle.packages.base import Source
from edgekit.bundle.packages.converted import Converted
from tests.unit.packages.mobile_bundle import (
    HOSTILE,
    SAMPLES,
    bundle,
    converted,
    options,
    syntax_errors,
)

KIT = "Sources/PhotoNetKit"
MODEL = f"{KIT}/Resources/model"
SWIFT = tree_sitter_swift.language()


def packaged(folder: Path, *, name: str = "", coreml: Converted | str = "no recipe") -> dict[str, bytes]:
    source = Source.at(folder)
    asked = options(name=name, coreml=coreml)
    return dict(ios.files(source, source.manifest.targets, options=asked).files)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle(tmp_path_factory.mktemp("plain"), labels=("cat", "dög"))


@pytest.fixture(scope="module")
def files(folder: Path) -> dict[str, bytes]:
    return packaged(folder)


def test_every_swift_file_parses(files: dict[str, bytes]) -> None:
    swift = {path: body for path, body in files.items() if path.endswith(".swift")}
    assert {"Package.swift", f"{KIT}/Runner.swift", f"{KIT}/Specification.swift"} <= set(swift)
    assert {path: found for path, body in swift.items() if (found := syntax_errors(body, SWIFT))} == {}


@pytest.mark.parametrize(
    ("path", "whole", "broken"),
    [
        ("Package.swift", b"targets: [", b"targets: "),
        (f"{KIT}/Runner.swift", b"public final class", b"public final klass class {"),
        (f"{KIT}/Specification.swift", b"= [\n", b"= [[\n"),
    ],
)
def test_a_broken_file_is_red(files: dict[str, bytes], path: str, whole: bytes, broken: bytes) -> None:
    assert whole in files[path]
    assert syntax_errors(files[path].replace(whole, broken, 1), SWIFT)


def test_the_sources_hold_the_hash_of_every_resource(files: dict[str, bytes], folder: Path) -> None:
    said = files[f"{KIT}/Specification.swift"].decode()
    held = {path.removeprefix(f"{MODEL}/"): body for path, body in files.items() if path.startswith(MODEL)}
    listed = dict(re.findall(r'^ {8}"([^"]+)": "([0-9a-f]{64})",$', said, re.MULTILINE))
    hashes = {path: hashlib.sha256(body).hexdigest() for path, body in held.items()}
    assert {path.replace("\\u{5F}", "_"): sha for path, sha in listed.items()} == hashes
    assert held["model.tflite"] == (folder / "artifacts/m.tflite").read_bytes()
    flipped = bytearray(held["model.tflite"])
    flipped[77] ^= 1
    assert hashlib.sha256(flipped).hexdigest() not in said


def test_golden_files_are_the_raw_samples_and_the_recorded_outputs(
    files: dict[str, bytes], folder: Path
) -> None:
    source = Source.at(folder)
    entry = source.manifest.targets[0]
    raw, recorded = source.golden_raw(), source.golden_outputs(entry)
    np.testing.assert_array_equal(
        np.frombuffer(files[f"{MODEL}/golden/input_0.bin"], np.uint8), raw["photo"].ravel()
    )
    np.testing.assert_array_equal(
        np.frombuffer(files[f"{MODEL}/golden/output_0.bin"], "<f4"), recorded["scores"].ravel()
    )
    said = files[f"{KIT}/Specification.swift"].decode()
    assert f"samples = {SAMPLES}" in said
    assert ".resize(height: 4, width: 5, nearest: false)" in said
    assert f".scale({float(np.float32(1 / 255))!r})" in said  # the number itself, not one near it
    assert json.loads(files[f"{MODEL}/specification.json"])["files"][0]["path"] == "model.tflite"


def test_the_wrapper_is_typed(files: dict[str, bytes]) -> None:
    runner = files[f"{KIT}/Runner.swift"].decode()
    assert "public init(photo: [Float], ids: [Int64], flags: [Bool])" in runner
    assert "case .float32(let value0) = found[0], case .int64(let value1) = found[1]" in runner


def test_equal_bundles_give_equal_bytes(tmp_path: Path, files: dict[str, bytes]) -> None:
    assert packaged(bundle(tmp_path / "deeper", labels=("cat", "dög"))) == files


def test_hostile_names_are_text_and_nothing_else(tmp_path: Path) -> None:
    files = packaged(bundle(tmp_path, ins=HOSTILE[:3], outs=HOSTILE[3:], labels=HOSTILE[:2]))
    for path, body in files.items():
        if path.endswith((".swift", ".md")):
            assert body.isascii(), path
            assert b"exit(" not in re.sub(rb'"[^"\n]*"', b"", body), path  # inside a literal it is text
            assert b"import Darwin" not in re.sub(rb'"[^"\n]*"', b"", body), path
            assert b"@@" not in body, path
            assert b"\\(exit" not in body, path  # no interpolation
        if path.endswith(".swift"):
            assert syntax_errors(body, SWIFT) == [], path


@pytest.mark.parametrize("name", ["class", "9lives", "a.b+c", "data"])
def test_any_model_name_becomes_a_module(tmp_path: Path, name: str) -> None:
    files = packaged(bundle(tmp_path, name=name))
    (module,) = {path.split("/")[1] for path in files if path.startswith("Sources/")}
    assert re.fullmatch(r"[A-Z][A-Za-z0-9]*Kit", module)
    assert f'name: "{module}"'.encode() in files["Package.swift"]
    assert syntax_errors(files["Package.swift"], SWIFT) == []


def test_a_converted_model_travels_with_its_status_and_golden_outputs(tmp_path: Path) -> None:
    folder = bundle(tmp_path, types="of Core ML")
    source = Source.at(folder)
    given = converted(folder)
    contents = ios.files(source, source.manifest.targets, options=options(coreml=given))
    files = dict(contents.files)
    assert files[f"{MODEL}/model.mlpackage/Manifest.json"] == given.files["Manifest.json"]
    assert files[f"{MODEL}/golden/coreml_output_0.bin"] == given.outputs["scores"].astype("<f4").tobytes()
    runner = files[f"{KIT}/CoreMLRunner.swift"]
    assert syntax_errors(runner, SWIFT) == []
    assert syntax_errors(runner.replace(b"#endif", b"}"), SWIFT)
    assert b"toleranceOfRange: Double = 0.01" in runner  # of fp16, docs/packages-mobile.md
    said = files[f"{KIT}/Specification.swift"].decode().replace("\\u{5F}", "_")
    assert "model.mlpackage/Data/com.apple.CoreML/model.mlmodel" in said  # hashed as every resource is
    assert contents.facts["coreml"].startswith("converted, not run here (fp16; constants of the float model")
    assert b"converted, not run here" in files["README.md"]


def test_without_one_the_package_says_why(tmp_path: Path) -> None:
    source = Source.at(bundle(tmp_path))
    contents = ios.files(source, source.manifest.targets, options=options(coreml="the extra is missing"))
    assert contents.facts["coreml"] == "none: the extra is missing"
    assert any("the extra is missing" in note for note in contents.notes)
    assert f"{KIT}/CoreMLRunner.swift" not in contents.files
    assert b"`edgekit-package.json` says why" in contents.files["README.md"]
