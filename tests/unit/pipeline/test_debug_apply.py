"""Remedies -> edgekit.toml: the key changes, comments and everything else stay."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit import recipe as recipes
from edgekit.errors import RecipeError
from edgekit.pipeline.debug.apply import applied
from edgekit.validation.diagnose.evidence import RecipeEdit

RECIPE = """\
schema = 1   # of the format

[model]
name = "net"
version = "1.0.0"
source = "model.onnx"

[data]
evaluation = { source = "digits", split = "test" }
calibration = { source = "digits" }

# what may be done
[optimize]
quantize = { precision = "w8a8", method = "percentile" }   # ranges

[[target]]
name = "litert-cpu"   # the phone
"""
METHOD = RecipeEdit(("optimize", "quantize", "method"), "minmax")
KEEP = RecipeEdit(("optimize", "override"), {"nodes": "node_conv_3", "precision": "fp32"})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    place = tmp_path / "edgekit.toml"
    place.write_text(RECIPE, "utf-8")
    return place


def test_a_key_changes_and_nothing_else_does(path: Path) -> None:
    assert applied(path, [METHOD]) == ('optimize.quantize.method = "minmax"',)
    assert path.read_text("utf-8") == RECIPE.replace('"percentile"', '"minmax"')


def test_an_override_is_added_and_read_back(path: Path) -> None:
    assert applied(path, [KEEP]) == ('optimize.override = { nodes = "node_conv_3", precision = "fp32" }',)
    (row,) = recipes.load(path).optimize.override
    assert (row.nodes, row.precision) == ("node_conv_3", "fp32")
    for comment in ("# of the format", "# what may be done", "# ranges", "# the phone"):
        assert comment in path.read_text("utf-8")


def test_overrides_add_up(path: Path) -> None:
    other = RecipeEdit(KEEP.path, {"nodes": "node_add_7", "precision": "fp32"})
    assert len(applied(path, [KEEP, other])) == 2
    assert [row.nodes for row in recipes.load(path).optimize.override] == ["node_conv_3", "node_add_7"]


def test_what_is_there_already_is_not_written_again(path: Path) -> None:
    applied(path, [KEEP, METHOD])
    before = path.read_text("utf-8")
    assert applied(path, [KEEP, METHOD]) == ()
    assert path.read_text("utf-8") == before


def test_the_likelier_of_two_remedies_for_one_key_wins(path: Path) -> None:
    assert applied(path, [METHOD, RecipeEdit(METHOD.path, "entropy")]) == (
        'optimize.quantize.method = "minmax"',
    )
    assert recipes.load(path).optimize.quantize.method == "minmax"


def test_a_table_that_is_not_there_is_made(path: Path) -> None:
    path.write_text(RECIPE.replace("[optimize]\nquantize", "[budget]\nmax_drop_pp = 1.0\n#"), "utf-8")
    applied(path, [METHOD, KEEP])
    found = recipes.load(path).optimize
    assert (found.quantize.method, found.override[0].nodes) == ("minmax", "node_conv_3")


def test_a_remedy_that_breaks_the_recipe_is_not_written(path: Path) -> None:
    """Sabotage."""
    with pytest.raises(RecipeError, match="does not fit recipe"):
        applied(path, [RecipeEdit(("optimize", "quantize", "method"), "magic")])
    assert path.read_text("utf-8") == RECIPE


def test_a_folder_stands_for_its_recipe(path: Path) -> None:
    assert applied(path.parent, [METHOD])


def test_what_is_no_recipe_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError):
        applied(tmp_path / "edgekit.toml", [METHOD])
