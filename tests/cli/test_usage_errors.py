"""A command line that cannot be read: exit 2, one message in parts, the closest names; JSON if asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass

import jsonschema
import pytest

from edgekit.cli.main import run
from edgekit.report.schema import schema


@dataclass(frozen=True)
class Case:
    line: str
    what: str
    remedy: str

    def __str__(self) -> str:
        return self.line


CASES = [
    Case("relaese", "unknown verb 'relaese'", "did you mean release?"),
    Case("zzz", "unknown verb 'zzz'", "`edgekit --help` lists all"),
    Case("--versoin", "No such option: --versoin", "did you mean --version?"),
    Case("release --tarrget x", "No such option: --tarrget", "did you mean --target?"),
    Case("release --zzz", "No such option: --zzz", "`edgekit release --help` lists all"),
    Case("release --format yaml", "'yaml' is not one of 'text', 'json'", "`edgekit release --help`"),
    Case("release a b", "unexpected extra argument", "`edgekit release --help`"),
    Case("release --report xml", "unknown report format 'xml'", "`edgekit release --help` lists all"),
    Case("bench", "nothing to measure", "edgekit bench ARTIFACT..."),
    Case("quantize m.onnx", "Missing option '-o' / '--out'", "`edgekit quantize --help`"),
    Case(
        "quantize m.onnx -o q.onnx --precision int8", "not one of 'auto', 'fp32'", "`edgekit quantize --help`"
    ),
    Case("bench m.onnx --sustained 10", "is no time in whole minutes or hours", "`edgekit bench --help`"),
    Case("bench a.onnx b.onnx --sustained 10m", "--sustained runs one artifact", "one after the other"),
    Case("bench a.onnx --energy --sustained 10m", "do not go together", "leave --energy out"),
    Case("bench --history no.lines", "history no.lines cannot be read", "edgekit bench ARTIFACT --history"),
    Case("bench m.onnx --threads 0", "'--threads'", "`edgekit bench --help`"),
    Case("bench m.onnx --batch 1,x", "'--batch'", "`edgekit bench --help`"),
    Case("bench m.onnx --budget 0", "'--budget'", "`edgekit bench --help`"),
    Case("bench m.onnx --pin 3-", "'--pin'", "`edgekit bench --help`"),
    Case("export m.py:f -o m.onnx --input x", "no three parts", "NAME:DTYPE:SIZES"),
    Case("export m.py:f -o m.onnx --dynamic x", "cannot be read", "NAME:AXIS=SIZE"),
    Case("targets shwo", "unknown word 'shwo'", "did you mean show?"),
    Case("targets show", "needs a name", "`edgekit targets` lists all"),
    Case("targets show litert-cpuu", "unknown target 'litert-cpuu'", "did you mean litert-cpu"),
    Case("schema recipee", "unknown schema 'recipee'", "did you mean recipe"),
    Case("release --format json --update=1", "does not take a value", "`edgekit release --help`"),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_bad_command_line_is_exit_2_with_a_remedy(case: Case, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(case.line.split()) == 2
    caught = capsys.readouterr()
    assert caught.err.startswith("error: ")
    assert case.what in caught.err
    assert case.remedy in caught.err
    assert "Traceback" not in caught.err
    assert (caught.out == "") == ("json" not in case.line)


@pytest.mark.parametrize("flag", [["--format", "json"], ["--format=json"]], ids=" ".join)
@pytest.mark.parametrize(
    "line", ["release --tarrget x", "targets show nothing", "release no-such-recipe.toml"]
)
def test_with_json_an_error_is_a_document(
    line: str, flag: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run([*line.split(), *flag]) == 2
    found = json.loads(capsys.readouterr().out)
    jsonschema.Draft202012Validator(schema("error")).validate(found)
    assert (found["status"], found["exit_code"]) == ("bad_input", 2)
    assert found["error"]["what"]
    assert found["error"]["remedy"]
