"""The wheel: 50 lines of runner, golden vectors that pass, and red where a byte of the model changed."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.bundle import deterministic_zip
from edgekit.bundle.packages import names
from edgekit.bundle.packages.python import MAX_RUNNER_LINES, NUMPY, RUNTIMES
from edgekit.bundle.packages.templates import raw
from edgekit.bundle.processing import Processing
from edgekit.errors import InputError
from edgekit.pipeline.package import Wanted, package
from edgekit.preprocess import Bytes, Cast, Layout, Normalize, Resize, Scale, Step, apply
from edgekit.spec import Silent
from tests.unit.packages.bundles import bundle_of, hostile_artifact, onnx_artifact
from tests.unit.packages.empty_environment import environment
from tests.unit.packages.images import image_bundle, litert_is_here, pictures

ROOT = Path(__file__).parents[3]


def wheel_of(bundle: Path, out: Path, *, name: str = "", target: str = "") -> Path:
    wanted = Wanted("python", (target,) if target else (), name)
    row = package(bundle, wanted=(wanted,), out=out, progress=Silent()).packages[0]
    assert row.path is not None, row.reason
    return next(row.path.glob("*.whl"))


def unpacked(wheel: Path, folder: Path, *, instead: Mapping[str, bytes] | None = None) -> Path:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for path, body in (instead or {}).items():
        (folder / path).write_bytes(body)
    return folder


def self_test(folder: Path, module: str = "linear") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", module, "--self-test"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )


@pytest.mark.parametrize("batch", ["batch", 1, 3])
def test_the_golden_vectors_pass(tmp_path: Path, batch: int | str) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w", batch=batch))
    done = self_test(unpacked(wheel_of(bundle, tmp_path), tmp_path / "x"))
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["y", " pass"]), done.stderr


@pytest.mark.skipif(not litert_is_here(), reason="ai-edge-litert is not installed")
@pytest.mark.parametrize("io_dtype", ["float32", "int8"])
def test_golden_vectors_start_at_the_picture(tmp_path: Path, io_dtype: str) -> None:
    """Four steps, another layout, integer inputs; another mean is red."""
    bundle = image_bundle(tmp_path, "litert-cpu", io_dtype=io_dtype)
    folder = unpacked(wheel_of(bundle, tmp_path), tmp_path / "x")
    done = self_test(folder, "image_model")
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["scores", " pass"]), done.stderr
    path = folder / "image_model" / "specification.json"
    path.write_text(path.read_text().replace("0.4,\n", "3.4,\n"))
    assert self_test(folder, "image_model").returncode == 1


def test_the_steps_are_those_of_edgekit() -> None:
    """The wheel's own code against the one that releases run, on every step; bit for bit."""
    scope: dict[str, Any] = {}
    exec(compile(raw("python/preprocess.txt"), "preprocess", "exec"), scope)  # noqa: S102 - our own template
    picture = pictures(1, seed=3)[0]
    for method in ("bilinear", "nearest"):
        steps: tuple[Step, ...] = (
            Resize(op="resize", size=(9, 4), method=method),
            Bytes(op="bytes"),
            Scale(op="scale", by=1 / 3),
            Normalize(op="normalize", mean=(0.1, 0.2, 0.3), std=(1.5,)),
            Layout(op="layout", to="NCHW"),
            Cast(op="cast", dtype="int32"),
        )
        for count in range(len(steps) + 1):
            wanted = apply(picture, steps[:count])
            found = scope["preprocess"](picture, [step.model_dump(mode="json") for step in steps[:count]])
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape)
            np.testing.assert_array_equal(found, wanted)


def test_hostile_names_stay_names(tmp_path: Path) -> None:
    artifact, feeds = hostile_artifact(tmp_path / "w")
    bundle = bundle_of(tmp_path / "b", artifact, inputs=feeds, processing=Processing())
    done = self_test(unpacked(wheel_of(bundle, tmp_path), tmp_path / "x"))
    assert done.returncode == 0, done.stderr


def test_one_altered_byte_of_the_model_is_red(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"))
    wheel = wheel_of(bundle, tmp_path)
    path = "linear/model/onnxruntime-cpu.onnx"
    body = bytearray(zipfile.ZipFile(wheel).read(path))
    body[-1] ^= 1
    done = self_test(unpacked(wheel, tmp_path / "x", instead={path: bytes(body)}))
    assert done.returncode == 1
    assert "is damaged: sha256" in done.stderr


def test_other_golden_outputs_are_red(tmp_path: Path) -> None:
    """The comparison itself, with a hash that fits: a model with other weights."""
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"))
    folder = unpacked(wheel_of(bundle, tmp_path), tmp_path / "x")
    spec = json.loads((folder / "linear/specification.json").read_text())
    from edgekit.bundle.manifest import entry_of
    from tests.unit.packages.bundles import linear_onnx

    other = linear_onnx(seed=1)
    (folder / spec["files"][0]["path"].replace("model/", "linear/model/")).write_bytes(other)
    spec["files"][0] |= {"sha256": entry_of("x", other).sha256}
    (folder / "linear/specification.json").write_text(json.dumps(spec))
    done = self_test(folder)
    assert (done.returncode, done.stdout.split(":")[:2]) == (1, ["y", " FAIL"])


def test_the_runner_is_short_for_every_runtime() -> None:
    from edgekit.bundle.packages import python

    for backend in RUNTIMES:
        text = python.runner(backend, {"title": "t", "runtime": "r", "distribution": "d", "edgekit": "0"})
        compile(text, backend, "exec")
        assert len(text.splitlines()) <= MAX_RUNNER_LINES, backend


def test_requirements_are_those_of_edgekit() -> None:
    project = (ROOT / "pyproject.toml").read_text()
    for requirement in (NUMPY, *(each.requires for each in RUNTIMES.values())):
        assert f'"{requirement}"' in project


def test_the_wheel_is_one_that_pip_takes(tmp_path: Path) -> None:
    """RECORD lists every file with its hash; names and tags are those of the format."""
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"), name="Linear.Model", version="2-beta")
    wheel = wheel_of(bundle, tmp_path)
    assert wheel.name == "linear_model-0+2.beta-py3-none-any.whl"
    with zipfile.ZipFile(wheel) as archive:
        listed = {line.split(",")[0] for line in archive.read(archive.namelist()[-1]).decode().splitlines()}
        assert listed == set(archive.namelist())
        assert b"Requires-Dist: onnxruntime" in archive.read("linear_model-0+2.beta.dist-info/METADATA")
    flags = ["-q", "--no-deps", "--no-index", "--target", str(tmp_path / "t")]
    done = subprocess.run(
        [sys.executable, "-m", "pip", "install", *flags, str(wheel)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert self_test(tmp_path / "t", "linear_model").returncode == 0


@pytest.mark.parametrize("backend", ["onnxruntime", "litert"])
def test_it_runs_in_an_empty_environment(tmp_path: Path, backend: str) -> None:
    """Nothing of edgekit's own environment is there: NumPy and the one runtime that the wheel requires."""
    if backend == "litert" and not litert_is_here():
        pytest.skip("ai-edge-litert is not installed")
    if backend == "litert":
        bundle, name = image_bundle(tmp_path, "litert-cpu"), "image_model"
    else:
        bundle, name = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w")), "linear"
    wheel = wheel_of(bundle, tmp_path)
    # the versions of this environment: what is tested is the wheel, not the newest runtime
    pinned = [f"{each}=={version(each)}" for each in ("numpy", RUNTIMES[backend].requires.split(">")[0])]
    python = str(environment(*pinned))
    flags = ("-q", "--disable-pip-version-check", "--no-index", "--force-reinstall", "--no-deps")
    subprocess.run([python, "-m", "pip", "install", *flags, str(wheel)], check=True)
    subprocess.run([python, "-m", "pip", "check"], check=True, capture_output=True)
    run = [python, "-I", "-m", name, "--self-test"]
    done = subprocess.run(run, capture_output=True, text=True, cwd=tmp_path)
    assert (done.returncode, "pass" in done.stdout) == (0, True), done.stderr
    code = "import importlib.util as u; print(u.find_spec('edgekit'))"
    found = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True)
    assert found.stdout.strip() == "None"


def test_a_name_that_is_no_identifier_is_refused(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "b", onnx_artifact(tmp_path / "w"))
    for hostile in ("import", "a-b", "x;import os", "", "1x"):
        if hostile:
            with pytest.raises(InputError, match="no identifier"):
                wheel_of(bundle, tmp_path, name=hostile)
    assert wheel_of(bundle, tmp_path, name="fine").name.startswith("fine-")


def test_names_become_identifiers() -> None:
    cases = {"Digits-CNN 2.0": "digits_cnn_2_0", "class": "class_", "9lives": "m9lives", "--": "model"}
    assert {name: names.identifier(name) for name in cases} == cases
    assert names.distribution("A__b..C") == "a-b-c"
    assert names.semantic_version("1.0") == (
        "0.0.0-v1-0",
        "version 1.0 is no semantic version: the package has 0.0.0-v1-0",
    )
    assert names.semantic_version("1.2.3-rc.1+x")[1] == ""
    assert names.python_version("1!2.0rc1.post2")[1] == ""


def test_the_zip_depends_on_names_and_contents_only() -> None:
    files = {"b/x": b"1", "a": b"2", "z": b"3"}
    one = deterministic_zip.to_bytes(files, last=("a",))
    assert one == deterministic_zip.to_bytes(dict(reversed(list(files.items()))), last=("a",))
    assert zipfile.ZipFile(io.BytesIO(one)).namelist() == ["b/x", "z", "a"]
