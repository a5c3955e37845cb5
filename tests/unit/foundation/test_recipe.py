"""edgekit.toml: what is accepted, what is refused, and with which words."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from edgekit import recipe
from edgekit.errors import RecipeError
from edgekit.spec import Precision

GOOD = """
schema = 1
[model]
name = "digits-cnn"
version = "1.0.0"
source = "model.py:build"
inputs = [{ name = "image", dtype = "float32", shape = ["batch", 1, 28, 28] }]
[data]
calibration = { source = "digits", split = "train", samples = 256 }
evaluation = { source = "digits", split = "test", metric = "top1" }
preprocess = [{ op = "resize", size = [28, 28] }, { op = "layout", to = "NCHW" }]
[optimize]
quantize = { precision = "w8a8" }
[budget]
max_drop_pp = 1.0
[[target]]
name = "onnxruntime-cpu"
"""


def test_a_good_recipe_gets_its_defaults() -> None:
    found = recipe.parse(GOOD, name="r")
    assert found.optimize.quantize.precision is Precision.W8A8
    assert found.budget.never_slower is True
    assert found.budget.on_inconclusive == "error"
    assert found.model.inputs[0].spec().shape == ("batch", 1, 28, 28)


def test_the_resolved_recipe_reads_back_as_itself() -> None:
    import json

    found = recipe.parse(GOOD, name="r")
    assert recipe.Recipe.model_validate(json.loads(found.resolved_json())) == found


@dataclass(frozen=True)
class Bad:
    """One edit of the good recipe, and what the message must say."""

    id: str
    old: str
    new: str
    message: str


BAD = [
    Bad("unknown key", "max_drop_pp", "max_drop", "did you mean max_drop_pp"),
    Bad("unknown table", "[budget]", "[budgets]", "did you mean budget"),
    Bad("unknown key in an array", 'name = "onnxruntime-cpu"', 'nam = "x"', "did you mean name"),
    Bad("unknown metric", '"top1"', '"top2"', "top1"),
    Bad("unknown precision", '"w8a8"', '"int8"', "w8a8"),
    Bad("wrong type", "samples = 256", 'samples = "many"', "samples"),
    Bad("zero samples", "samples = 256", "samples = 0", "greater than or equal to 1"),
    Bad("other schema", "schema = 1", "schema = 2", "schema"),
    Bad("no target", '[[target]]\nname = "onnxruntime-cpu"', "", "target"),
    Bad("a target twice", "[[target]]", '[[target]]\nname = "onnxruntime-cpu"\n[[target]]', "twice"),
    Bad("no TOML", "schema = 1", "schema = = 1", "not TOML"),
    Bad("unknown step", '"resize"', '"rotate"', "preprocess"),
    Bad("a name that breaks file names", '"digits-cnn"', '"../x"', "name"),
]


@pytest.mark.parametrize("case", BAD, ids=lambda case: case.id)
def test_bad_recipes_are_refused(case: Bad) -> None:
    assert case.old in GOOD
    with pytest.raises(RecipeError) as caught:
        recipe.parse(GOOD.replace(case.old, case.new, 1), name="r.toml")
    assert "r.toml" in caught.value.what
    assert case.message in str(caught.value)
    assert caught.value.remedy


def test_all_errors_come_at_once() -> None:
    text = GOOD.replace("max_drop_pp", "max_drop").replace('"top1"', '"top2"')
    with pytest.raises(RecipeError, match="has 2 errors"):
        recipe.parse(text, name="r")


def test_a_missing_recipe_names_init(tmp_path: Path) -> None:
    with pytest.raises(RecipeError) as caught:
        recipe.load(tmp_path / "edgekit.toml")
    assert "edgekit init" in caught.value.remedy


def test_a_folder_stands_for_its_recipe(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(GOOD)
    assert recipe.load(tmp_path).model.name == "digits-cnn"
