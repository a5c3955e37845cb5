"""Gates through `release`: red with the right code and the right reason, green where they must not fire."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

import edgekit
from edgekit.errors import BaselineError, DataError, ExitCode, ModelFileError, VerificationError
from edgekit.ir import io
from edgekit.pipeline.init import init
from edgekit.pipeline.release.run import release
from edgekit.pipeline.result import GateRow, ReleaseResult, ValidateResult
from edgekit.report import render_release
from edgekit.spec import Array, Silent

TODAY = date(2026, 6, 1)
Released = Callable[..., ReleaseResult]


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shared: the releases of this file differ in what is judged, hardly in what is computed."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def released(tmp_path: Path, cache: Path) -> Released:
    """A release of the shipped example with another [budget]; the speed is left out, which may vary."""

    def run(budget: str = "", more: str = "", *, today: date = TODAY) -> ReleaseResult:
        return release(
            example(tmp_path / "recipe", budget=budget, more=more),
            out=tmp_path / "dist",
            cache_dir=cache,
            progress=Silent(),
            render=render_release,
            today=today,
        )

    return run


def example(folder: Path, *, budget: str = "", more: str = "") -> Path:
    """The shipped example's recipe with ``budget`` in its [budget] and ``more`` at the end."""
    recipe, original = folder / "edgekit.toml", folder / "original"
    if not recipe.exists():
        init(folder, example="digits-cnn")
        original.write_text(recipe.read_text("utf-8"), "utf-8")
    text = original.read_text("utf-8").replace("never_slower = true", "never_slower = false")
    recipe.write_text(text.replace("[budget]\n", f"[budget]\n{budget}\n") + more, "utf-8")
    return recipe


def gate(result: ReleaseResult, name: str, *, precision: str = "w8a8") -> GateRow:
    (row,) = (each for each in result.targets[0].candidates if each.name == precision)
    return next(each for each in row.gates if each.name == name)


WAIVER = """
[[waiver]]
gate = "size"
target = "onnxruntime-*"
reason = "pruned next month"
expires = 2026-06-30
"""
TOO_SMALL = "max_size_bytes = 1000"


def test_a_budget_that_is_met_is_green(released: Released) -> None:
    limits = "max_memory_bytes = 200_000_000\nmin_coverage = 1.0\nmax_size_bytes = 1_000_000"
    result = released(limits)
    assert result.exit_code is ExitCode.OK
    assert {gate(result, name).status for name in ("accuracy", "size", "memory", "coverage")} == {"pass"}
    assert result.findings == ()


def test_too_much_memory(released: Released) -> None:
    result = released("max_memory_bytes = 1000")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert "breaks the memory gate" in result.targets[0].reason


def test_too_slow(released: Released) -> None:
    result = released("max_latency_ms = 0.000_001")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert "breaks the latency gate" in result.targets[0].reason


FIRST_IN_FLOAT = """
[[optimize.override]]
nodes = "node_Conv_77"
"""


def test_too_little_of_it_runs_in_its_precision(released: Released) -> None:
    """One convolution stays float by the recipe's own wish: the gate is red, and nothing was silent."""
    result = released("min_coverage = 1.0", FIRST_IN_FLOAT)
    assert result.exit_code is ExitCode.TARGET_REFUSES
    found = gate(result, "coverage")
    assert (found.status, "node_Conv_77 (Conv, float32 on cpu)" in found.reason) == ("fail", True)
    assert result.findings == ()
    assert released("min_coverage = 0.5", FIRST_IN_FLOAT).exit_code is ExitCode.OK


def test_a_limit_of_one_target_alone(released: Released) -> None:
    result = released("max_size_bytes = 1_000_000", "\n[target.budget]\nmax_size_bytes = 1000\n")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert gate(result, "size").limit == "size <= 1000 bytes"


def test_a_waived_gate_ships_and_every_report_says_so(released: Released) -> None:
    result = released(TOO_SMALL, WAIVER)
    assert result.exit_code is ExitCode.OK
    assert gate(result, "size").status == "waived"
    assert result.bundle is not None
    for name in ("report.json", "report.md", "report.html"):
        text = (result.bundle / "report" / name).read_text("utf-8")
        assert "pruned next month" in text, name
        assert "2026-06-30" in text, name


def test_an_expired_waiver(released: Released) -> None:
    result = released(TOO_SMALL, WAIVER, today=date(2026, 7, 1))
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert "its waiver (pruned next month) expired on 2026-06-30" in gate(result, "size").reason
    assert "expired on 2026-06-30" in result.targets[0].reason
    assert result.bundle is None


def test_a_waiver_for_nothing_is_a_finding(released: Released) -> None:
    assert any("is not needed" in text for text in released("max_size_bytes = 1_000_000", WAIVER).findings)
    assert any("matches no gate" in text for text in released("", WAIVER).findings)


# --- the last release as a baseline ---------------------------------------------------------------------


@pytest.fixture(scope="module")
def last(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """The bundle of the last release."""
    folder = tmp_path_factory.mktemp("last")
    done = release(
        example(folder / "recipe"),
        out=folder,
        cache_dir=cache,
        progress=Silent(),
        render=render_release,
        today=TODAY,
    )
    assert done.bundle is not None
    return done.bundle


def against(path: Path, *, more: str = "baseline_max_latency = 100") -> str:
    return f'baseline = "{path}"\n{more}'


def test_the_same_again_is_green(released: Released, last: Path) -> None:
    result = released(against(last))
    assert result.exit_code is ExitCode.OK
    assert {gate(result, f"baseline_{name}").status for name in ("accuracy", "latency", "size")} == {"pass"}


def test_another_artifact_is_paired_with_the_baseline_and_its_growth_is_red(
    released: Released, last: Path
) -> None:
    result = released(against(last), "\nprecision = 'fp32'\n")
    assert result.exit_code is ExitCode.LATENCY_OR_SIZE_GATE
    assert gate(result, "baseline_size", precision="fp32").status == "fail"
    assert "paired: " in gate(result, "baseline_accuracy", precision="fp32").measured
    assert "size gate" in result.targets[0].reason


def test_a_report_is_a_baseline_too_and_another_machine_has_no_say(
    released: Released, last: Path, tmp_path: Path
) -> None:
    report = json.loads((last / "report" / "report.json").read_text("utf-8"))
    report["machine"]["key"] = "elsewhere"
    path = tmp_path / "last.json"
    path.write_text(json.dumps(report), "utf-8")
    result = released(against(path))
    assert result.exit_code is ExitCode.OK
    assert gate(result, "baseline_latency").status == "not_measured"
    assert "different machines" in gate(result, "baseline_latency").reason


@dataclass(frozen=True)
class Better:
    """Figures of a last release that this one cannot reach."""

    figures: str
    values: dict[str, float]
    gate: str
    code: ExitCode


BETTER = [
    Better(
        "accuracy",
        {"drop_pp": -9.0, "drop_low_pp": -9.1, "drop_high_pp": -8.9},
        "baseline_accuracy",
        ExitCode.ACCURACY_GATE,
    ),
    Better(
        "latency",
        {"p50_ms": 1e-6, "low_ms": 1e-6, "high_ms": 1e-6},
        "baseline_latency",
        ExitCode.LATENCY_OR_SIZE_GATE,
    ),
]


@pytest.mark.parametrize("case", BETTER, ids=lambda case: case.figures)
def test_worse_than_the_last_release(case: Better, released: Released, last: Path, tmp_path: Path) -> None:
    report = json.loads((last / "report" / "report.json").read_text("utf-8"))
    for row in report["targets"][0]["candidates"]:
        row["sha256"] = "0" * 64  # another file: the figures count
        row[case.figures] |= case.values
    path = tmp_path / "last.json"
    path.write_text(json.dumps(report), "utf-8")
    result = released(against(path))
    assert (result.exit_code, gate(result, case.gate).status) == (case.code, "fail")
    assert case.gate in result.targets[0].reason


def damaged(last: Path, folder: Path, member: str) -> Path:
    """A copy of the bundle in which one byte of ``member`` is another."""
    copy = folder / "damaged"
    shutil.copytree(last, copy)
    content = bytearray((copy / member).read_bytes())
    content[len(content) // 2] ^= 1
    (copy / member).write_bytes(content)
    return copy


@pytest.mark.parametrize(
    "member", ["manifest.json", "evidence.json", "report/report.json", "report/samples.npz"]
)
def test_a_damaged_baseline(member: str, released: Released, last: Path, tmp_path: Path) -> None:
    with pytest.raises(VerificationError) as caught:
        released(against(damaged(last, tmp_path, member)))
    assert caught.value.exit_code is ExitCode.VERIFICATION_FAILED
    assert member in caught.value.what


def with_schema(last: Path, folder: Path, schema: object) -> Path:
    report = json.loads((last / "report" / "report.json").read_text("utf-8"))
    path = folder / "last.json"
    path.write_text(json.dumps({**report, "schema": schema}), "utf-8")
    return path


@dataclass(frozen=True)
class Stale:
    """What is wrong with the baseline, or with the recipe that it is not of, and the reason given."""

    id: str
    says: str
    path: Callable[[Path, Path], Path] = lambda last, _: last
    edit: tuple[str, str] = ("", "")


FIRST = "edgekit/release-result/1"
STALE = [
    Stale("not there", "does not exist", lambda _, folder: folder / "none"),
    Stale(
        "older schema",
        "schema 'edgekit/release-result/1'",
        lambda a, b: with_schema(a, b, "edgekit/release-result/1"),
    ),
    Stale("another document", "schema None", lambda last, to: with_schema(last, to, None)),
    Stale(
        "another model",
        "is of model 'digits-cnn', and 'other' is",
        edit=('name = "digits-cnn"', 'name = "other"'),
    ),
    Stale(
        "other evaluation data",
        "judged on other evaluation data",
        edit=('"evaluation.npz", metric', '"evaluation.npz", samples = 300, metric'),
    ),
    Stale("another metric", "was scored by top1", edit=('metric = "top1"', 'metric = "top5"')),
]


@pytest.mark.parametrize("case", STALE, ids=lambda case: case.id)
def test_a_stale_baseline(case: Stale, last: Path, cache: Path, tmp_path: Path) -> None:
    recipe = example(tmp_path / "recipe", budget=against(case.path(last, tmp_path)))
    recipe.write_text(recipe.read_text("utf-8").replace(*case.edit), "utf-8")
    with pytest.raises(BaselineError) as caught:
        release(recipe, out=tmp_path / "dist", cache_dir=cache, progress=Silent(), today=TODAY)
    assert case.says in caught.value.what
    assert caught.value.exit_code is ExitCode.BAD_INPUT
    assert caught.value.remedy


def test_diff_pairs_two_bundles(released: Released, last: Path) -> None:
    new = released("", "\nprecision = 'fp32'\n").bundle
    assert new is not None
    found = edgekit.diff(last, new)
    changes = {each.figure: each for each in found.targets[0].changes}
    assert changes["accuracy"].reason.startswith("paired: ")
    assert (changes["size"].verdict, found.exit_code) == ("worse", ExitCode.LATENCY_OR_SIZE_GATE)
    assert changes["precision"].verdict == "changed"
    assert edgekit.diff(last, last).verdict == "same"


# --- what is released, and what is validated -------------------------------------------------------------


def test_an_artifact_that_changed_after_its_proof(
    released: Released, cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One byte of the compiled file, in a cache of its own: the bundle's writer compares hashes.

    It changed after the cache had looked at it; before that, the cache makes it again (test_cache.py).
    """
    released()
    monkeypatch.setattr("edgekit.pipeline.cache._is_whole", Path.is_dir)
    own = tmp_path / "cache"
    shutil.copytree(cache, own)
    recipe = example(tmp_path / "recipe")
    for path in (own / "compile").glob("*/*w8a8*.onnx"):
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with pytest.raises(VerificationError, match="w8a8") as caught:
        release(recipe, out=tmp_path / "damaged", cache_dir=own, progress=Silent(), today=TODAY)
    assert caught.value.exit_code is ExitCode.VERIFICATION_FAILED
    assert not (tmp_path / "damaged").exists() or not any((tmp_path / "damaged").iterdir())


def test_swapped_labels_are_an_error_of_the_data_and_not_a_drop_of_zero(cache: Path, tmp_path: Path) -> None:
    """The labels of other samples: reference and candidate are both at chance."""
    recipe = example(tmp_path / "recipe")
    path = recipe.parent / "evaluation.npz"
    with np.load(path) as held:
        arrays = {name: held[name] for name in held.files}
    arrays["labels"] = np.random.default_rng(SEED).permutation(arrays["labels"])
    np.savez(path, **arrays)
    with pytest.raises(DataError, match="chance") as caught:
        release(recipe, out=tmp_path / "dist", cache_dir=cache, progress=Silent(), today=TODAY)
    assert caught.value.exit_code is ExitCode.BAD_INPUT


SEED = 5


def altered(folder: Path, change: Callable[[Array], Array]) -> Path:
    """The example's model with other weights in its last layer; inputs and outputs are the same."""
    model = io.load(folder / "digits-cnn.onnx")
    last = [value for value in model.graph.initializers.values() if value.shape and len(value.shape) == 2][-1]
    assert last.const_value is not None
    last.const_value = ir.tensor(change(last.const_value.numpy()), name=last.name)
    path = folder / "other.onnx"
    io.save(model, path)
    return path


def validated(folder: Path, artifact: Path) -> ValidateResult:
    """Held against the example's own model."""
    return edgekit.validate(
        artifact,
        reference=folder / "digits-cnn.onnx",
        data=str(folder / "evaluation.npz"),
        preprocess=folder / "edgekit.toml",
    )


def test_the_model_itself_is_green(tmp_path: Path) -> None:
    folder = example(tmp_path / "recipe").parent
    assert validated(folder, folder / "digits-cnn.onnx").exit_code is ExitCode.OK


def test_an_artifact_of_another_model(tmp_path: Path) -> None:
    folder = example(tmp_path / "recipe").parent
    rng = np.random.default_rng(SEED)
    result = validated(folder, altered(folder, lambda w: rng.normal(size=w.shape).astype(w.dtype)))
    assert result.exit_code is ExitCode.ACCURACY_GATE
    assert "above the budget" in result.gates[0].reason


def test_an_artifact_that_gives_nan(tmp_path: Path) -> None:
    folder = example(tmp_path / "recipe").parent
    result = validated(folder, altered(folder, lambda w: np.full_like(w, np.nan)))
    assert result.exit_code is ExitCode.ACCURACY_GATE
    (gate,) = (each for each in result.gates if each.status == "fail")
    assert "is nan at sample 0" in gate.reason


@pytest.mark.parametrize("kept", [0, 1, 1000], ids=lambda kept: f"{kept} bytes")
def test_a_truncated_artifact(kept: int, tmp_path: Path) -> None:
    folder = example(tmp_path / "recipe").parent
    short = folder / "short.onnx"
    short.write_bytes((folder / "digits-cnn.onnx").read_bytes()[:kept])
    with pytest.raises(ModelFileError, match=r"short\.onnx") as caught:
        validated(folder, short)
    assert caught.value.exit_code is ExitCode.BAD_INPUT
