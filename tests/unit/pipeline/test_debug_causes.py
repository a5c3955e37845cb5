"""`debug` names the cause on real runtimes: one small CNN (``tapped_models``, seed 5), one fault in each.

The whole suite, on real models, is benchmarks/debug_faults.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.ir import io
from edgekit.passes import canonicalize
from edgekit.pipeline.result import CauseRow
from tests.unit.backends.tapped_models import TARGETS, make, prepare

PEAK = 3.0  # of "wide", a Relu's output: an eighth of it clips, 32 times of it is coarse


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    place = tmp_path_factory.mktemp("causes")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEKIT_CACHE", str(place / "cache"))
        prepare(place)
        yield place


def causes(folder: Path, artifact: Path, *, apply: Path | None = None) -> tuple[CauseRow, ...]:
    found = edgekit.debug(
        artifact, reference=folder / "float.onnx", data=str(folder / "data.npz"), apply=apply
    )
    (row,) = found.rows
    return row.causes


@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.parametrize(
    ("high", "cause"), [(PEAK / 16, "range-clipped"), (PEAK * 64, "range-too-wide")], ids=lambda value: value
)
def test_a_range_that_does_not_fit_is_named(folder: Path, target: str, high: float, cause: str) -> None:
    found = causes(folder, make(folder, target, ranges={"wide": (0.0, high)}))
    assert found[0].name == cause
    assert found[0].where == "wide"
    assert found[0].edit


@pytest.mark.parametrize("target", ["onnxruntime-cpu", "litert-cpu"])
def test_padding_at_another_side_is_named(folder: Path, target: str) -> None:
    """Sabotage: the pads of one Conv of the QDQ file, compiled as any other file."""
    make(folder, target)
    model = io.load(folder / f"{target}.onnx")
    (node,) = (node for node in model.graph if node.op_type == "Conv" and "strides" in node.attributes)
    node.attributes["pads"] = ir.AttrInt64s("pads", [2, 2, 0, 0])
    wrong = folder / f"{target}-pads.onnx"
    io.save(model, wrong)
    artifact = edgekit.compile(wrong, target=target, out=folder / f"{target}-pads")
    found = causes(folder, artifact.path)
    assert found[0].name == "padding-mode"
    assert found[0].where == "half"
    assert not found[0].edit  # no recipe can repair a file


def test_a_healthy_artifact_has_no_cause(folder: Path) -> None:
    assert causes(folder, make(folder, "onnxruntime-cpu")) == ()


RECIPE = """
schema = 1
[model]
name = "cnn"
version = "1"
source = "float.onnx"
[data]
calibration = { source = "data.npz" }
evaluation = { source = "labelled.npz", metric = "top1" }
[optimize]
quantize = { precision = "w8a8" }
[[optimize.override]]
nodes = "NODE"
[budget]
max_drop_pp = 100
never_slower = false
[[target]]
name = "onnxruntime-cpu"
"""


def test_an_operator_that_the_recipe_keeps_in_float_has_not_fallen_back(folder: Path) -> None:
    """Sabotage: a bundle whose recipe asks for no such exception (Q1)."""
    model = canonicalize(io.load(folder / "float.onnx"))
    node = next(node.name for node in model.graph if node.op_type == "Conv")
    with edgekit.open(folder / "float.onnx") as session:
        feeds = dict(np.load(folder / "data.npz"))
        scores = session.run(feeds)[session.outputs[0].name]
    np.savez(folder / "labelled.npz", labels=scores.reshape(len(scores), -1).argmax(axis=1), **feeds)
    recipe = folder / "edgekit.toml"
    recipe.write_text(RECIPE.replace("NODE", str(node)), "utf-8")
    result = edgekit.release(recipe, out=folder / "dist")
    assert result.bundle is not None
    bundle = Path(result.bundle)
    assert causes(folder, bundle) == ()
    said = json.loads((bundle / "recipe.json").read_text("utf-8"))
    said["optimize"]["override"] = []
    (bundle / "recipe.json").write_text(json.dumps(said), "utf-8")
    assert [cause.name for cause in causes(folder, bundle)] == ["float-fallback"]
