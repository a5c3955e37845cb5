"""`edgekit compile` imports what it needs: half of a small model's time was imports that it never used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import onnx
import pytest
from onnx import helper

from edgekit.ir import io
from edgekit.passes import canonicalize

# each takes 5 to 200 ms and has no part in compiling a float model that is canonical already
UNUSED = (
    "sympy.core",
    "onnxscript",
    "onnx.reference",
    "onnxruntime",
    "multiprocessing",
    "rich",
    "numpy.testing",
    "html",
    "edgekit.calibration",
    "edgekit.dataset",
    "edgekit.recipe",
    "edgekit.quantization.restore",
    "edgekit.backends.onnxruntime",
    "edgekit.backends.worker",
    "edgekit.backends.litert.profile",
    "edgekit.pipeline.result",
    "edgekit.frontends.torch",
    "edgekit.frontends.keras",
    "edgekit.report.html",
    "edgekit.report.view_release",
)


def written(path: Path, nodes: list[onnx.NodeProto]) -> Path:
    value = helper.make_tensor_value_info
    kind = onnx.TensorProto.FLOAT
    graph = helper.make_graph(nodes, "g", [value("x", kind, [1, 4])], [value("y", kind, [1, 4])])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


def imported(model: Path, folder: Path) -> set[str]:
    """All modules of the process at its end; ``-X importtime`` does not see importlib.import_module."""
    flags = ["--target", "litert-cpu", "-q", "-o", str(folder / "out"), "--cache-dir", str(folder / "cache")]
    code = (
        "import sys; from edgekit.cli.main import run\n"
        f"assert run({['compile', str(model), *flags]!r}) == 0\n"
        "print('modules', *sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return set(done.stdout.splitlines()[-1].split()[1:])


def among(names: tuple[str, ...], found: set[str]) -> set[str]:
    return {name for name in names if any(each == name or each.startswith(f"{name}.") for each in found)}


def test_a_canonical_model_needs_none_of_these(tmp_path: Path) -> None:
    pytest.importorskip("ai_edge_litert")
    path = written(tmp_path / "one.onnx", [helper.make_node("Relu", ["x"], ["y"], name="relu")])
    io.save(canonicalize(io.load(path)), path)
    found = imported(path, tmp_path)
    assert "edgekit.backends.litert.backend" in found, "the list of imports is read wrongly"
    assert among(UNUSED, found) == set()


def test_they_are_seen_where_they_are_needed(tmp_path: Path) -> None:
    """A Shape is folded, by onnxscript, and the file is not canonical: it is proved on ONNX Runtime."""
    pytest.importorskip("ai_edge_litert")
    nodes = [helper.make_node("Shape", ["x"], ["s"]), helper.make_node("Reshape", ["x", "s"], ["y"])]
    found = imported(written(tmp_path / "two.onnx", nodes), tmp_path)
    needed = {"onnxscript", "onnx.reference", "multiprocessing", "edgekit.backends.onnxruntime"}
    assert needed <= among(UNUSED, found)
