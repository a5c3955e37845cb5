"""`compile` for several targets: one that cannot have the model is a row, the others are written.

A single target raises, as before: ``edgekit.compile`` gives an artifact or an error.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import onnx
import pytest
from onnx import helper

from edgekit import api
from edgekit.backends import registry
from edgekit.cli.main import run
from edgekit.errors import BackendCrashError, EdgekitError, ExitCode, MissingBackendError, TargetRefusalError
from edgekit.pipeline import compile
from edgekit.pipeline.compile_result import CompileResult
from edgekit.report import render_text
from edgekit.spec import Silent

HERE = "onnxruntime-cpu"


def model(path: Path, operator: str) -> Path:
    """x (4, 4) -> operator -> y; LiteRT has no Bernoulli, and a Relu."""
    ends = [
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
        for name, shape in (("x", [4, 4]), ("y", [4, 4]))
    ]
    graph = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"], name="only")], "g", ends[:1], ends[1:]
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10), path)
    return path


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))


def compiled(path: Path, *targets: str) -> CompileResult:
    return compile.compile(
        path,
        targets=targets,
        out=path.parent / "out",
        name="",
        version="",
        threads=None,
        progress=Silent(),
    )


def written(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "out").iterdir())


@pytest.mark.parametrize("targets", [("litert-cpu", HERE), (HERE, "litert-cpu")], ids=["first", "last"])
def test_a_refusal_is_a_row_wherever_it_stands(tmp_path: Path, targets: tuple[str, ...]) -> None:
    result = compiled(model(tmp_path / "m.onnx", "Bernoulli"), *targets)
    assert [each.target for each in result.artifacts] == [HERE]
    assert written(tmp_path) == ["m-0-onnxruntime-cpu-fp32.onnx", "m-0-onnxruntime-cpu-fp32.onnx.json"]
    (failed,) = result.failed
    assert (failed.target, failed.exit_code) == ("litert-cpu", ExitCode.TARGET_REFUSES)
    assert [each.node for each in failed.rejections] == ["only"]
    assert result.exit_code is ExitCode.TARGET_REFUSES
    text = render_text(result)
    assert f"litert-cpu: {failed.reason}" in text
    assert failed.rejections[0].remedy in text
    assert "m-0-onnxruntime-cpu-fp32.onnx" in text


def test_none_fails_where_all_can(tmp_path: Path) -> None:
    """Must not fire."""
    result = compiled(model(tmp_path / "m.onnx", "Relu"), "litert-cpu", HERE)
    assert (result.failed, result.exit_code, len(result.artifacts)) == ((), ExitCode.OK, 2)


@pytest.mark.parametrize(
    "error",
    [
        MissingBackendError("its package is not installed", remedy="pip install it"),
        BackendCrashError("the compiler died", why="signal 11", remedy="report it"),
    ],
    ids=["missing", "crash"],
)
def test_a_compiler_that_is_missing_or_dies_is_a_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: EdgekitError
) -> None:
    def fails(*_: object) -> None:
        raise error

    backend = registry.backend("litert")
    monkeypatch.setattr(type(backend), "compile", fails)
    result = compiled(model(tmp_path / "m.onnx", "Relu"), "litert-cpu", HERE)
    (failed,) = result.failed
    assert failed.exit_code is result.exit_code is error.exit_code
    assert (error.what in failed.reason, failed.remedy) == (True, error.remedy)
    assert error.why in failed.reason
    assert f"next: {error.remedy}" in render_text(result)
    assert [each.target for each in result.artifacts] == [HERE]


def test_all_of_several_may_fail(tmp_path: Path) -> None:
    result = compiled(model(tmp_path / "m.onnx", "Bernoulli"), "litert-cpu", "gpu-litert")
    assert [each.target for each in result.failed] == ["litert-cpu", "gpu-litert"]
    assert result.artifacts == ()
    assert not (tmp_path / "out").exists()


def test_a_single_target_raises(tmp_path: Path) -> None:
    path = model(tmp_path / "m.onnx", "Bernoulli")
    with pytest.raises(TargetRefusalError):
        compiled(path, "litert-cpu")
    with pytest.raises(TargetRefusalError):
        api.compile(path, target="litert-cpu", out=tmp_path / "out")


def test_what_is_no_targets_fault_ends_all(tmp_path: Path) -> None:
    """Sabotage of the rule: an output that cannot be written is not a row."""
    path = model(tmp_path / "m.onnx", "Relu")
    (tmp_path / "out").write_text("a file where a folder should be")
    with pytest.raises(EdgekitError, match="cannot be written"):
        compiled(path, "litert-cpu", HERE)


def test_the_command_line_names_the_failed_one(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = model(tmp_path / "m.onnx", "Bernoulli")
    words = ["compile", str(path), "--target", "litert-cpu", "--target", HERE, "-o", str(tmp_path / "out")]
    assert run([*words, "-q", "--format", "json"]) == ExitCode.TARGET_REFUSES
    said = json.loads(capsys.readouterr().out)
    assert (said["status"], said["exit_code"]) == ("target_refuses", 5)
    assert [each["target"] for each in said["failed"]] == ["litert-cpu"]
    assert [each["target"] for each in said["artifacts"]] == [HERE]


def test_a_result_that_forgets_the_failed_one_is_red(tmp_path: Path) -> None:
    """Sabotage."""
    result = compiled(model(tmp_path / "m.onnx", "Bernoulli"), "litert-cpu", HERE)
    assert "litert-cpu" not in render_text(replace(result, failed=()))
