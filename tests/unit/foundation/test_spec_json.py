"""``to_json`` gives what pydantic gives, for every kind of value that edgekit writes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from edgekit.backends.base import IoForm
from edgekit.errors import ExitCode
from edgekit.frontends.parity import OutputParity, ParityReport
from edgekit.spec import (
    Artifact,
    FileEntry,
    IoBinding,
    Precision,
    QuantParams,
    Range,
    Ranges,
    RunOptions,
    TensorSpec,
    from_json,
    to_json,
)

BINDING = IoBinding(
    TensorSpec("x", "float32", ("batch", 3, None)),
    name="x",
    dtype="int8",
    shape=(1, 3, None),
    permutation=(0, 1, 2),
    quant=QuantParams("int8", (0.5,), (-3,)),
)
ARTIFACT = Artifact(
    folder=Path("a/b"),
    files=(FileEntry("m.tflite", "00", 3),),
    target="litert-cpu",
    backend="litert",
    precision=Precision.W8A8,
    options=RunOptions(2, "cpu", (("a", "b"),)),
    inputs=(BINDING,),
    outputs=(),
    output_steps={"y": 0.25},
)
PARITY = ParityReport(
    tolerance=1e-4,
    cases=3,
    from_data=0,
    outputs=(OutputParity("y", 1e-7, 1e-6, 2.0, None, None, None, True),),
)
RANGES = Ranges({"x": Range(-1.0, 2.0)}, "minmax", "m", "d", "p", samples=3, seed=0)
VALUES = (ARTIFACT, PARITY, RANGES, RunOptions(), IoForm("int8"), BINDING)


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_it_is_pydantics(value: Any) -> None:
    assert to_json(value) == TypeAdapter(type(value)).dump_python(value, mode="json")
    assert from_json(type(value), to_json(value)) == value


def test_enumerations_are_their_values() -> None:
    found = to_json({Precision.FP32: (ExitCode.OK, True, None)})
    assert found == {"fp32": [0, True, None]}
    assert type(next(iter(found))) is str
    assert type(found["fp32"][0]) is int


def test_what_has_no_json_form_is_an_error() -> None:
    with pytest.raises(TypeError, match="object has no JSON form"):
        to_json({"a": object()})
