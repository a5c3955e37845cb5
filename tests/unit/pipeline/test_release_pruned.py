"""[optimize] prune in a release: one pruned model, quantized, proved against the unpruned one, and locked."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import get_args

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.bundle import manifest
from edgekit.errors import ExitCode, RecipeError, VerificationError
from edgekit.ir import io
from edgekit.ir.digest import digest
from edgekit.pipeline import lock as locks
from edgekit.pipeline.prune import for_release
from edgekit.pipeline.prune.speedometer import Speedometer
from edgekit.pipeline.prune.width_search import WidthSearch
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import ReleaseResult
from edgekit.pruning.importance import Method
from edgekit.recipe import Importance, parse
from edgekit.report import render, render_text
from edgekit.spec import Silent

EXAMPLE = Path(edgekit.__file__).parent / "_examples" / "digits-cnn"
RECIPE = """
schema = 1
[model]
name = "digits"
version = "1"
source = "digits-cnn.onnx"
[data]
calibration = {{ source = "calibration.npz", samples = 128 }}
evaluation = {{ source = "evaluation.npz", metric = "top1" }}
preprocess = [
  {{ op = "resize", size = [28, 28], method = "bilinear" }},
  {{ op = "scale", by = 0.0625 }},
  {{ op = "layout", to = "NCHW" }},
]
[optimize]
prune = {{ {prune} }}
quantize = {{ precision = "{precision}", restore = "none" }}
[budget]
max_drop_pp = {budget}
never_slower = false
[[target]]
name = "onnxruntime-cpu"
threads = 1
"""


def recipe(folder: Path, *, prune: str, precision: str = "w8a8", budget: float = 6.0) -> Path:
    path = folder / "edgekit.toml"
    path.write_text(RECIPE.format(prune=prune, precision=precision, budget=budget))
    return path


def data(folder: Path) -> Path:
    for name in ("digits-cnn.onnx", "calibration.npz"):
        shutil.copy(EXAMPLE / name, folder)
    with np.load(EXAMPLE / "evaluation.npz") as raw:
        np.savez(folder / "evaluation.npz", allow_pickle=False, **{n: raw[n][:300] for n in raw.files})
    return folder


def run(path: Path, out: str = "dist", *, dry_run: bool = False, use_cache: bool = True) -> ReleaseResult:
    here = path.parent
    return release(
        path,
        out=here / out,
        cache_dir=here / "cache",
        progress=Silent(),
        dry_run=dry_run,
        use_cache=use_cache,
    )


@pytest.fixture(scope="module")
def released(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, ReleaseResult]:
    here = data(tmp_path_factory.mktemp("pruned"))
    done = run(recipe(here, prune='keep = 0.6, repair = "layers"'))
    assert done.exit_code is ExitCode.OK, [row.reason for row in done.targets]
    return here, done


def test_each_step_says_what_it_cost_and_gave(released: tuple[Path, ReleaseResult]) -> None:
    first, second, third = released[1].optimized
    steps = [(row.step, row.label, row.shipped) for row in (first, second, third)]
    assert steps == [
        ("float", "fp32", False),
        ("pruned", "fp32-pruned", False),
        ("quantized", "w8a8-pruned", True),
    ]
    assert second.size_bytes < 0.6 * first.size_bytes
    assert third.size_bytes < 0.5 * second.size_bytes
    assert second.smaller == pytest.approx(first.size_bytes / second.size_bytes)
    for before, after in ((first, second), (second, third)):
        assert before.accuracy is not None
        assert after.accuracy is not None
        assert after.cost == pytest.approx(after.accuracy.drop_pp - before.accuracy.drop_pp, abs=1e-6)
        assert after.faster is not None
        assert after.latency is not None
    assert first.ratio is None
    assert third.ratio is not None
    assert second.faster is not None
    assert third.faster is not None
    assert second.faster * third.faster == pytest.approx(1 / third.ratio.value)


def test_the_drift_matrix_goes_over_the_pruned_form(released: tuple[Path, ReleaseResult]) -> None:
    assert [(row.first, row.second, row.step) for row in released[1].matrix] == [
        ("ONNX float", "onnxruntime-cpu fp32", "runtime"),
        ("onnxruntime-cpu fp32", "onnxruntime-cpu fp32-pruned", "pruning"),
        ("onnxruntime-cpu fp32-pruned", "onnxruntime-cpu w8a8-pruned", "quantization"),
        ("ONNX float", "onnxruntime-cpu w8a8-pruned", "whole"),
    ]


def test_reports_have_the_table(released: tuple[Path, ReleaseResult]) -> None:
    result = released[1]
    for text in (render_text(result), render(result, "markdown"), render(result, "html")):
        for said in (
            "Step by step",
            "→ fp32-pruned",
            "→ w8a8-pruned, ships",
            "step: smaller",
        ):
            assert said in text.replace("&#x27;", "'")
    assert '"optimized"' in render(result, "json")
    assert "Widths" in render(result, "html")
    assert "Widths" not in render_text(result)


def test_the_bundle_says_that_it_was_pruned_and_verifies(released: tuple[Path, ReleaseResult]) -> None:
    bundle = released[0] / "dist" / "digits-1"
    (entry,) = manifest.load(bundle).targets
    actions = [step.action for step in entry.provenance]
    assert actions == ["canonicalized", "pruned", "quantized", "compiled"]
    for before, after in zip(entry.provenance, entry.provenance[1:], strict=False):
        assert before.outputs[-1] in after.inputs
    assert edgekit.verify(bundle).exit_code is ExitCode.OK


def test_the_lock_is_followed_to_the_byte_without_solving_again(
    released: tuple[Path, ReleaseResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    """R1: no cache, and nothing is pruned: the file beside the lock is the model."""
    here, _ = released

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was pruned again")

    monkeypatch.setattr(for_release, "pruned", never)
    again = run(here / "edgekit.toml", "again", use_cache=False)
    assert again.lock == "followed"
    one, other = (here / name / "digits-1" / "manifest.json" for name in ("dist", "again"))
    assert one.read_bytes() == other.read_bytes()
    assert [row.label for row in again.optimized] == ["fp32", "fp32-pruned", "w8a8-pruned"]


def test_sabotage_another_model_beside_the_lock_is_refused(released: tuple[Path, ReleaseResult]) -> None:
    """One weight of the kept file is changed; then it is removed."""
    here, _ = released
    path = here / for_release.NAME
    whole = path.read_bytes()
    model = io.load(path)
    value = next(each for each in model.graph.initializers.values() if each.const_value is not None)
    assert value.const_value is not None
    changed = value.const_value.numpy().copy()
    changed.flat[0] += 1
    value.const_value = ir.tensor(changed, name=value.name)
    path.unlink()
    io.save(model, path)
    try:
        with pytest.raises(VerificationError, match="is another model"):
            run(here / "edgekit.toml", "other", use_cache=False)
        path.unlink()
        with pytest.raises(VerificationError, match="is not there") as caught:
            run(here / "edgekit.toml", "other", use_cache=False)
        assert "--update" in caught.value.remedy
    finally:
        path.write_bytes(whole)


def test_it_is_out_of_the_cache_the_second_time(
    released: tuple[Path, ReleaseResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    here, done = released

    def never(*_: object, **__: object) -> None:
        raise AssertionError("it was pruned again")

    monkeypatch.setattr(for_release, "pruned", never)
    lock = locks.read(here / "edgekit.toml")
    assert lock is not None
    assert lock.pruned is not None
    assert digest(io.load(here / for_release.NAME)) == lock.pruned.graph
    again = release(
        here / "edgekit.toml",
        out=here / "updated",
        cache_dir=here / "cache",
        progress=Silent(),
        update=True,
        dry_run=True,
    )
    assert again.pruning == done.pruning


def test_pruning_that_breaks_the_budget_ships_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """S6 of search: the float form, which would pass, does not ship. 300 samples may not decide."""
    monkeypatch.setattr(Speedometer, "speeds", lambda *_: ())  # no part of this test, and it takes time
    done = run(recipe(data(tmp_path), prune='keep = 0.05, repair = "layers"', precision="fp32", budget=0.1))
    assert done.exit_code in {ExitCode.ACCURACY_GATE, ExitCode.INCONCLUSIVE}
    assert done.bundle is None
    assert done.targets[0].reason.startswith("fp32-pruned ")
    assert "the accuracy gate" in done.targets[0].reason
    assert not (tmp_path / locks.NAME).exists()
    assert not (tmp_path / for_release.NAME).exists()


def test_a_speed_that_cannot_be_had_fails_every_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """R5; the table of widths is made up, so that nothing has to be measured."""
    monkeypatch.setattr(WidthSearch, "measure", lambda self: None)
    done = run(recipe(data(tmp_path), prune="speedup = 50"))
    assert done.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert done.targets[0].chosen is None
    assert "at least 50 times" in done.targets[0].reason
    assert "pruning" in render_text(done)
    assert done.optimized == ()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ("", "one of speedup, keep, sparsity and pattern is needed"),
        ("keep = 0.5, speedup = 2.0", "it has speedup and keep"),
        ("speedup = 1.0", "prune.speedup"),
        ('pattern = "2-4"', "prune.pattern"),
        ("sparsity = 0.5, recover = 3", "zeros are refined together anyway"),
        ("keep = 0.5, require_speedup = true", "require_speedup goes with sparsity or pattern"),
        ("kept = 0.5, keep = 0.5", "did you mean keep"),
    ],
)
def test_a_table_that_makes_no_sense_is_refused(table: str, said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        parse(RECIPE.format(prune=table, precision="w8a8", budget=1.0), name="r")


def test_without_calibration_data_there_is_nothing_to_learn_from(tmp_path: Path) -> None:
    path = recipe(data(tmp_path), prune="keep = 0.5", precision="fp32")
    lines = [line for line in path.read_text().splitlines() if not line.startswith("calibration")]
    path.write_text("\n".join(lines))
    with pytest.raises(RecipeError, match="needs \\[data\\] calibration"):
        run(path, dry_run=True)


def test_the_recipe_and_the_stage_know_the_same_ways_to_order_channels() -> None:
    assert get_args(Importance) == get_args(Method)
