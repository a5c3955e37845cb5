"""JUnit, SARIF and CSV: well-formed by their specifications, red exactly where the exit code is not 0."""

from __future__ import annotations

import csv as csv_reader
import io
import json
from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from pydantic import TypeAdapter

from edgekit import report
from edgekit.errors import ExitCode, InputError
from edgekit.pipeline.result import RESULTS, GateRow, ReleaseResult
from edgekit.report import checks, csv, junit, sarif
from edgekit.report.checks import RED, Check, Checks
from edgekit.validation.budget import GATE_CODES

SCHEMAS = Path(__file__).parents[2] / "schemas"
GOLDENS = Path(__file__).parents[2] / "golden" / "report"
JUDGED = ["release_passing", "release_failing", "validate", "bench", "diff", "debug", "prune"]


def result(name: str) -> Any:
    kind = RESULTS[name.split("_", maxsplit=1)[0]]
    return TypeAdapter(kind).validate_python(json.loads((GOLDENS / f"{name}.json").read_text("utf-8")))


WHY = "waived until 2026-06-30 (<why> & how)"


def waived() -> ReleaseResult:
    """A release that ships in spite of a missed gate, with a recipe."""
    found: ReleaseResult = result("release_passing")
    gate = GateRow(
        "size", "waived", "9 bytes", "size <= 1 bytes", "waived until 2026-06-30 (<why> & how)", "x"
    )
    first = found.targets[0]
    rows = tuple(
        replace(each, gates=(*(other for other in each.gates if other.name != "size"), gate))
        if each.shipped
        else each
        for each in first.candidates
    )
    return replace(
        found,
        targets=(replace(first, candidates=rows), *found.targets[1:]),
        recipe="my models/edgekit.toml",
        lines={"budget.max_size_bytes": 7, f"target.{first.target}": 20, "budget.max_drop_pp": 5},
        findings=("the data overlap",),
    )


RESULTS_TO_TRY: Mapping[str, Any] = {name: result(name) for name in JUDGED} | {"waived": waived()}


# --- the rows that both share ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", RESULTS_TO_TRY)
def test_a_row_is_red_exactly_where_the_exit_code_is_not_0(name: str) -> None:
    value = RESULTS_TO_TRY[name]
    found = checks.checks(value)
    assert found.rows
    assert any(row.outcome in RED for row in found.rows) == (report.json.exit_code(value) is not ExitCode.OK)


def test_a_release_has_a_row_for_each_gate_of_what_ships_and_one_for_each_target() -> None:
    value = result("release_passing")
    found = checks.checks(value)
    for target in value.targets:
        shipped = next(each for each in target.candidates if each.shipped)
        names = [row.name for row in found.rows if row.target == target.target]
        assert names == [*(gate.name for gate in shipped.gates), "ships"]


def test_a_missed_gate_points_at_its_key_and_a_target_at_its_table() -> None:
    places = {(row.name, row.target): row.line for row in checks.checks(waived()).rows}
    first = waived().targets[0].target
    assert places["size", first] == 7
    assert places["accuracy", first] == 5
    assert places["ships", first] == 20
    assert places["never_slower", first] == 20, "the recipe does not have the key: its target does"
    other = waived().targets[1].target
    assert places["ships", other] == 1, "nothing is known of it: the first line"


def test_an_own_limit_of_the_target_goes_before_the_common_one() -> None:
    first = waived().targets[0].target
    lines = {**waived().lines, f"target.{first}.budget.max_size_bytes": 23}
    found = checks.checks(replace(waived(), lines=lines))
    assert next(row.line for row in found.rows if row.name == "size" and row.target == first) == 23


@pytest.mark.parametrize("form", ["junit", "sarif", "csv"])
def test_what_judges_nothing_has_no_such_report(form: str) -> None:
    with pytest.raises(InputError, match="DoctorResult"):
        report.render(result("doctor"), form)


def parsed(text: str) -> ET.Element:
    return ET.fromstring(text)  # noqa: S314 - our own output


# --- JUnit ----------------------------------------------------------------------------------------------


@lru_cache(maxsize=1)
def junit_schema() -> Any:
    """junit-10.xsd of Jenkins' xUnit plug-in; GitLab's reader takes the same."""
    return xmlschema.XMLSchema10(str(SCHEMAS / "junit-10.xsd"))


def check_junit(text: str) -> ET.Element:
    """The parsed report; raises on what the schema forbids, a wrong count, and a case with two outcomes."""
    junit_schema().validate(text)
    root = parsed(text)
    for element in (root, *root.iter("testsuite")):
        found = {
            "tests": len(list(element.iter("testcase"))),
            "failures": len(list(element.iter("failure"))),
            "errors": len(list(element.iter("error"))),
        }
        if element.tag == "testsuite":
            found["skipped"] = len(list(element.iter("skipped")))
        assert {name: int(text) for name, text in element.attrib.items() if name in found} == found
    for case in root.iter("testcase"):
        assert sum(child.tag in {"failure", "error", "skipped"} for child in case) <= 1
    return root


@pytest.mark.parametrize("name", RESULTS_TO_TRY)
def test_junit_is_what_its_schema_allows(name: str) -> None:
    value = RESULTS_TO_TRY[name]
    root = check_junit(report.render(value, "junit"))
    red = int(root.attrib["failures"]) + int(root.attrib["errors"])
    assert bool(red) == (report.json.exit_code(value) is not ExitCode.OK)
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(names) == len(set(names)), "two cases of one name are one for most readers"


SUITE = '<testsuite name="x" tests="{}" failures="0" errors="0" skipped="0">{}</testsuite>'


@pytest.mark.parametrize(
    ("damage", "error"),
    [
        ('<testcase name="a" colour="red"/>', "colour"),
        ('<testcase classname="a"/>', "name"),
        ("<failure/>", "failure"),
        ("words", "character data"),
    ],
    ids=["unknown attribute", "no name", "child in the wrong place", "text"],
)
def test_what_junit_forbids_is_seen(damage: str, error: str) -> None:
    with pytest.raises(xmlschema.XMLSchemaValidationError, match=error):
        check_junit(SUITE.format(damage.count("<testcase"), damage))


def test_a_wrong_count_is_seen() -> None:
    check_junit(SUITE.format(1, '<testcase name="a"/>'))
    with pytest.raises(AssertionError, match="tests"):
        check_junit(SUITE.format(2, '<testcase name="a"/>'))


def test_a_waived_gate_passes_in_junit_and_says_why() -> None:
    root = parsed(report.render(waived(), "junit"))
    (case,) = (case for case in root.iter("testcase") if case.attrib["name"] == "size")
    (output,) = case
    assert output.tag == "system-out"
    assert WHY in (output.text or "")


def test_characters_that_xml_cannot_hold_are_replaced() -> None:
    row = Check("t", "a", "accuracy", "fail", measured="\x1b[31m\x00", reason="<&>\ud800")
    text = junit.render(Checks("title", "release", (row,), ExitCode.ACCURACY_GATE))
    (failure,) = parsed(text).iter("failure")
    assert failure.attrib["message"] == "\ufffd[31m\ufffd"
    assert "<&>\ufffd" in (failure.text or "")


def test_two_artifacts_of_one_target_and_precision_have_names_of_their_own() -> None:
    value = result("validate")
    row = value.artifacts[0]
    two = replace(value, artifacts=(row, replace(row, artifact="b/other.tflite")))
    root = parsed(report.render(two, "junit"))
    names = [(case.attrib["classname"], case.attrib["name"]) for case in root.iter("testcase")]
    assert len(set(names)) == len(names) == 2 * len(row.gates)


# --- SARIF ----------------------------------------------------------------------------------------------

TEXT = {"type": "string", "minLength": 1}
MESSAGE = {
    "type": "object",
    "properties": {"text": TEXT},
    "required": ["text"],
    "additionalProperties": False,
}


def closed(required: str, **properties: object) -> dict[str, object]:
    return {
        "type": "object",
        "properties": properties,
        "required": required.split(),
        "additionalProperties": False,
    }


@lru_cache(maxsize=1)
def official_sarif() -> Any:
    """The schema of OASIS, with formats (URIs) checked."""
    schema = json.loads((SCHEMAS / "sarif-2.1.0.json").read_text("utf-8"))
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


# The part of SARIF 2.1.0 that is written, with its clauses. It is narrower than the official schema: what
# GitHub needs is required, and what we never write is an error.
SARIF = (
    closed(
        "version runs $schema",
        version={"const": "2.1.0"},  # 3.13.2
        runs={
            "type": "array",
            "minItems": 1,
            "items": closed(  # 3.14
                "tool results",
                tool=closed(  # 3.18
                    "driver",
                    driver=closed(  # 3.19
                        "name",
                        name=TEXT,
                        version=TEXT,
                        rules={
                            "type": "array",
                            "uniqueItems": True,  # 3.19.23
                            "items": closed("id", id=TEXT, shortDescription=MESSAGE),  # 3.49
                        },
                    ),
                ),
                invocations={
                    "type": "array",
                    "items": closed(  # 3.20
                        "executionSuccessful",
                        executionSuccessful={"type": "boolean"},
                        exitCode={"type": "integer"},
                        exitCodeDescription=TEXT,
                    ),
                },
                automationDetails=closed("", id=TEXT),  # 3.17
                columnKind={"enum": ["utf16CodeUnits", "unicodeCodePoints"]},  # 3.14.17
                results={
                    "type": "array",
                    "items": closed(  # 3.27
                        "message ruleId locations",
                        ruleId=TEXT,
                        ruleIndex={"type": "integer", "minimum": 0},
                        level={"enum": ["none", "note", "warning", "error"]},  # 3.27.10
                        message=MESSAGE,
                        locations={
                            "type": "array",
                            "minItems": 1,
                            "items": closed(
                                "physicalLocation",
                                physicalLocation=closed(  # 3.29
                                    "artifactLocation",
                                    artifactLocation=closed(  # 3.4
                                        "uri",
                                        uri={
                                            "type": "string",
                                            "pattern": r"^[A-Za-z0-9_.~%/:+-]+$",
                                        },  # RFC 3986
                                        uriBaseId=TEXT,
                                    ),
                                    region=closed(
                                        "startLine", startLine={"type": "integer", "minimum": 1}
                                    ),  # 3.30.5
                                ),
                            ),
                        },
                        partialFingerprints={"type": "object", "additionalProperties": TEXT},  # 3.27.17
                        properties={"type": "object", "additionalProperties": TEXT},
                        suppressions={
                            "type": "array",
                            "uniqueItems": True,
                            "items": closed(  # 3.35
                                "kind",
                                kind={"enum": ["inSource", "external"]},
                                status={"enum": ["accepted", "underReview", "rejected"]},
                                justification=TEXT,
                            ),
                        },
                    ),
                },
            ),
        },
    )
    | {}
)
SARIF["properties"] |= {"$schema": {"type": "string", "format": "uri"}}  # type: ignore[operator]  # 3.13.3


@pytest.mark.parametrize("name", RESULTS_TO_TRY)
def test_sarif_is_what_its_specification_allows(name: str) -> None:
    document = json.loads(report.render(RESULTS_TO_TRY[name], "sarif"))
    official_sarif().validate(document)
    jsonschema.validate(document, SARIF)
    (run,) = document["runs"]
    rules = [rule["id"] for rule in run["tool"]["driver"]["rules"]]
    for each in run["results"]:
        assert rules[each["ruleIndex"]] == each["ruleId"]  # 3.27.6
    assert len(rules) == len(set(rules))
    errors = [each for each in run["results"] if each["level"] in {"error", "warning"}]
    assert bool([each for each in errors if "suppressions" not in each]) == bool(
        run["invocations"][0]["exitCode"]
    )


@pytest.mark.parametrize(
    "damage",
    [{"level": "fatal"}, {"colour": "red"}, {"message": {}}, {"ruleIndex": -2}],
    ids=["level", "unknown property", "no message", "index"],
)
def test_what_sarif_forbids_is_seen(damage: Mapping[str, object]) -> None:
    document = json.loads(report.render(waived(), "sarif"))
    document["runs"][0]["results"][0].update(damage)
    with pytest.raises(jsonschema.ValidationError):
        official_sarif().validate(document)


def test_every_gate_is_a_rule() -> None:
    assert set(GATE_CODES) <= set(sarif.RULES)
    assert {row.name for value in RESULTS_TO_TRY.values() for row in checks.checks(value).rows} <= set(
        sarif.RULES
    )


def test_a_waiver_suppresses_and_a_finding_is_a_note() -> None:
    document = json.loads(report.render(waived(), "sarif"))
    by_rule = {each["ruleId"]: each for each in document["runs"][0]["results"]}
    (suppression,) = by_rule["size"]["suppressions"]
    assert suppression["justification"].startswith("waived until 2026-06-30")
    place = by_rule["size"]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"]["uri"] == "my%20models/edgekit.toml"
    assert place["region"] == {"startLine": 7}
    assert by_rule["finding"]["level"] == "note"


def test_an_absolute_path_has_no_base() -> None:
    document = json.loads(report.render(replace(waived(), recipe="/a b/edgekit.toml"), "sarif"))
    place = document["runs"][0]["results"][0]["locations"][0]["physicalLocation"]
    assert place["artifactLocation"] == {"uri": "file:///a%20b/edgekit.toml"}


def test_a_fingerprint_stays_while_the_figure_moves() -> None:
    def prints(measured: str) -> list[str]:
        row = Check("t", "a", "size", "fail", measured=measured, file="x/edgekit.toml", line=1)
        document = sarif.document(Checks("", "release", (row,), ExitCode.LATENCY_OR_SIZE_GATE))
        return [each["partialFingerprints"]["edgekit/v1"] for each in document["runs"][0]["results"]]

    assert prints("1 byte") == prints("2 bytes")


# --- CSV ------------------------------------------------------------------------------------------------


def rows_of(value: object) -> list[dict[str, str]]:
    text = csv.render(value)
    assert text.endswith("\r\n")  # RFC 4180, section 2
    return list(csv_reader.DictReader(io.StringIO(text, newline="")))


def test_a_release_has_one_row_for_each_candidate_and_target() -> None:
    value = waived()
    rows = rows_of(value)
    wanted = [(each.target, each.name) for target in value.targets for each in target.candidates]
    assert [(row["target"], row["candidate"]) for row in rows] == wanted
    shipped = [row for row in rows if row["shipped"] == "true"]
    assert len(shipped) == len(value.targets)
    assert "size=waived" in shipped[0]["gates"]
    for row in rows:
        assert float(row["drop_low"]) <= float(row["drop"]) <= float(row["drop_high"])


def test_a_target_without_candidates_has_a_row_too() -> None:
    rows = rows_of(result("release_failing"))
    assert {row["target"] for row in rows} == {each.target for each in result("release_failing").targets}


@pytest.mark.parametrize(
    ("name", "count"), [("validate", None), ("bench", None), ("diff", 7), ("debug", None)]
)
def test_other_results_have_rows(name: str, count: int | None) -> None:
    rows = rows_of(result(name))
    assert rows
    assert count is None or len(rows) == count
    assert all(len(row) == len(rows[0]) for row in rows)


@pytest.mark.parametrize(("name", "rows"), [("bench-history", 35), ("bench-sustained", 14)])
def test_minutes_and_runs_are_rows_of_csv(name: str, rows: int) -> None:
    found = list(csv_reader.DictReader(io.StringIO(report.render(result(name), "csv"))))
    assert len(found) == rows
    assert all(float(row["p50_ms"]) > 0 for row in found)


@pytest.mark.parametrize("name", ["bench-history", "bench-sustained"])
@pytest.mark.parametrize("form", ["junit", "sarif"])
def test_a_finding_is_no_check(name: str, form: str) -> None:
    with pytest.raises(InputError, match="judges nothing"):
        report.render(result(name), form)
