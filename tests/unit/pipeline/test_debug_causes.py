"""`debug` names the cause on real runtimes: one small CNN (``tapped_models``, seed 5), one fault in each.

The whole suite, on real models, is benchmarks/debug_faults.py.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx_ir as ir
import pytest

import edgekit
from edgekit.ir import io
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
