"""No verb writes anything into the user's home, XDG folders or temporary folder, or sends anything.

ONNX Runtime and OpenVINO do both unless told not to (``settings``). Each verb runs as a process of its own,
with their switches turned on, on a small model with three runtimes; folders are compared before and after.

    U  no XDG folder and no EDGEKIT_CACHE is set: nothing appears but <home>/.cache/edgekit. Every verb
    S  they are set: nothing appears in any of them but the cache. What would go there goes below the home
       without them, where U sees it: so here only verbs that start the runtimes, or read the cache
"""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.cli.main import VERBS

ROOT = Path(__file__).parents[2]
XDG = ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME", "XDG_STATE_HOME", "XDG_RUNTIME_DIR")
BUNDLE, DATA = "dist/tiny-1", "evaluation.npz"

RECIPE = """schema = 1
[model]
name = "tiny"
version = "1"
source = "tiny.onnx"
[data]
calibration = { source = "calibration.npz" }
evaluation = { source = "evaluation.npz", metric = "top1" }
[optimize]
quantize = { precision = "fp32", restore = "none" }
[budget]
max_drop_pp = 50.0
[[target]]
name = "onnxruntime-arm64"
[[target]]
name = "qnn-check"
"""
MATRIX = """schema = 1
recipes = ["edgekit.toml"]
"""


@dataclass(frozen=True)
class Case:
    """What a verb is given, and the exit codes with which it has done its work."""

    arguments: tuple[str, ...]
    codes: frozenset[int] = field(default_factory=lambda: frozenset({0}))


def case(text: str, *codes: int) -> Case:
    return Case(tuple(text.split()), frozenset(codes or (0,)))


# in the order in which one needs what another has written
CASES: dict[str, Case] = {
    "init": case("other --example digits-cnn"),
    "schema": case("recipe"),
    "targets": case(""),
    "doctor": case(""),
    "export": case("tiny.onnx -o exported.onnx"),
    "calibrate": case("tiny.onnx --calibration-data calibration.npz -o ranges.json"),
    "quantize": case("tiny.onnx --target portable --precision w8a8 --ranges ranges.json -o q.onnx"),
    "compile": case("q.onnx --target onnxruntime-cpu --target openvino-cpu --target litert-cpu -o out"),
    "validate": case(f"out --reference tiny.onnx --data {DATA} --max-drop 60", 0, 3, 7),
    "debug": case(f"out/q-0-onnxruntime-cpu-w8a8.onnx --reference tiny.onnx --data {DATA} --samples 8"),
    "bench": case("out/q-0-onnxruntime-cpu-w8a8.onnx out/q-0-openvino-cpu-w8a8.xml --budget 1s", 0, 7),
    "prune": case("tiny.onnx --calibration-data calibration.npz --keep 0.7 -o pruned.onnx", 0, 3, 4, 7),
    "release": case("edgekit.toml -o dist"),
    "verify": case(BUNDLE),
    "inspect": case(BUNDLE),
    "package": case(f"{BUNDLE} --for ort-mobile -o packages"),
    "diff": case(f"{BUNDLE} {BUNDLE}", 0, 7),
    "sweep": case("matrix.toml -o swept --jobs 1", 0, 3, 4, 5, 6, 7),
    "clean": case("", 0),
}

AGAIN: dict[str, Case] = {  # of S
    "compile": case("tiny.onnx --target onnxruntime-cpu --target openvino-cpu --target litert-cpu -o out"),
    "bench": case("out/tiny-0-onnxruntime-cpu-fp32.onnx out/tiny-0-openvino-cpu-fp32.xml --budget 1s", 0, 7),
    "release": CASES["release"],
    "clean": CASES["clean"],
}


def tiny() -> onnx.ModelProto:
    """Two dense layers, 8 -> 64 -> 3."""
    rng = np.random.default_rng(0)
    arrays = {
        "w": rng.standard_normal((64, 8)).astype(np.float32),
        "b": np.zeros(64, np.float32),
        "v": rng.standard_normal((3, 64)).astype(np.float32),
        "c": np.zeros(3, np.float32),
    }
    nodes = [
        helper.make_node("Gemm", ["x", "w", "b"], ["h"], name="first", transB=1),
        helper.make_node("Relu", ["h"], ["r"], name="relu"),
        helper.make_node("Gemm", ["r", "v", "c"], ["y"], name="second", transB=1),
    ]
    graph = helper.make_graph(
        nodes,
        "tiny",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 3])],
        [numpy_helper.from_array(array, name) for name, array in arrays.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)


@dataclass(frozen=True)
class User:
    """Somebody's folders: where the work is, and what must stay as it is."""

    work: Path
    watched: tuple[Path, ...]
    cache: Path
    environment: dict[str, str]

    def runs(
        self, verb: str, arguments: tuple[str, ...], *, boot: str = ""
    ) -> subprocess.CompletedProcess[str]:
        """``edgekit VERB ARGUMENTS``; ``boot`` is code that runs before it."""
        code = f"{boot}\nfrom edgekit.cli.main import main\nmain()"
        command = [sys.executable, "-c", code, verb, *arguments]
        return subprocess.run(command, cwd=self.work, env=self.environment, capture_output=True, text=True)

    def appeared(self) -> set[str]:
        """Everything in the watched folders but the cache."""
        found = (path for folder in self.watched for path in folder.rglob("*"))
        above = {self.cache, *self.cache.parents}
        return {str(path) for path in found if path not in above and self.cache not in path.parents}


def user(folder: Path, *, xdg: bool) -> User:
    """S or U, with a model and data; the switches of the runtimes' telemetry are on."""
    work, home, temporary = folder / "work", folder / "home", folder / "tmp"
    for each in (work, home, temporary):
        each.mkdir()
    environment = {
        name: value for name, value in os.environ.items() if name not in {*XDG, "CI", "EDGEKIT_CACHE"}
    }
    environment |= {
        "HOME": str(home),
        "TMPDIR": str(temporary),
        "PYTHONPATH": str(ROOT),
        "ORT_DISABLE_TELEMETRY": "0",
    }
    watched, cache = [home, temporary], home / ".cache" / "edgekit"
    if xdg:
        for name in XDG:
            (folder / name).mkdir(mode=0o700)
            environment[name] = str(folder / name)
            watched.append(folder / name)
        cache = folder / "kept"
        environment["EDGEKIT_CACHE"] = str(cache)
    onnx.save(tiny(), work / "tiny.onnx")
    x = np.random.default_rng(1).standard_normal((48, 8)).astype(np.float32)
    np.savez(work / "calibration.npz", x=x)
    truth = np.maximum(x @ numpy_helper.to_array(tiny().graph.initializer[0]).T, 0)
    labels = (truth @ numpy_helper.to_array(tiny().graph.initializer[2]).T).argmax(axis=1)
    np.savez(work / DATA, x=x + np.float32(0.01), labels=labels)
    (work / "edgekit.toml").write_text(RECIPE)
    (work / "matrix.toml").write_text(MATRIX)
    return User(work, tuple(watched), cache, environment)


@pytest.fixture(scope="module")
def somebody(tmp_path_factory: pytest.TempPathFactory) -> User:
    return user(tmp_path_factory.mktemp("user"), xdg=False)


@pytest.fixture(scope="module")
def with_folders(tmp_path_factory: pytest.TempPathFactory) -> User:
    return user(tmp_path_factory.mktemp("folders"), xdg=True)


def test_every_verb_has_a_case() -> None:
    """A new verb without one is red here."""
    assert set(CASES) == set(VERBS)


@pytest.mark.parametrize("verb", CASES)
def test_a_verb_leaves_nothing_behind(somebody: User, verb: str) -> None:
    leaves_nothing(somebody, verb, CASES[verb])


@pytest.mark.parametrize("verb", AGAIN)
def test_nothing_is_left_in_folders_that_are_named(with_folders: User, verb: str) -> None:
    leaves_nothing(with_folders, verb, AGAIN[verb])


def leaves_nothing(who: User, verb: str, given: Case) -> None:
    before = who.appeared()
    done = who.runs(verb, given.arguments)
    assert done.returncode in given.codes, f"{done.stdout}\n{done.stderr}"
    assert who.appeared() - before == set()


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "openvino-cpu"])
def test_without_the_switches_the_home_does_not_stay_empty(tmp_path: Path, target: str) -> None:
    """Sabotage: what ``settings`` sets is taken away, and the very same comparison is red."""
    who = user(tmp_path, xdg=False)
    del who.environment["ORT_DISABLE_TELEMETRY"]
    boot = """
from edgekit import settings
settings.QUIET_NATIVE_ENVIRONMENT.clear()
settings.QUIET_WORKER_ENVIRONMENT.clear()
"""
    done = who.runs("compile", ("tiny.onnx", "--target", target, "-o", "out"), boot=boot)
    assert done.returncode == 0, done.stderr
    assert who.appeared() != set()
