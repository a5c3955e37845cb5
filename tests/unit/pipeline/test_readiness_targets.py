"""Check targets in `compile` and `release`: marked "not run here" everywhere, never shipped."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from edgekit import api
from edgekit import target as targets
from edgekit.errors import ExitCode, InputError, MissingBackendError, RecipeError, TargetRefusalError
from edgekit.pipeline import compile as compiling
from edgekit.pipeline import plan as plans
from edgekit.pipeline.compile_result import CompileResult
from edgekit.pipeline.doctor import target_here
from edgekit.pipeline.init import init
from edgekit.pipeline.open import open_artifact
from edgekit.pipeline.release import run
from edgekit.pipeline.result import ReleaseResult
from edgekit.report import FORMATS, render, render_text
from edgekit.report.listing import TargetsResult, TargetSummary
from edgekit.spec import Precision, Silent

CHECKS = ("qnn-check", "coreml-check", "nnapi-check")
MARK = "not run here"


@pytest.fixture(scope="module")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped example, with all checks in its recipe, and a target whose speed nobody measures here."""
    folder = tmp_path_factory.mktemp("checks")
    init(folder, example="digits-cnn")
    recipe = folder / "edgekit.toml"
    proved = recipe.read_text().replace('"onnxruntime-cpu"', '"onnxruntime-arm64"')
    proved = proved.replace('method = "minmax"', 'restore = "none"')
    proved = proved.replace('"evaluation.npz"', '"evaluation.npz", samples = 100')
    proved = proved.replace("max_drop_pp = 1.0", "max_drop_pp = 20.0")
    recipe.write_text(proved + "".join(f'[[target]]\nname = "{name}"\n' for name in CHECKS))
    return folder


@pytest.fixture(scope="module")
def released(example: Path, tmp_path_factory: pytest.TempPathFactory) -> ReleaseResult:
    cache = tmp_path_factory.mktemp("cache")
    return run.release(example / "edgekit.toml", out=example / "dist", cache_dir=cache, progress=Silent())


@pytest.fixture(scope="module")
def compiled(example: Path, tmp_path_factory: pytest.TempPathFactory) -> CompileResult:
    return compiling.compile(
        example / "digits-cnn.onnx",
        targets=CHECKS,
        out=example / "compiled",
        name="",
        version="",
        threads=None,
        cache_dir=tmp_path_factory.mktemp("cache"),
        progress=Silent(),
    )


def test_a_release_goes_on_and_ships_what_is_proved(released: ReleaseResult) -> None:
    assert released.exit_code is ExitCode.OK
    assert [row.target for row in released.targets] == ["onnxruntime-arm64", *CHECKS]
    assert [row.chosen for row in released.targets[1:]] == [None, None, None]
    assert released.bundle is not None
    names = {path.name for path in (released.bundle / "artifacts").rglob("*")}
    assert names
    assert not [name for name in names if "check" in name]
    lock = (released.bundle.parents[1] / "edgekit.lock").read_text()
    assert "-check" not in lock  # a check decides nothing that a release would have to repeat


def test_a_check_has_the_integers_that_would_be_deployed(released: ReleaseResult) -> None:
    """The recipe asks for w8a8: QNN and NNAPI have it, Core ML has not and is asked about its own form."""
    found = {row.target: [each.precision for each in row.readiness] for row in released.targets[1:]}
    w8a8, fp32 = [Precision.W8A8], [Precision.FP32]
    assert found == {"qnn-check": w8a8, "coreml-check": fp32, "nnapi-check": w8a8}
    assert {each.verdict for row in released.targets for each in row.readiness} == {"whole"}


@pytest.mark.parametrize("form", sorted(FORMATS))
def test_every_report_marks_each_check(released: ReleaseResult, form: str) -> None:
    text = render(released, form)
    for name in CHECKS if form != "csv" else ():  # a table of figures has no row without a figure
        assert name in text
        assert text.count(MARK) >= len(CHECKS)


def test_the_terminal_marks_each_check(released: ReleaseResult, compiled: CompileResult) -> None:
    for result in (released, compiled):
        lines = [line for line in render_text(result).splitlines() if MARK in line]
        assert all(any(name in line for line in lines) for name in CHECKS)


def test_a_result_without_its_marks_is_caught(compiled: CompileResult) -> None:
    """Sabotage: the mark comes with the row; without it no line of a check says so."""
    bare = replace(
        compiled,
        artifacts=(),
        readiness=tuple(replace(row, marked="", floats="", unchecked=()) for row in compiled.readiness),
    )
    lines = [line for line in render_text(bare).splitlines() if MARK in line]
    assert not all(any(name in line for line in lines) for name in CHECKS)


def test_the_list_of_targets_marks_each_check() -> None:
    rows = [
        TargetSummary(each.name, each.summary, each.backend, each.ladder, "", each.extra, each.marked)
        for each in map(targets.load, targets.names())
    ]
    assert {row.name for row in rows if row.marked} == set(CHECKS)
    lines = [line for line in render_text(TargetsResult(tuple(rows))).splitlines() if MARK in line]
    assert all(any(name in line for line in lines) for name in CHECKS)
    assert all(MARK in row.summary for row in rows if row.marked)


@pytest.mark.parametrize("name", CHECKS)
def test_doctor_says_that_it_compiles_and_never_runs(name: str) -> None:
    found = target_here(targets.load(name))
    assert (found.compiles, found.runs, found.stands_in) == (True, False, "")
    assert MARK in found.reason


def test_only_the_file_that_an_app_would_load_is_written(compiled: CompileResult) -> None:
    assert compiled.exit_code is ExitCode.OK
    assert [each.target for each in compiled.artifacts] == ["qnn-check"]
    assert {row.target: bool(row.file) for row in compiled.readiness} == {
        "qnn-check": True,
        "coreml-check": False,
        "nnapi-check": False,
    }
    artifact = compiled.artifacts[0]
    assert artifact.notes == (targets.load("qnn-check").marked,)
    assert artifact.inputs[0].shape[0] == 1  # QNN takes no open size


def test_what_was_written_does_not_open(compiled: CompileResult) -> None:
    with pytest.raises(MissingBackendError, match="is not run here") as caught:
        open_artifact(compiled.artifacts[0])
    assert caught.value.exit_code is ExitCode.BACKEND_MISSING


def test_validate_exits_6_on_it(example: Path, compiled: CompileResult) -> None:
    with pytest.raises(MissingBackendError, match="which is a check"):
        api.validate(
            compiled.artifacts[0].path,
            reference=example / "digits-cnn.onnx",
            data=str(example / "evaluation.npz"),
            preprocess=example / "edgekit.toml",
        )


def test_a_model_that_would_be_refused_is_exit_5(tmp_path: Path) -> None:
    import onnx
    import onnx.parser

    text = '<ir_version: 10, opset_import: ["" : 21]> g (float[3,3] x) => (float y) { y = Det(x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "det.onnx")
    found = compiling.compile(
        tmp_path / "det.onnx",
        targets=("qnn-check",),
        out=tmp_path / "out",
        name="",
        version="",
        threads=None,
        cache_dir=tmp_path / "cache",
        progress=Silent(),
    )
    assert found.exit_code is ExitCode.TARGET_REFUSES
    assert [row.verdict for row in found.readiness] == ["nothing"]
    assert found.artifacts == ()
    assert "Det" in found.readiness[0].blocked[0].reason
    with pytest.raises(TargetRefusalError, match="nothing would be taken") as refused:
        api.compile(tmp_path / "det.onnx", target="qnn-check", out=tmp_path / "out")
    assert refused.value.rejections == found.readiness[0].blocked


def test_the_function_says_what_a_check_without_a_file_found(example: Path, tmp_path: Path) -> None:
    """It gives an artifact, and Core ML's check has none, also where all of the model would be taken."""
    with pytest.raises(InputError, match="writes no file: all of it would be taken") as said:
        api.compile(example / "digits-cnn.onnx", target="coreml-check", out=tmp_path)
    assert MARK in said.value.why
    assert "edgekit targets" in said.value.remedy
    assert not list(tmp_path.iterdir())


def test_a_precision_that_is_named_for_a_check_must_be_its_own(example: Path) -> None:
    recipe = example / "named.toml"
    text = (example / "edgekit.toml").read_text()
    recipe.write_text(text.replace('name = "coreml-check"\n', 'name = "coreml-check"\nprecision = "w8a8"\n'))
    with pytest.raises(RecipeError, match="coreml-check has no w8a8"):
        plans.make(recipe)
