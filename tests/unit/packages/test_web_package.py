"""The ES module: both runtimes in headless Chromium and ONNX Runtime in Node give the golden outputs.

The npm packages come by ``npm ci`` from the package's own lock into the cache folder. Without Node, npm,
Chromium or a registry the tests skip with the reason; REQUIRE_ALL=1 makes that a failure.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.backends.litert.fix_batch import with_fixed_batch
from edgekit.backends.litert.tables import parse
from edgekit.bundle.packages import load
from edgekit.bundle.packages.base import Options, Source
from edgekit.bundle.packages.web import MODULES
from edgekit.bundle.processing import Processing
from edgekit.errors import ExitCode, InputError, ModelFileError, VerificationError
from edgekit.pipeline import package as packaging
from edgekit.pipeline.package import Wanted, package
from edgekit.pipeline.result.package import PackageRow
from edgekit.spec import Silent
from tests.unit.packages.bundles import bundle_of, hostile_artifact, onnx_artifact
from tests.unit.packages.images import image_bundle, litert_is_here
from tests.unit.packages.mobile_bundle import absent
from tests.unit.packages.npm_modules import node_modules
from tests.unit.report.headless_browser import find, started

pytestmark = pytest.mark.skipif(not litert_is_here(), reason="ai-edge-litert is not installed")
WAIT_S = 120  # a slow machine compiles 14 MB of wasm; nothing is asserted about time


def made(bundle: Path, out: Path, *targets: str, name: str = "") -> PackageRow:
    return package(bundle, wanted=(Wanted("web", targets, name),), out=out, progress=Silent()).packages[0]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return image_bundle(tmp_path_factory.mktemp("web"), "onnxruntime-cpu", "litert-cpu")


@pytest.fixture
def folder(bundle: Path, tmp_path: Path) -> Path:
    row = made(bundle, tmp_path)
    assert row.path is not None, row.reason
    return row.path


@pytest.fixture(scope="module")
def modules() -> Path:
    return node_modules()


@contextmanager
def served(folder: Path, modules: Path) -> Iterator[str]:
    command = ["node", str(folder / "demo" / "serve.mjs"), "--port", "0", "--modules", str(modules)]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    try:
        yield server.stdout.readline().strip()
    finally:
        server.terminate()
        server.wait(30)
        server.stdout.close()


def shown(folder: Path, modules: Path, profile: Path, *, picture: Path | None = None) -> dict[str, Any]:
    """What the demo page found in headless Chromium."""
    chromium = find()
    if chromium is None:
        absent("no Chromium is installed")
    with served(folder, modules) as url, started(chromium, profile) as browser:
        browser.call(
            "Emulation.setDeviceMetricsOverride", width=900, height=500, deviceScaleFactor=1, mobile=False
        )
        browser.call("Page.navigate", url=url)
        end = time.monotonic() + WAIT_S
        found = None
        while not found and time.monotonic() < end:
            time.sleep(0.2)
            found = browser.value("window.result && JSON.stringify(window.result)")
        assert found, browser.problems
        assert browser.value("crossOriginIsolated") is True
        if picture is not None:
            picture.write_bytes(browser.picture())
        result: dict[str, Any] = json.loads(found)
        return {**result, "verdict": browser.value("document.getElementById('verdict').textContent")}


def test_both_runtimes_give_the_golden_outputs_in_a_browser(
    folder: Path, modules: Path, tmp_path: Path
) -> None:
    picture = tmp_path / "demo.png"
    found = shown(folder, modules, tmp_path / "profile", picture=picture)
    assert (found["ok"], found["verdict"]) == (True, "pass"), found
    assert set(found["runtimes"]) == {"onnxruntime", "litert"}
    for rows in found["runtimes"].values():
        assert [(row["output"], row["unit"], row["ok"]) for row in rows] == [("scores", "steps", True)]
        assert rows[0]["difference"] <= rows[0]["allowed"]
    assert picture.stat().st_size > 5_000  # an empty page of that size has 2 kB


@pytest.mark.parametrize(("backend", "suffix"), [("onnxruntime", ".onnx"), ("litert", ".tflite")])
def test_an_altered_byte_is_red_on_the_page(
    folder: Path, modules: Path, tmp_path: Path, backend: str, suffix: str
) -> None:
    model = next((folder / "model").glob(f"*{suffix}"))
    body = bytearray(model.read_bytes())
    body[len(body) // 2] ^= 1
    model.write_bytes(bytes(body))
    found = shown(folder, modules, tmp_path / "profile")
    assert (found["ok"], found["verdict"]) == (False, "FAIL")
    assert "is damaged: sha256" in found["runtimes"][backend]
    other = "litert" if backend == "onnxruntime" else "onnxruntime"
    assert found["runtimes"][other][0]["ok"] is True


def test_bytes_go_into_litert_js(modules: Path, tmp_path: Path) -> None:
    """W1 has uint8: the file takes camera bytes, or quantized ones."""
    row = made(image_bundle(tmp_path, "litert-cpu", io_dtype="uint8"), tmp_path)
    assert row.path is not None, row.reason
    found = shown(row.path, modules, tmp_path / "profile")
    assert found["ok"] is True, found


def in_node(folder: Path, modules: Path, script: str = "self_test.mjs") -> subprocess.CompletedProcess[str]:
    if not (folder / "node_modules").exists():
        (folder / "node_modules").symlink_to(modules)
    return subprocess.run(["node", script], cwd=folder, capture_output=True, text=True)


def test_onnx_runtime_gives_the_golden_outputs_in_node(folder: Path, modules: Path) -> None:
    done = in_node(folder, modules)
    assert (done.returncode, done.stdout.split(":")[:2]) == (0, ["scores", " pass"]), done.stderr


def test_other_golden_outputs_are_red_in_node(folder: Path, modules: Path) -> None:
    """The comparison itself: the hash fits, the values do not."""
    golden = folder / "golden" / "onnxruntime-0.bin"
    before = golden.read_bytes()
    after = (np.frombuffer(before, "<f4") + np.float32(10)).tobytes()
    golden.write_bytes(after)
    path = folder / "specification.js"
    old, new = (hashlib.sha256(body).hexdigest() for body in (before, after))
    path.write_text(path.read_text().replace(old, new))
    done = in_node(folder, modules)
    assert (done.returncode, done.stdout.split(":")[:2]) == (1, ["scores", " FAIL"]), done.stderr


def test_a_changed_step_is_red_in_node(folder: Path, modules: Path) -> None:
    """Golden vectors start at the raw sample: another mean is seen."""
    path = folder / "specification.js"
    text = path.read_text()
    assert "0.4,\n" in text
    path.write_text(text.replace("0.4,\n", "3.4,\n"))
    assert in_node(folder, modules).returncode == 1


def test_package_json_names_exact_versions(folder: Path) -> None:
    package_json = json.loads((folder / "package.json").read_text())
    lock = json.loads((folder / "package-lock.json").read_text())
    assert set(package_json["dependencies"]) == set(MODULES.values())
    for name, version in package_json["dependencies"].items():
        assert version[0].isdigit()
        assert lock["packages"][f"node_modules/{name}"]["version"] == version
        assert "resolved" not in lock["packages"][f"node_modules/{name}"]  # no registry's address


def test_the_lock_holds_what_one_runtime_needs(bundle: Path, tmp_path: Path) -> None:
    row = made(bundle, tmp_path, "litert-cpu")
    assert row.path is not None
    lock = json.loads((row.path / "package-lock.json").read_text())
    assert set(lock["packages"]) == {"", "node_modules/@litertjs/core", "node_modules/@litertjs/wasm-utils"}
    assert not (row.path / "self_test.mjs").exists()
    assert "self_test" not in (row.path / "package.json").read_text()


def test_integer_inputs_are_refused_with_the_remedy(tmp_path: Path) -> None:
    """W1: alone it is a refusal, beside ONNX Runtime a note."""
    bundle = image_bundle(tmp_path / "x", "litert-cpu", io_dtype="int8")
    row = made(bundle, tmp_path)
    assert row.exit_code is ExitCode.TARGET_REFUSES
    assert 'write io_dtype = "float32"' in row.reason


def test_what_is_left_out_is_said(tmp_path: Path) -> None:
    bundle = bundle_of(
        tmp_path / "b",
        onnx_artifact(tmp_path / "w"),
        onnx_artifact(tmp_path / "w", target="gpu-cuda", device="cuda"),
    )
    row = made(bundle, tmp_path)
    assert row.path is not None
    assert [each.target for each in row.artifacts] == ["onnxruntime-cpu"]
    assert row.notes == ()  # another of the same back end went in


def test_hostile_names_stay_strings(tmp_path: Path, modules: Path) -> None:
    """A name in an .onnx is anything; in generated code it is a string, never code."""
    artifact, feeds = hostile_artifact(tmp_path / "w")
    bundle = bundle_of(tmp_path / "b", artifact, inputs=feeds, processing=Processing())
    row = made(bundle, tmp_path)
    assert row.path is not None
    done = in_node(row.path, modules)
    assert done.returncode == 0, done.stderr
    assert "</script" not in (row.path / "specification.js").read_text()
    with pytest.raises(InputError, match="no name on npm"):
        made(bundle, tmp_path, name='x", "scripts": {"postinstall": "rm"}')


def test_a_free_batch_is_closed_in_place(bundle: Path) -> None:
    body = next((bundle / "artifacts").glob("*.tflite")).read_bytes()
    fixed = with_fixed_batch(body, name="m")
    assert len(fixed) == len(body)
    assert [each.open_axes for each in parse(body, name="m")[0][0].inputs] == [(0,)]
    assert not any(each.open_axes for each in parse(fixed, name="m")[0][0].tensors)
    assert with_fixed_batch(fixed, name="m") == fixed
    with pytest.raises(ModelFileError):
        with_fixed_batch(b"no model", name="m")


def test_a_file_that_computes_something_else_is_not_packaged(bundle: Path, tmp_path: Path) -> None:
    """Sabotage: what closes the batch gives the file of other weights."""
    other = next((image_bundle(tmp_path, "litert-cpu", seed=7) / "artifacts").glob("*.tflite")).read_bytes()
    source = Source.at(bundle)
    tools = replace(
        packaging.tools(), fixed_batch=lambda content, *, name: with_fixed_batch(other, name=name)
    )
    with pytest.raises(VerificationError, match="does not compute what litert-cpu computed on release"):
        load("web").files(source, source.manifest.targets, options=Options(tools=tools))


def test_the_types_parse() -> None:
    """No TypeScript compiler is at hand: the declaration's braces are balanced and it names every export."""
    from edgekit.bundle.packages.templates import raw

    types, code = raw("web/index.d.ts.txt"), raw("web/index.js")
    assert types.count("{") == types.count("}")
    for name in ("loadOnnxRuntime", "loadLiteRt", "selfTest", "preprocess", "specification"):
        assert re.search(rf"export declare (function|const) {name}\b", types)
        assert re.search(rf"\b{name}\b", code)
