"""Every JSON document follows the schema that `edgekit schema` prints, and a wrong one does not."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from pydantic import TypeAdapter

from edgekit import report
from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.clean import CleanResult
from edgekit.pipeline.result import RESULTS, ReleaseResult, ValidateResult
from edgekit.report import schema
from edgekit.report.json import document, error_document, text
from edgekit.report.listing import LISTINGS

FOLDER = Path(__file__).parents[2] / "golden" / "report"
KINDS: dict[str, type] = {
    **{name: kind for name, kind in RESULTS.items() if name != "release"},
    **{name: kind for name, kind in LISTINGS.items() if name != "targets-show"},
    "clean": CleanResult,
}


def example(kind: type, name: str) -> Any:
    return TypeAdapter(kind).validate_python(json.loads((FOLDER / f"{name}.json").read_text("utf-8")))


def release(name: str = "release_passing") -> ReleaseResult:
    found = example(ReleaseResult, name)
    assert isinstance(found, ReleaseResult)
    return found


def check(value: object, name: str) -> None:
    jsonschema.Draft202012Validator(schema.schema(name)).validate(value)


@pytest.mark.parametrize("name", sorted(KINDS))
def test_a_result_follows_its_schema(name: str) -> None:
    check(json.loads(text(document(example(KINDS[name], name)))), name)


@pytest.mark.parametrize("name", ["release_passing", "release_failing"])
def test_a_release_follows_its_schema(name: str) -> None:
    check(json.loads(text(document(release(name)))), "release")


@pytest.mark.parametrize("name", schema.names())
def test_every_schema_is_one(name: str) -> None:
    jsonschema.Draft202012Validator.check_schema(schema.schema(name))


def test_sabotage_a_missing_a_foreign_and_a_wrong_field_are_found() -> None:
    good = document(release())
    check(good, "release")
    for bad in (
        {key: value for key, value in good.items() if key != "targets"},
        {**good, "surprise": 1},
        {**good, "exit_code": 9},
        {**good, "lock": "maybe"},
    ):
        with pytest.raises(jsonschema.ValidationError):
            check(bad, "release")


def test_status_and_exit_code_are_the_same_two_words_for_every_verb() -> None:
    found = example(ValidateResult, "validate")
    written = document(found)
    assert (written["status"], written["exit_code"]) == ("accuracy_gate", 3)
    assert written["verdict"] == "fail"  # the result's own word
    assert list(written)[:3] == ["schema", "status", "exit_code"]
    assert document(example(RESULTS["export"], "export"))["status"] == "ok"


def test_what_is_not_finite_becomes_null() -> None:
    found = release()
    drift = document(found)["targets"][0]["candidates"][0]["drift"][0]
    assert found.targets[0].candidates[0].drift[0].sqnr_db == math.inf
    assert drift["sqnr_db"] is None


def test_an_error_has_its_four_parts_and_follows_its_schema() -> None:
    error = InputError("what", why="why", remedy="remedy", more="more")
    found = error_document(error, error.exit_code)
    check(found, "error")
    assert found["error"] == {"what": "what", "why": "why", "remedy": "remedy", "more": "more"}
    assert (found["status"], found["exit_code"]) == ("bad_input", ExitCode.BAD_INPUT)


def test_the_files_of_a_bundle() -> None:
    files = report.render_release(release())
    assert sorted(files) == ["report.html", "report.json", "report.md"]
    assert files == report.render_release(release()), "the same result gives the same bytes"
    check(json.loads(files["report.json"]), "release")


def test_a_value_changes_the_document() -> None:
    assert document(release()) != document(replace(release(), version="2"))
