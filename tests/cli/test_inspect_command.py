"""`edgekit inspect` as a user runs it: text, --all, JSON by its schema, exit codes."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import onnx_ir as ir
import pytest

import edgekit
from edgekit import report
from edgekit.cli.main import run
from edgekit.ir import io
from edgekit.pipeline import inspect as package
from edgekit.pipeline.inspect import inspect
from edgekit.pipeline.result import TargetFit
from edgekit.report.schema import schema
from edgekit.spec import Rejection

COUNT = 12  # more than the short form shows


def deep() -> ir.Model:
    nodes = " ".join(f"h{i + 1} = MatMul(h{i}, w)" for i in range(COUNT))
    return ir.from_onnx_text(
        '<ir_version: 10, opset_import: ["" : 21]>\n'
        f"g (float[1,2] h0) => (float[1,2] h{COUNT}) <float[2,2] w = {{1, 2, 3, 4}}> {{ {nodes} }}"
    )


@pytest.fixture
def model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    reasons = tuple(
        Rejection(f"h{i}", "operator", f"no MatMul at {i}", "use another target") for i in range(5)
    )
    fits = (TargetFit("litert-cpu", "refuses", rejections=reasons), TargetFit("portable", "takes"))
    monkeypatch.setattr(package, "fits", lambda model, *, progress: fits)
    io.save(deep(), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_the_short_form_shows_the_heaviest_layers_and_says_how_many_more(
    model: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["inspect", str(model), "-q"]) == 0
    text = capsys.readouterr().out
    assert text.count("MatMul  ") == 10
    assert "and 2 more with 16.7 % of the MACs; `--all` shows all" in text
    assert "no MatMul at 2" in text
    assert "no MatMul at 3" not in text
    assert "and 2 more; `--all` shows all" in text
    assert "12 MatMul" in text


def test_all_shows_every_layer_and_every_reason(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(model), "-q", "--all"]) == 0
    text = capsys.readouterr().out
    assert text.count("MatMul  ") == COUNT
    assert "no MatMul at 4" in text
    assert "--all" not in text


def test_json_has_everything_and_follows_its_schema(model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["inspect", str(model), "-q", "--format", "json"]) == 0
    found = json.loads(capsys.readouterr().out)
    jsonschema.validate(found, schema("inspect"))
    assert len(found["layers"]) == COUNT
    assert found["macs"] == 4 * COUNT
    assert len(found["targets"][0]["rejections"]) == 5


def test_reports_hold_everything_and_no_hint_for_the_terminal(model: Path) -> None:
    result = inspect(model)
    for form in ("markdown", "html"):
        text = report.render(result, form)
        assert "no MatMul at 4" in text
        assert "--all" not in text


@pytest.mark.parametrize("name", ["m.tflite", "m.xml", "m.onnx"])
def test_damage_is_one_error_with_exit_code_2(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / name).write_bytes(b"\x1c\0\0\0TFL3 is all there is")
    assert run(["inspect", str(tmp_path / name), "-q"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "Traceback" not in error
    assert "why:" in error
    assert "next:" in error


def test_a_damaged_bundle_is_exit_code_8(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    assert run(["inspect", str(tmp_path), "-q"]) == 8
    assert "manifest.json contradicts its own digest" in capsys.readouterr().err


def test_narrow_terminals_cut_names_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(package, "fits", lambda model, *, progress: ())
    long = deep()
    for node in long.graph:
        node.name = f"a/very/long/scope/of/a/module/that/nobody/reads/{node.outputs[0].name}"
    io.save(long, tmp_path / "m.onnx")
    text = report.render_text(edgekit.inspect(tmp_path / "m.onnx"), width=60)
    rows = [line for line in text.splitlines() if "MatMul  " in line]
    assert len(rows) == 10
    assert all(row.startswith("…") and len(row) <= 60 for row in rows)
    assert rows[0].split()[0].endswith("/h1")
