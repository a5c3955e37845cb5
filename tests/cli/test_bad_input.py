"""Bad input, through the command line: one clear message, its exit code, and no partial output.

Every sentence of "bad input" in the recipe's life is a case: what is wrong, which command, what must be said.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.cli.main import run

SEED = 5
CLASSES = 4


def write_model(path: Path, *, op: str = "Relu", domain: str = "") -> None:
    """(batch, 6) -> Gemm -> ``op`` -> (batch, 4)."""
    rng = np.random.default_rng(SEED)
    weight = numpy_helper.from_array(rng.normal(size=(6, CLASSES)).astype(np.float32), "w")
    graph = helper.make_graph(
        [
            helper.make_node("Gemm", ["x", "w"], ["h"], name="dense"),
            helper.make_node(op, ["h"], ["y"], name="last", domain=domain),
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", CLASSES])],
        [weight],
    )
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=10), path)


Arrays = dict[str, npt.NDArray[Any]]


def write_data(path: Path, **changes: npt.NDArray[Any]) -> None:
    rng = np.random.default_rng(SEED)
    arrays: Arrays = {
        "x": rng.normal(size=(40, 6)).astype(np.float32),
        "labels": rng.integers(0, CLASSES, 40),
    }
    arrays.update(changes)
    np.savez(path, allow_pickle=False, **arrays)


RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
calibration = { source = "data.npz" }
evaluation = { source = "data.npz" }
[optimize]
quantize = { precision = "w8a8" }
[budget]
max_drop_pp = 50.0
[[target]]
name = "onnxruntime-cpu"
"""


@pytest.fixture
def work(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    write_model(folder / "m.onnx")
    write_data(folder / "data.npz")
    (folder / "edgekit.toml").write_text(RECIPE)
    return folder


def unlabelled(folder: Path, **changes: npt.NDArray[Any]) -> None:
    rng = np.random.default_rng(SEED)
    arrays: Arrays = {"x": rng.normal(size=(40, 6)).astype(np.float32), **changes}
    np.savez(folder / "cal.npz", allow_pickle=False, **arrays)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def external(folder: Path) -> None:
    """A weight that claims to lie outside the model's folder."""
    model = onnx.load(folder / "m.onnx")
    weight = model.graph.initializer[0]
    (folder.parent / "secret.bin").write_bytes(weight.raw_data)
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    entry = weight.external_data.add()
    entry.key, entry.value = "location", "../secret.bin"
    (folder / "m.onnx").write_bytes(model.SerializeToString())


def nan_at(row: int) -> npt.NDArray[Any]:
    x = np.random.default_rng(SEED).normal(size=(40, 6)).astype(np.float32)
    x[row, 2] = np.nan
    return x


def edit(old: str, new: str) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        assert old in RECIPE
        (folder / "edgekit.toml").write_text(RECIPE.replace(old, new))

    return change


def nothing(folder: Path) -> None:
    del folder


def file_in_the_way(folder: Path) -> None:
    (folder / "dist").write_text("a file, not a folder")


@dataclass(frozen=True)
class Case:
    """What is wrong, the command, the exit code, and what the message must hold."""

    id: str
    spoil: Callable[[Path], object]
    command: str
    exit_code: int
    says: str


QUANTIZE = "quantize m.onnx --calibration-data cal.npz --target onnxruntime-cpu -o out/q.onnx"
VALIDATE = "validate m.onnx --reference m.onnx --data data.npz --max-drop 50"

CASES = [
    Case("missing model", nothing, "compile no.onnx --target onnxruntime-cpu -o out", 2, "no.onnx"),
    Case("missing recipe", nothing, "release no/edgekit.toml -o out", 2, "edgekit init"),
    Case("missing data", nothing, QUANTIZE, 2, "cal.npz does not exist"),
    Case("missing artifact", nothing, "bench no.onnx", 2, "does not exist"),
    Case("missing bundle", nothing, "verify no-bundle", 2, "no-bundle"),
    Case("missing bundle to package", nothing, "package no-bundle --for python", 2, "no-bundle"),
    Case("unknown kind of package", nothing, "package no-bundle --for pyhton", 2, "did you mean python"),
    Case("empty model", lambda d: (d / "m.onnx").write_bytes(b""), QUANTIZE, 2, "empty"),
    Case("truncated model", lambda d: truncate(d / "m.onnx"), "inspect m.onnx", 2, "m.onnx"),
    Case("external data outside", external, "inspect m.onnx", 2, "secret.bin"),
    Case("unknown target", nothing, "compile m.onnx --target onnxruntime-cpi -o out", 2, "onnxruntime-cpu"),
    Case(
        "unknown target in the recipe",
        edit('"onnxruntime-cpu"', '"litert"'),
        "release -o out",
        2,
        "litert-cpu",
    ),
    Case("unknown recipe key", edit("max_drop_pp", "max_drop"), "release -o out", 2, "max_drop_pp"),
    Case("unknown verb", nothing, "quantise m.onnx", 2, "quantize"),
    Case("unknown flag", nothing, QUANTIZE + " --metod minmax", 2, "--met"),
    Case("unknown precision", unlabelled, QUANTIZE + " --precision int8", 2, "w8a8"),
    Case(
        "wrong name",
        lambda d: np.savez(d / "cal.npz", allow_pickle=False, z=np.zeros((4, 6), np.float32)),
        QUANTIZE,
        2,
        "['x']",
    ),
    Case("wrong shape", lambda d: unlabelled(d, x=np.zeros((4, 7), np.float32)), QUANTIZE, 2, "(7,)"),
    Case("wrong dtype", lambda d: unlabelled(d, x=np.zeros((4, 6))), QUANTIZE, 2, "float64"),
    Case("zero samples", lambda d: unlabelled(d, x=np.zeros((0, 6), np.float32)), QUANTIZE, 2, "no samples"),
    Case("NaN samples", lambda d: unlabelled(d, x=nan_at(7)), QUANTIZE, 2, "sample 7"),
    Case(
        "labels of another length",
        lambda d: write_data(d / "data.npz", labels=np.zeros(39, np.int64)),
        VALIDATE,
        2,
        "39 labels",
    ),
    Case(
        "no labels",
        lambda d: np.savez(d / "data.npz", allow_pickle=False, x=np.zeros((4, 6), np.float32)),
        VALIDATE,
        2,
        "labels",
    ),
    Case(
        "an operator that the target lacks",
        lambda d: write_model(d / "m.onnx", op="QuickGelu", domain="com.microsoft"),
        "compile m.onnx --target litert-cpu -o out",
        5,
        "QuickGelu",
    ),
    Case(
        "an operator that nobody knows",
        lambda d: write_model(d / "m.onnx", op="Frobnicate"),
        "compile m.onnx --target onnxruntime-cpu -o out",
        2,
        "Frobnicate",
    ),
    # nobody can make a folder there, not even the superuser that CI runs as
    Case(
        "an unwritable output folder",
        nothing,
        "compile m.onnx --target onnxruntime-cpu -o /proc/edgekit",
        2,
        "cannot be written",
    ),
    Case("an output folder that is a file", file_in_the_way, "release -o dist", 2, "dist"),
    Case(
        "a precision that the target lacks",
        edit("[[target]]", '[[target]]\nprecision = "fp16"'),
        "release -o out",
        2,
        "has no fp16",
    ),
    Case("an accuracy budget that is missed", nothing, VALIDATE + " --max-drop -1", 2, "max"),
    Case(
        "no ranges file",
        nothing,
        "quantize m.onnx --ranges m.onnx --target portable -o out/q.onnx",
        2,
        "m.onnx",
    ),
    Case(
        "int8 without data",
        nothing,
        "quantize m.onnx --target portable -o out/q.onnx",
        2,
        "--calibration-data",
    ),
    Case("init over a file", nothing, "init .", 2, "edgekit.toml"),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_bad_input(work: Path, case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    case.spoil(work)
    before = snapshot(work)
    code = run(case.command.split())
    shown = capsys.readouterr()
    assert code == case.exit_code, shown.err
    assert case.says in shown.err
    assert "Traceback" not in shown.err
    assert "next:" in shown.err
    assert snapshot(work) == before, "something was written"


def snapshot(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_the_good_input_passes(work: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Sabotage of the matrix itself: unspoilt, the same commands succeed."""
    unlabelled(work)
    for command in (QUANTIZE, VALIDATE, "release -o out", "compile m.onnx --target onnxruntime-cpu -o out"):
        assert run(command.split()) == 0, capsys.readouterr().err
