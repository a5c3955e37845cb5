"""Which steps `bench --recipe` times: all, or those in front of an artifact that does the rest itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from edgekit.pipeline.embedding import steps_for
from edgekit.preprocess import Bytes, Cast, Layout, Resize, Scale, Step
from edgekit.recipe import parse
from edgekit.spec import Artifact, Dim, IoBinding, Precision, RunOptions, TensorSpec

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "m.onnx"
[data]
evaluation = { source = "e.npz", metric = "top1" }
preprocess = [
  { op = "resize", size = [6, 6] },
  { op = "bytes" },
  { op = "scale", by = 0.5 },
  { op = "layout", to = "NCHW" },
]
[[target]]
name = "onnxruntime-cpu"
"""
BEFORE: tuple[Step, ...] = (Resize(op="resize", size=(6, 6)), Bytes(op="bytes"))
ALL: tuple[Step, ...] = (*BEFORE, Scale(op="scale", by=0.5), Layout(op="layout", to="NCHW"))


@dataclass(frozen=True)
class Case:
    id: str
    dtype: str
    shape: tuple[Dim, ...]
    steps: tuple[Step, ...]
    sample: tuple[int, ...] = (9, 9, 3)


CASES = (
    Case("nothing-inside", "float32", ("n", 3, 6, 6), ALL),
    Case("bytes", "uint8", ("n", 6, 6, 3), BEFORE),
    Case("floats", "float32", ("n", 6, 6, 3), (*BEFORE, Cast(op="cast", dtype="float32"))),
    Case("grey", "uint8", ("n", 6, 6, 1), BEFORE, sample=(9, 9)),
    Case("another-model", "float32", ("n", 5), ALL),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_steps(case: Case) -> None:
    spec = TensorSpec("x", case.dtype, case.shape)
    artifact = Artifact(
        folder=Path(),
        files=(),
        target="t",
        backend="b",
        precision=Precision.FP32,
        options=RunOptions(),
        inputs=(IoBinding(spec, "x", case.dtype, case.shape),),
        outputs=(),
    )
    assert steps_for(parse(RECIPE, name="r"), artifact, {"x": np.zeros(case.sample, np.uint8)}) == case.steps
