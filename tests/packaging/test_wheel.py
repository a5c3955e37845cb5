"""The wheel, outside the checkout, without any optional package: what `pip install edgekit` gives.

The wheel is built once, unpacked beside the base dependencies of this environment, and run with an import
blocker for all extras, from a folder that is not the checkout.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXTRAS = (
    *("torch", "tensorflow", "keras", "tf2onnx", "openvino", "ai_edge_litert", "flatbuffers"),
    *("sklearn", "PIL", "jinja2", "safetensors", "scipy", "h5py"),
)

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {EXTRAS!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}} (blocked by the test)", name=name)
        return None
sys.meta_path.insert(0, Blocker())
"""


@dataclass(frozen=True)
class Installed:
    """An unpacked wheel and an empty working folder."""

    site: Path
    work: Path
    wheel: Path

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """``edgekit ARGUMENTS`` as a stranger's process."""
        return self.python("-m", "edgekit", *arguments, cwd=cwd)

    def python(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Python with the wheel first on its path and all extras blocked."""
        environment = {
            **os.environ,
            "PYTHONPATH": str(self.site),
            "EDGEKIT_CACHE": str(self.work / "cache"),
            "HOME": str(self.work),
        }
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=cwd or self.work,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    dist, site, work = (tmp_path_factory.mktemp(name) for name in ("dist", "site", "work"))
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(dist), str(ROOT)],
        check=True,
        capture_output=True,
    )
    wheel = next(dist.glob("*.whl"))
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    (site / "sitecustomize.py").write_text(BLOCKER)
    return Installed(site, work, wheel)


def test_the_package_runs_from_the_wheel_and_the_blocker_blocks(installed: Installed) -> None:
    done = installed.python("-c", "import edgekit; print(edgekit.__file__)")
    assert done.stdout.startswith(str(installed.site))
    for name in ("torch", "tensorflow", "openvino", "ai_edge_litert"):
        assert "blocked by the test" in installed.python("-c", f"import {name}").stderr


def test_targets_and_calibration_sets_are_in_the_wheel(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    for folder in ("targets", "calibration"):
        for path in (ROOT / folder).iterdir():
            assert f"edgekit/_shipped/{folder}/{path.name}" in names
    assert "edgekit/_examples/digits-cnn/digits-cnn.onnx" in names
    assert not any(name.startswith(("models/", "tests/", "benchmarks/")) for name in names)


def test_the_wheel_finds_its_own_copies_and_the_checkout_its_own(installed: Installed) -> None:
    code = "from edgekit._resources import shipped; print(shipped('targets'))"
    assert installed.python("-c", code).stdout.strip() == str(
        installed.site / "edgekit" / "_shipped" / "targets"
    )
    here = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=installed.work
    )
    assert here.stdout.strip() == str(ROOT / "targets")


def test_every_module_imports_without_any_extra(installed: Installed) -> None:
    code = (
        "import importlib, pkgutil, edgekit\n"
        "names = [m.name for m in pkgutil.walk_packages(edgekit.__path__, 'edgekit.')]\n"
        "[importlib.import_module(n) for n in names if not n.endswith('__main__')]\n"
        "print(len(names))"
    )
    done = installed.python("-W", "error", "-c", code)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 80


def test_the_example_runs_the_main_job_with_the_base_install(installed: Installed) -> None:
    folder = installed.work / "example"
    assert installed.run("init", str(folder), "--example", "digits-cnn").returncode == 0
    done = installed.run("release", "--format", "json", "-o", "dist", cwd=folder)
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout)
    (target,) = result["targets"]
    accuracy = next(c for c in target["candidates"] if c["role"] == "candidate")["accuracy"]
    assert accuracy["samples"] == 899
    assert accuracy["drop_high_pp"] <= 1.0
    assert installed.run("verify", "dist/digits-cnn-1.0.0", cwd=folder).returncode == 0


def test_quantize_compile_validate_bench_run_with_the_base_install(installed: Installed) -> None:
    import numpy as np

    folder = installed.work / "verbs"
    folder.mkdir()
    from edgekit.preprocess import Layout, Resize, Scale, Step, apply

    example = ROOT / "edgekit" / "_examples" / "digits-cnn"
    steps: list[Step] = [
        Resize(op="resize", size=(28, 28)),
        Scale(op="scale", by=1 / 16),
        Layout(op="layout", to="NCHW"),
    ]
    for name in ("calibration", "evaluation"):
        with np.load(example / f"{name}.npz") as raw:
            arrays = {k: v for k, v in raw.items() if k != "image"}
            images = np.stack([apply(image, steps) for image in raw["image"]])
        np.savez(folder / f"{name}.npz", allow_pickle=False, image=images, **arrays)
    (folder / "m.onnx").write_bytes((example / "digits-cnn.onnx").read_bytes())
    commands = [
        "quantize m.onnx --calibration-data calibration.npz --target onnxruntime-cpu -o q.onnx",
        "compile q.onnx --target onnxruntime-cpu -o out",
        "validate out/q-0-onnxruntime-cpu-w8a8.onnx --reference m.onnx --data evaluation.npz --max-drop 1.0",
        "bench m.onnx out/q-0-onnxruntime-cpu-w8a8.onnx --budget 1s",
    ]
    for command in commands:
        done = installed.run(*command.split(), cwd=folder)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize(("target", "extra"), [("litert-cpu", "litert"), ("openvino-cpu", "openvino")])
def test_a_target_without_its_runtime_names_the_install_line(
    installed: Installed, target: str, extra: str
) -> None:
    model = ROOT / "edgekit" / "_examples" / "digits-cnn" / "digits-cnn.onnx"
    done = installed.run("compile", str(model), "--target", target, "-o", "nothing")
    assert done.returncode == 6, done.stderr
    assert f'pip install "edgekit[{extra}]"' in done.stderr
    assert not (installed.work / "nothing").exists()


def test_the_version_is_said_once() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
    assert "version" in project["project"]["dynamic"]
