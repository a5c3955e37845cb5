"""[[package]] of a recipe: checked before anything is computed, made beside the bundle, in the exit code."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import pytest

from edgekit.bundle.packages import KINDS
from edgekit.errors import ExitCode, RecipeError, UnknownNameError
from edgekit.pipeline.release import run
from edgekit.recipe import PackageKind, parse
from edgekit.spec import Silent

MODELS = Path(__file__).parents[3] / "models"


def recipe_with(folder: Path, table: str) -> Path:
    """The digits model in float for ONNX Runtime, with ``table`` at the end."""
    shutil.copytree(MODELS / "digits_cnn", folder, ignore=shutil.ignore_patterns("edgekit.lock"))
    text = (folder / "edgekit.toml").read_text()
    head = text[: text.index("[[target]]")].replace('precision = "w8a8"', 'precision = "fp32"')
    (folder / "edgekit.toml").write_text(f'{head}[[target]]\nname = "onnxruntime-cpu"\n\n{table}')
    return folder / "edgekit.toml"


def test_the_recipe_knows_the_kinds_that_there_are() -> None:
    assert set(get_args(PackageKind)) == set(KINDS)


def test_a_release_writes_its_packages_beside_the_bundle(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path / "m", '[[package]]\nfor = "python"\nname = "digits"\n')
    first = run.release(recipe, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert first.exit_code is ExitCode.OK
    assert [row.path for row in first.packages] == [tmp_path / "dist" / "digits-cnn-1.0.0-python"]
    assert (tmp_path / "dist/digits-cnn-1.0.0-python/digits-1.0.0-py3-none-any.whl").is_file()
    # packages decide nothing about artifacts: the lock is followed without them
    text = recipe.read_text()
    recipe.write_text(text[: text.index("[[package]]")])
    again = run.release(recipe, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())
    assert (again.lock, again.packages) == ("followed", ())


def test_a_target_that_the_recipe_lacks_is_refused_at_once(tmp_path: Path) -> None:
    recipe = recipe_with(tmp_path / "m", '[[package]]\nfor = "python"\ntarget = ["litert-cpu"]\n')
    with pytest.raises(UnknownNameError, match="litert-cpu"):
        run.release(recipe, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ('[[package]]\nfor = "pithon"\n', "package.0.for"),
        ('[[package]]\nfor = "python"\n[[package]]\nfor = "python"\n', "two \\[\\[package\\]\\]"),
        ('[[package]]\nfro = "python"\n', "did you mean for"),
    ],
)
def test_what_makes_no_sense_is_refused(tmp_path: Path, table: str, says: str) -> None:
    text = recipe_with(tmp_path / "m", table).read_text()
    with pytest.raises(RecipeError, match=says):
        parse(text, name="r")


def test_a_kind_that_no_target_serves_is_refused_at_once(tmp_path: Path) -> None:
    """P1."""
    recipe = recipe_with(tmp_path / "m", '[[package]]\nfor = "c"\n')
    with pytest.raises(RecipeError, match="for c has no target that it could hold"):
        run.release(recipe, out=tmp_path / "dist", cache_dir=tmp_path / "cache", progress=Silent())


def test_a_release_of_some_targets_leaves_the_others_packages_out(tmp_path: Path) -> None:
    """P3: said, and no error."""
    pytest.importorskip("ai_edge_litert", reason="ai-edge-litert is not installed")
    more = '[[target]]\nname = "litert-cpu"\n\n[[package]]\nfor = "c"\n\n[[package]]\nfor = "python"\n'
    recipe = recipe_with(tmp_path / "m", more)
    found = run.release(
        recipe,
        out=tmp_path / "dist",
        targets=("onnxruntime-cpu",),
        cache_dir=tmp_path / "cache",
        progress=Silent(),
    )
    assert found.exit_code is ExitCode.OK
    assert [row.kind for row in found.packages] == ["python"]
    assert any("no package for c" in finding for finding in found.findings)
