"""Weights that are made anew of a large model lie in a file without a name; others stay where they are."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.ir import external_data
from edgekit.ir.set_aside import SMALLEST_BYTES, Aside, computed, set_aside, workspace
from edgekit.spec import Array
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


def test_what_is_worked_in_is_a_copy_wherever_it_lies(monkeypatch: pytest.MonkeyPatch) -> None:
    small = workspace(ARRAY, of=_model())
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    large = workspace(ARRAY, of=_model())
    assert (is_mapped(small), is_mapped(large)) == (False, True)
    for each in (small, large):
        each[0, 0] += 1
        assert np.array_equal(each[1:], ARRAY[1:])
    assert ARRAY[0, 0] == 0


def test_what_a_large_model_becomes_is_no_small_one_yet(monkeypatch: pytest.MonkeyPatch) -> None:
    """A quarter of what is large: pruned, or in int8. Sabotage: below it, all stays in memory."""
    size = 4 * 8 * 8
    monkeypatch.setattr(external_data, "LARGE_BYTES", 4 * size)
    assert is_mapped(set_aside(ARRAY, of=_model()))
    monkeypatch.setattr(external_data, "LARGE_BYTES", 4 * size + 4)
    assert set_aside(ARRAY, of=_model()) is ARRAY


@pytest.mark.parametrize("large", [True, False])
def test_batches_of_a_value_are_the_same_arrays_in_a_few_files(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small ones, one as large as a file, an empty one, a last short one. Sabotage: a small model's stay."""
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8 if large else 2**40)
    given = [ARRAY[:3], ARRAY[3:60], ARRAY, ARRAY[:0], ARRAY[60:62].T, np.full((), 7, np.float32)]
    held = Aside(of=_model())
    for each in given:
        held.add(each)
    found = held.arrays()
    assert [each.shape for each in found] == [each.shape for each in given]
    assert all(np.array_equal(one, other) for one, other in zip(found, given, strict=True))
    assert [is_mapped(each) for each in found] == [large] * 6


def test_batches_without_a_number_need_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8)
    held = Aside(of=_model())
    held.add(ARRAY[:0])
    assert [each.shape for each in held.arrays()] == [ARRAY[:0].shape]


@pytest.mark.parametrize("large", [True, False])
def test_a_large_model_is_run_to_its_end_before_another_is_opened(
    large: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(external_data, "LARGE_BYTES", 8 if large else 2**40)
    said: list[str] = []

    def outputs() -> Iterator[tuple[int, dict[str, Array]]]:
        for number in range(2):
            said.append(f"run {number}")
            yield number, {"y": ARRAY + number}
        said.append("closed")

    for number, batch in computed(outputs(), of=_model()):
        said.append(f"use {number}")
        assert np.array_equal(batch["y"], ARRAY + number)
        assert is_mapped(batch["y"]) == large
    in_turn = ["run 0", "run 1", "closed", "use 0", "use 1"]
    assert said == (in_turn if large else ["run 0", "use 0", "run 1", "use 1", "closed"])
