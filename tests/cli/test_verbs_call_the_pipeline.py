"""Each verb parses its flags, calls its stage with exactly the stage's keywords, prints, and exits.

The stages are replaced by autospecs of the real ones: a keyword that a stage does not have is an error here.
"""

from __future__ import annotations

import importlib
import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import create_autospec

import jsonschema
import pytest
from pydantic import TypeAdapter

from edgekit.backends.base import IoForm
from edgekit.bundle.sign import KeyOrigin, SigstoreOrigin
from edgekit.cli.main import run
from edgekit.errors import ExitCode, MissingBackendError, TargetRefusalError
from edgekit.measure.sustained import Plan
from edgekit.pipeline.bench.sweep import Sweep
from edgekit.pipeline.clean import CleanResult
from edgekit.pipeline.diff import Allowed
from edgekit.pipeline.package import Wanted
from edgekit.pipeline.prune.asked import Asked
from edgekit.pipeline.prune.judging import Judging
from edgekit.pipeline.result import RESULTS
from edgekit.pipeline.sweep.run import Where
from edgekit.pruning.zeros import Pattern
from edgekit.report.schema import schema
from edgekit.spec import Precision, Progress, TensorSpec

EXAMPLES = Path(__file__).parents[1] / "golden" / "report"


def result(name: str, kind: type | None = None) -> Any:
    text = (EXAMPLES / f"{name}.json").read_text("utf-8")
    return TypeAdapter(kind or RESULTS[name]).validate_python(json.loads(text))


@dataclass(frozen=True)
class Case:
    """A command line, the stage that it must call, with what, and the exit code of the example's result."""

    line: str
    stage: str
    given: Any
    positional: tuple[Any, ...] = ()
    keywords: dict[str, Any] = field(default_factory=dict)
    code: int = 0

    @property
    def verb(self) -> str:
        return self.line.split()[0]

    @property
    def document(self) -> str:
        """The schema of what it prints: `bench` has one more."""
        return next((name for name, kind in RESULTS.items() if type(self.given) is kind), self.verb)

    def __str__(self) -> str:
        return self.line


CASES = [
    Case(
        "export m.py:build -o m.onnx --input image:float32:1x3 --input n:int64:batch,2 "
        "--dynamic image:0=batch --weights w.pt --opset 20 --tolerance 0.01 --trust-source --cache-dir c",
        "export.export",
        result("export"),
        ("m.py:build",),
        {
            "out": Path("m.onnx"),
            "inputs": (TensorSpec("image", "float32", (1, 3)), TensorSpec("n", "int64", ("batch", 2))),
            "dynamic": {"image": {0: "batch"}},
            "weights": Path("w.pt"),
            "opset": 20,
            "tolerance": 0.01,
            "trust_source": True,
            "cache_dir": Path("c"),
        },
    ),
    Case(
        "export m.keras -o m.onnx",
        "export.export",
        result("export"),
        ("m.keras",),
        {
            "inputs": (),
            "dynamic": {},
            "weights": None,
            "opset": None,
            "trust_source": False,
            "cache_dir": None,
        },
    ),
    Case(
        "calibrate m.onnx --calibration-data d.npz -o r.json --method percentile --samples 8 --seed 3",
        "calibrate.calibrate",
        result("calibrate"),
        (Path("m.onnx"),),
        {
            "calibration_data": "d.npz",
            "out": Path("r.json"),
            "method": "percentile",
            "samples": 8,
            "seed": 3,
            "cache_dir": None,
        },
    ),
    Case(
        "prune m.onnx --calibration-data d.npz -o p.onnx --speedup 1.5 --target a --target b --threads 2 "
        "--importance activation --repair layers --recover 3 --samples 8 --seed 3 --eval-data e --metric auc "
        "--max-drop 1",
        "prune.run.prune",
        result("prune"),
        (Path("m.onnx"),),
        {
            "calibration_data": "d.npz",
            "out": Path("p.onnx"),
            "asked": Asked(
                speedup=1.5,
                targets=("a", "b"),
                threads=2,
                importance="activation",
                repair="layers",
                recover=3,
                samples=8,
                seed=3,
            ),
            "judging": Judging("e", "auc", 1.0),
            "preprocess": None,
        },
    ),
    Case(
        "prune m.onnx --calibration-data d.npz -o p.onnx --pattern 2:4 --require-speedup",
        "prune.run.prune",
        result("prune"),
        (Path("m.onnx"),),
        {"asked": Asked(zeros=Pattern(0.5, 4), require_speedup=True), "judging": Judging()},
    ),
    Case(
        "quantize m.onnx --ranges r.json -o q.onnx --target litert-cpu --precision w8a8 --eval-data e.npz "
        "--metric top5 --max-drop 0.5",
        "quantize.quantize",
        result("quantize"),
        (Path("m.onnx"),),
        {
            "calibration_data": "",
            "ranges": Path("r.json"),
            "out": Path("q.onnx"),
            "target": "litert-cpu",
            "precision": Precision.W8A8,
            "method": "minmax",
            "eval_data": "e.npz",
            "metric": "top5",
            "max_drop_pp": 0.5,
        },
    ),
    Case(
        "compile q.onnx --target a --target b -o out --name n --version 2 --threads 2 --io-dtype uint8 "
        "--io-layout model",
        "compile.compile",
        result("compile"),
        (Path("q.onnx"),),
        {
            "targets": ("a", "b"),
            "out": Path("out"),
            "name": "n",
            "version": "2",
            "threads": 2,
            "io": IoForm("uint8", "model"),
        },
    ),
    Case(
        "validate q.onnx --reference m.onnx --data e.npz --metric auc --max-drop 2 --samples 9",
        "validate.validate",
        result("validate"),
        ((Path("q.onnx"),),),
        {"reference": Path("m.onnx"), "data": "e.npz", "metric": "auc", "max_drop_pp": 2.0, "samples": 9},
        code=3,
    ),
    Case(
        "debug q.onnx --reference m.onnx --data e.npz --metric auc --samples 9 --top 4 --target a --target b "
        "--apply r.toml",
        "debug.debug",
        result("debug"),
        (Path("q.onnx"),),
        {
            "reference": Path("m.onnx"),
            "data": "e.npz",
            "metric": "auc",
            "samples": 9,
            "top": 4,
            "targets": ("a", "b"),
            "apply": Path("r.toml"),
        },
    ),
    Case(
        "bench a.onnx b.tflite --baseline a.onnx --threads 1,2 --batch 4 --pin 0-1,3 --timeout 9 "
        "--budget 1.5m --seed 4",
        "bench.on_this_machine.bench",
        result("bench"),
        ((Path("a.onnx"), Path("b.tflite")),),
        {
            "baseline": Path("a.onnx"),
            "sweep": Sweep(batches=(4,), threads=(1, 2), cores=(0, 1, 3), limit_s=9.0, budget_s=90.0),
            "seed": 4,
        },
        code=7,
    ),
    Case(
        "bench a.onnx --sustained 10m --threads 2 --pin 0 --seed 4",
        "bench.sustained.sustain",
        result("bench-sustained"),
        (Path("a.onnx"),),
        {"plan": Plan(10), "devices": (), "sweep": Sweep((1,), (2,), (0,)), "seed": 4},
        code=7,
    ),
    Case(
        "bench --history h.jsonl --seed 4",
        "bench.history.history",
        result("bench-history"),
        (Path("h.jsonl"),),
        {"seed": 4},
    ),
    Case(
        "release r.toml -o dist2 --target a --target b --update --dry-run --no-cache --cache-dir c",
        "release.run.release",
        result("release_passing", RESULTS["release"]),
        (Path("r.toml"),),
        {
            "out": Path("dist2"),
            "targets": ("a", "b"),
            "update": True,
            "dry_run": True,
            "use_cache": False,
            "cache_dir": Path("c"),
        },
    ),
    Case(
        "release",
        "release.run.release",
        result("release_failing", RESULTS["release"]),
        (Path("edgekit.toml"),),
        {"out": Path("dist"), "targets": (), "update": False, "dry_run": False, "use_cache": True},
        code=3,
    ),
    Case(
        "sweep m.toml -o s --jobs 3 --scheduler tcp://h:1 --store s3://b/x --wait 5 --update --cache-dir c",
        "sweep.run.sweep",
        result("sweep"),
        (Path("m.toml"),),
        {
            "out": Path("s"),
            "where": Where("tcp://h:1", 3, "s3://b/x", 5.0),
            "update": True,
            "cache_dir": Path("c"),
        },
        code=5,
    ),
    Case(
        "verify bundle --target a",
        "verify.verify",
        result("verify"),
        (Path("bundle"),),
        {"targets": ("a",)},
        code=8,
    ),
    Case(
        "verify bundle.tar --key public.pem",
        "verify.verify",
        result("verify"),
        (Path("bundle.tar"),),
        {"origin": KeyOrigin(Path("public.pem"))},
        code=8,
    ),
    Case(
        "verify bundle --identity me@example.com --identity-provider https://example.com",
        "verify.verify",
        result("verify"),
        (Path("bundle"),),
        {"origin": SigstoreOrigin("me@example.com", "https://example.com")},
        code=8,
    ),
    Case(
        "package bundle --for python --for c --target a --name n -o out --recipe r.toml --coreml int8 "
        "--key k.pem",
        "package.package",
        result("package"),
        (Path("bundle"),),
        {
            "wanted": tuple(
                Wanted(kind, ("a",), "n", recipe=Path("r.toml"), coreml="int8") for kind in ("python", "c")
            ),
            "out": Path("out"),
            "origin": KeyOrigin(Path("k.pem")),
        },
        code=5,
    ),
    Case(
        "diff old new --max-drop 0.5 --max-latency 1.2 --max-size 1.3",
        "diff.diff",
        result("diff"),
        (Path("old"), Path("new")),
        {"allowed": Allowed(0.5, 1.2, 1.3)},
    ),
    Case("inspect m.onnx", "inspect.inspect", result("inspect"), (Path("m.onnx"),)),
    Case("doctor", "doctor.doctor", result("doctor")),
    Case(
        "init my-model --example digits-cnn",
        "init.init",
        (Path("my-model/edgekit.toml"),),
        (Path("my-model"),),
        {"example": "digits-cnn"},
    ),
    Case("init", "init.init", (Path("edgekit.toml"),), (Path(),), {"example": ""}),
    Case("clean --cache-dir c", "clean.clean", result("clean", CleanResult), (), {"cache_dir": Path("c")}),
]


@contextmanager
def replaced(case: Case, monkeypatch: pytest.MonkeyPatch, **behaviour: Any) -> Iterator[Any]:
    module, _, function = case.stage.rpartition(".")
    real = importlib.import_module(f"edgekit.pipeline.{module}")
    fake = create_autospec(getattr(real, function), **(behaviour or {"return_value": case.given}))
    with monkeypatch.context() as patch:
        patch.setattr(real, function, fake)
        yield fake


@pytest.mark.parametrize("case", CASES, ids=str)
def test_the_stage_gets_what_the_flags_say(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(case, monkeypatch) as stage:
        assert run(case.line.split()) == case.code
    stage.assert_called_once()
    assert stage.call_args.args == case.positional
    found = dict(stage.call_args.kwargs)
    progress = found.pop("progress", None)
    assert progress is None or all(hasattr(progress, name) for name in ("stage", "advance", "note"))
    assert found.pop("render", None) is None or case.stage in {"release.run.release", "sweep.run.sweep"}
    assert {key: found[key] for key in case.keywords} == case.keywords
    assert capsys.readouterr().out.strip()


@pytest.mark.parametrize("case", [case for case in CASES if case.verb != "targets"], ids=str)
def test_json_is_one_document_that_follows_its_schema(
    case: Case, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(case, monkeypatch):
        code = run([*case.line.split(), "--format", "json"])
    caught = capsys.readouterr()
    found = json.loads(caught.out)
    jsonschema.Draft202012Validator(schema(case.document)).validate(found)
    assert (found["exit_code"], found["status"]) == (code, ExitCode(code).name.lower())
    assert caught.err == ""


def chatty(*args: object, progress: Progress, **kwargs: object) -> Any:
    del args, kwargs
    print("a model that prints")
    progress.stage("calibrate", total=2)
    progress.advance(2)
    progress.note("a note")
    return result("calibrate")


CALIBRATE = next(case for case in CASES if case.verb == "calibrate")


def test_nothing_but_the_result_is_on_stdout(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(CALIBRATE, monkeypatch, side_effect=chatty):
        assert run([*CALIBRATE.line.split(), "--format=json"]) == 0
    caught = capsys.readouterr()
    assert json.loads(caught.out)["schema"] == "edgekit/calibrate-result/1"
    for text in ("a model that prints", "calibrate", "a note"):
        assert text in caught.err


def test_quiet_and_json_lines(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with replaced(CALIBRATE, monkeypatch, side_effect=chatty):
        assert run([*CALIBRATE.line.split(), "-q"]) == 0
        assert capsys.readouterr().err == "a model that prints\n"
        assert run([*CALIBRATE.line.split(), "--log-json"]) == 0
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("{")]
    assert [json.loads(line)["event"] for line in lines] == ["stage", "note", "done"]


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (TargetRefusalError("the target refuses", remedy="do this"), 5),
        (MissingBackendError("openvino is not installed", remedy="pip install x"), 6),
    ],
    ids=["refusal", "missing"],
)
def test_an_error_of_a_stage_is_its_message_and_its_exit_code(
    error: Exception, code: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(CALIBRATE, monkeypatch, side_effect=error):
        assert run(CALIBRATE.line.split()) == code
        caught = capsys.readouterr()
        assert caught.err == f"error: {error}\n"
        assert caught.out == ""
        assert run([*CALIBRATE.line.split(), "--debug"]) == code
        assert "Traceback" in capsys.readouterr().err


def test_a_bug_is_one_line_and_how_to_report_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(CALIBRATE, monkeypatch, side_effect=ZeroDivisionError("oh")):
        assert run([*CALIBRATE.line.split(), "--format", "json"]) == 1
        caught = capsys.readouterr()
        assert caught.err.startswith("error: internal error: ZeroDivisionError: oh\n")
        assert "--debug" in caught.err
        assert "Traceback" not in caught.err
        assert json.loads(caught.out)["status"] == "internal"
        assert run([*CALIBRATE.line.split(), "--debug"]) == 1
        assert "Traceback" in capsys.readouterr().err


def test_an_interrupt_is_130_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with replaced(CALIBRATE, monkeypatch, side_effect=KeyboardInterrupt):
        assert run([*CALIBRATE.line.split(), "--format", "json"]) == 130
    caught = capsys.readouterr()
    assert caught.err == "interrupted; nothing half-written; run the same command again to resume\n"
    assert json.loads(caught.out)["status"] == "interrupted"


def test_reports_are_written_beside_the_result(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    case = next(case for case in CASES if case.verb == "validate")
    wanted = [tmp_path / "r.json", tmp_path / "r.md", tmp_path / "r.html"]
    flags = [
        f"--report={form}:{path}" for form, path in zip(("json", "markdown", "html"), wanted, strict=True)
    ]
    with replaced(case, monkeypatch):
        assert run([*case.line.split(), *flags]) == 3
    assert all(path.stat().st_size for path in wanted)
    assert str(wanted[2]) in capsys.readouterr().err
    jsonschema.Draft202012Validator(schema("validate")).validate(json.loads(wanted[0].read_text("utf-8")))


def test_release_hands_the_renderer_down(monkeypatch: pytest.MonkeyPatch) -> None:
    case = next(case for case in CASES if case.verb == "release")
    with replaced(case, monkeypatch) as stage:
        run(["release", "-q"])
    files = stage.call_args.kwargs["render"](case.given)
    assert sorted(files) == ["report.html", "report.json", "report.md"]


def test_the_autospec_would_notice_a_keyword_that_the_stage_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    with replaced(CALIBRATE, monkeypatch) as stage, pytest.raises(TypeError):
        stage(Path("m.onnx"), surprise=1)
    assert "edgekit.pipeline.calibrate" in sys.modules
