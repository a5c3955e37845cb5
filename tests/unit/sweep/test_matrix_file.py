"""MATRIX.toml: what it refuses, in which words, and which rows it stands for."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from pathlib import Path

import pytest

from edgekit.errors import RecipeError, UnknownNameError
from edgekit.pipeline.sweep import matrix_file
from edgekit.pipeline.sweep.rows import Planned, planned
from tests.unit.sweep import tiny

TODAY = date(2026, 1, 1)


def _planned(path: Path) -> Planned:
    return planned(matrix_file.load(path), path=path, today=TODAY)


@dataclass(frozen=True)
class Wrong:
    id: str
    text: str
    said: str


WRONG = (
    Wrong("key", 'recipe = "a"', "recipe: unknown key; did you mean recipes"),
    Wrong("nested key", "[options]\nthread = [1]", "options.thread: unknown key; did you mean threads"),
    Wrong("threads", "[options]\nthreads = [0]", "threads are 1 or more"),
    Wrong("precision", '[options]\nprecision = ["w9"]', "options.precision.0"),
    Wrong("twice", "[options]\nthreads = [2, 2]", "2 is named twice"),
    Wrong("rounds", "[run]\nrounds = 3", "run.rounds: Input should be greater than or equal to 10"),
    Wrong("device name", '[[device]]\nname = "compile"', "is what workers announce that compile"),
    Wrong("no targets", '[[device]]\nname = "a"\ntargets = []', "device.0.targets"),
    Wrong("devices", '[[device]]\nname = "a"\n[[device]]\nname = "a"', "has two devices 'a'"),
)


@pytest.mark.parametrize("wrong", WRONG, ids=lambda each: each.id)
def test_what_is_wrong_is_said(wrong: Wrong, tmp_path: Path) -> None:
    path = tmp_path / "m.toml"
    path.write_text('schema = 1\nrecipes = ["r.toml"]\n' + wrong.text)
    with pytest.raises(RecipeError) as raised:
        matrix_file.load(path)
    assert wrong.said in raised.value.what


def test_no_file_and_no_toml(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="cannot be read"):
        matrix_file.load(tmp_path / "none.toml")
    (tmp_path / "m.toml").write_text("schema = ")
    with pytest.raises(RecipeError, match="is not TOML"):
        matrix_file.load(tmp_path / "m.toml")


def test_the_cells_of_the_matrix(tmp_path: Path) -> None:
    rows = _planned(tiny.write(tmp_path)).rows
    assert len(rows) == 24
    assert len({row.id for row in rows}) == 24
    assert rows[0].id == "one~onnxruntime-cpu~fp32~t1@local"
    two = next(row for row in rows if row.id == "two~litert-cpu~w8a8~t2@local")
    table = two.plan.recipe.target[0]
    assert (table.threads, table.precision, table.budget.max_size_bytes) == (2, "w8a8", 100), "R3"


def test_r1_what_a_target_does_not_have_is_left_out_and_said(tmp_path: Path) -> None:
    matrix = tiny.MATRIX.replace('["fp32", "w8a8"]', '["bf16", "fp32"]')
    matrix = matrix.replace("[options]", 'targets = ["litert-cpu", "openvino-cpu"]\n[options]')
    found = _planned(tiny.write(tmp_path, matrix=matrix))
    assert "one: litert-cpu has no bf16" in found.left_out
    assert not any(row.precision == "bf16" and row.target.name == "litert-cpu" for row in found.rows)
    nowhere = tiny.MATRIX.replace('["fp32", "w8a8"]', '["bf16"]')
    path = tiny.write(tmp_path / "x", matrix=nowhere + '[[exclude]]\ntarget = "none"\n')
    path.write_text(path.read_text().replace("[options]", 'targets = ["litert-cpu"]\n[options]'))
    with pytest.raises(RecipeError, match="no target has precision bf16"):
        _planned(path)


def test_r2_auto_is_the_whole_ladder(tmp_path: Path) -> None:
    head = 'schema = 1\nrecipes = ["models/one.toml"]\ntargets = ["litert-cpu"]\n'
    matrix = head + '[options]\nprecision = ["auto"]\n'
    rows = _planned(tiny.write(tmp_path, matrix=matrix)).rows
    assert str(rows[0].precision) == "fp32"
    assert "w8a8" in {str(row.precision) for row in rows}
    assert len(rows) > 3


def test_r4_devices_share_what_is_made(tmp_path: Path) -> None:
    devices = '[[device]]\nname = "pi4"\n[[device]]\nname = "pi5"\ntargets = ["litert-*"]\n'
    rows = _planned(tiny.write(tmp_path, matrix=tiny.MATRIX + devices)).rows
    assert len(rows) == 24 + 12
    assert len({row.unit for row in rows}) == 24
    assert {row.target.name for row in rows if row.device.name == "pi5"} == {"litert-cpu"}


def test_excluded_cells(tmp_path: Path) -> None:
    matrix = (
        tiny.MATRIX
        + '[[exclude]]\nrecipe = "one"\nprecision = "w8a8"\n[[exclude]]\ntarget = "lite*"\nthreads = 2\n'
    )
    rows = _planned(tiny.write(tmp_path, matrix=matrix)).rows
    assert len(rows) == 24 - 6 - 3
    assert not any(row.source.name == "one" and row.precision == "w8a8" for row in rows)
    path = tiny.write(tmp_path / "x", matrix=tiny.MATRIX + '[[exclude]]\ntarget = "*"\n')
    with pytest.raises(RecipeError, match="has no row"):
        _planned(path)


def test_r5_pruning_is_an_axis_and_never_by_a_measured_speed(tmp_path: Path) -> None:
    axis = tiny.MATRIX.replace("threads = [1, 2, 3]", 'prune = ["none", { keep = 0.5 }, { pattern = "2:4" }]')
    rows = _planned(tiny.write(tmp_path, matrix=axis)).rows
    assert len(rows) == 24
    assert {row.prune for row in rows} == {"", "keep0.5", "2of4"}
    assert {row.group for row in rows if row.source.name == "one"} == {"one", "one~keep0.5", "one~2of4"}
    fast = tiny.MATRIX.replace("threads = [1, 2, 3]", "prune = [{ speedup = 1.5 }]")
    with pytest.raises(RecipeError, match="a speed is measured"):
        _planned(tiny.write(tmp_path / "fast", matrix=fast))
    path = tiny.write(tmp_path / "recipe")
    recipe = path.parent / "models" / "one.toml"
    recipe.write_text(recipe.read_text().replace("[optimize]", "[optimize]\nprune = { speedup = 1.5 }"))
    with pytest.raises(RecipeError, match="prunes for a speed"):
        _planned(path)
    path.write_text(path.read_text().replace("[options]", '[options]\nprune = ["none"]'))
    assert len(_planned(path).rows) == 24


def test_an_unknown_target(tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    path.write_text(path.read_text().replace("[options]", 'targets = ["litert-cpo"]\n[options]'))
    with pytest.raises(UnknownNameError, match="litert-cpo"):
        _planned(path)


def test_a_recipe_named_twice_and_two_recipes_of_one_model(tmp_path: Path) -> None:
    path = tiny.write(tmp_path)
    text = path.read_text()
    path.write_text(text.replace('"models/two.toml"', '"models/../models/one.toml"'))
    with pytest.raises(RecipeError, match="is named twice"):
        _planned(path)
    two = tmp_path / "models" / "two.toml"
    two.write_text(two.read_text().replace('name = "two"', 'name = "one"', 1))
    path.write_text(text)
    assert {row.source.name for row in _planned(path).rows} == {"one-models-one", "one-models-two"}
