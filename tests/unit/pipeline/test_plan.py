"""Recipe to plan: targets, precisions, digests, and what a source's digest sees."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import RecipeError, UnknownNameError
from edgekit.pipeline import plan as plans
from edgekit.pipeline.source_digest import source_digest
from edgekit.spec import Precision

RECIPE = """
schema = 1
[model]
name = "m"
version = "1"
source = "model.py:build"
[data]
calibration = { source = "c.npz" }
evaluation = { source = "e.npz" }
[optimize]
quantize = { precision = "w8a8" }
[[target]]
name = "onnxruntime-cpu"
threads = 2
[[target]]
name = "gpu-cuda"
precision = "fp16"
"""


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    path = tmp_path / "edgekit.toml"
    path.write_text(RECIPE)
    return path


def test_targets_get_their_options_and_candidates(recipe: Path) -> None:
    plan = plans.make(recipe)
    first, second = plan.targets
    assert (first.options.threads, first.options.device) == (2, "cpu")
    assert first.candidates == (Precision.FP32, Precision.W8A8)
    assert (second.options.device, second.candidates) == ("cuda", (Precision.FP32, Precision.FP16))
    assert plan.stem == "m-1"


def test_only_keeps_the_named_targets(recipe: Path) -> None:
    assert [t.target.name for t in plans.make(recipe, only=("gpu-cuda",)).targets] == ["gpu-cuda"]
    with pytest.raises(UnknownNameError, match="litert-cpu"):
        plans.make(recipe, only=("litert-cpu",))


def test_a_precision_that_a_target_lacks_is_refused(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace('precision = "fp16"', "").replace("gpu-cuda", "gpu-torch-aoti"))
    with pytest.raises(RecipeError, match="gpu-torch-aoti has no w8a8") as caught:
        plans.make(recipe)
    assert 'precision = "fp16"' in caught.value.remedy


def test_an_unknown_target_is_refused(recipe: Path) -> None:
    recipe.write_text(RECIPE.replace("gpu-cuda", "gpu-cudda"))
    with pytest.raises(UnknownNameError) as caught:
        plans.make(recipe)
    assert "gpu-cuda" in caught.value.remedy


def test_a_callables_digest_sees_every_file_beside_it(tmp_path: Path) -> None:
    (tmp_path / "model.py").write_text("def build(): ...")
    (tmp_path / "weights.bin").write_bytes(b"1")
    before = source_digest("model.py:build", base=tmp_path)
    (tmp_path / "edgekit.lock").write_text("ours")
    (tmp_path / "__pycache__").mkdir()
    (tmp_path / "__pycache__" / "x.pyc").write_bytes(b"x")
    assert source_digest("model.py:build", base=tmp_path) == before
    (tmp_path / "weights.bin").write_bytes(b"2")
    assert source_digest("model.py:build", base=tmp_path) != before


def test_a_files_digest_sees_its_external_data(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(b"1")
    (tmp_path / "m.onnx.data").write_bytes(b"1")
    before = source_digest("m.onnx", base=tmp_path)
    (tmp_path / "m.onnx.data").write_bytes(b"2")
    assert source_digest("m.onnx", base=tmp_path) != before


def test_what_cannot_be_hashed_is_not_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "model.py").write_text("")
    assert source_digest("no_such_package_here:build", base=tmp_path) is None
    monkeypatch.setattr("edgekit.pipeline.source_digest.MAX_FILES", 0)
    assert source_digest("model.py:build", base=tmp_path) is None


def test_a_target_has_the_common_budget_with_its_own_limits_in_it(recipe: Path) -> None:
    recipe.write_text(
        RECIPE.replace("[[target]]", "[budget]\nmax_drop_pp = 2.0\nmin_coverage = 0.5\n[[target]]", 1)
        + "[target.budget]\nmax_drop_pp = 3.0\nmax_memory_bytes = 5\nnever_slower = false\n"
    )
    first, second = (each.budget for each in plans.make(recipe).targets)
    assert (first.max_drop_pp, first.min_coverage, first.max_memory_bytes) == (2.0, 0.5, None)
    assert (second.max_drop_pp, second.min_coverage, second.max_memory_bytes) == (3.0, 0.5, 5)
    assert (first.never_slower, second.never_slower) == (True, False)


def test_an_unknown_limit_of_a_target_has_its_neighbour(recipe: Path) -> None:
    recipe.write_text(RECIPE + "[target.budget]\nmax_memory = 5\n")
    with pytest.raises(RecipeError, match="did you mean max_memory_bytes"):
        plans.make(recipe)
