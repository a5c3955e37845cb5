"""Weights that are made anew of a large model lie in a file without a name; others stay where they are."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import external_data
from edgekit.ir.set_aside import SMALLEST_BYTES, set_aside
from tests.unit.ir.mapped import is_mapped
from tests.unit.litert.litert_models import Model, as_ir


def _model() -> ir.Model:
    m = Model()
    return as_ir(m.build(m.add("MatMul", m.input("x", ("N", 8)), m.weight(8, 8))))


ARRAY = np.arange(SMALLEST_BYTES // 4, dtype=np.float32).reshape(64, -1)


def test_of_a_large_model_an_array_goes_to_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    found = set_aside(ARRAY.T, of=_model())
    assert is_mapped(found)
    assert not found.flags.writeable
    assert np.array_equal(found, ARRAY.T)
    if os.name == "posix":
        assert not list(tmp_path.iterdir())


def test_small_arrays_and_those_of_small_models_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set_aside(ARRAY, of=_model()) is ARRAY
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    small = ARRAY[:1]
    assert set_aside(small, of=_model()) is small
