"""Checks -> SARIF 2.1.0: each gate that is not met as a result at the recipe's line.

    fail, error    level error                  waived      level error, suppressed with the waiver's reason
    inconclusive   level warning                findings    level note, rule "finding"
    skipped        level note                   pass        no result; every rule is declared all the same

Source: OASIS, Static Analysis Results Interchange Format 2.1.0: 3.13 (log), 3.14 (run), 3.20 (invocation),
3.27 (result), 3.29 (physical location), 3.35 (suppression), 3.49 (rule). GitHub's code scanning wants a
location in every result, paths relative to the repository, and takes the fingerprint to tell an old alert
from a new one.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import PurePath
from typing import Any
from urllib.parse import quote

from edgekit._version import __version__
from edgekit.report.checks import Check, Checks

_SCHEMA = "https://docs.oasis-open.org/sarif/sarif/v2.1.0/errata01/os/schemas/sarif-schema-2.1.0.json"
_LEVELS = {"fail": "error", "error": "error", "waived": "error", "inconclusive": "warning", "skipped": "note"}
RULES: dict[str, str] = {
    "accuracy": "The artifact loses more of the task metric than the budget allows.",
    "groups": "A class or a slice of the data loses more than the budget allows.",
    "size": "The artifact is larger than the budget allows.",
    "latency": "The artifact is slower than the budget, or its baseline, allows.",
    "never_slower": "The artifact is slower than the float variant on its target.",
    "memory": "The artifact takes more memory while it runs than the budget allows.",
    "coverage": "Too little of the artifact runs on the target's device in its precision.",
    "baseline_accuracy": "The artifact loses more against the last release than the budget allows.",
    "baseline_latency": "The artifact is slower than the last release's.",
    "baseline_size": "The artifact is larger than the last release's.",
    "causes": "What an artifact's loss comes from.",
    "ships": "No artifact can be released for the target.",
    "row": "A row of the sweep does not pass.",
    "precision": "The precision differs.",
    "plan": "The plan differs.",
    "present": "A target is gone.",
    "finding": "Something that a reader should know, though no gate failed.",
    "device": "A device that was to measure is missing, or was lost while it measured.",
    "runs": "The artifact does not run to its end on a device.",
    "readiness": "What a device that is not here would take of the model; nothing ran there.",
}


def render(found: Checks) -> str:
    """The log as JSON."""
    return json.dumps(document(found), indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def document(found: Checks) -> dict[str, Any]:
    """The log with its one run."""
    rows = [_result(row) for row in found.rows if row.outcome != "pass"]
    rows += [_finding(text, found) for text in found.findings]
    driver = {
        "name": "edgekit",
        "version": __version__,
        "rules": [{"id": name, "shortDescription": {"text": text}} for name, text in RULES.items()],
    }
    run = {
        "tool": {"driver": driver},
        "invocations": [
            {
                "executionSuccessful": True,  # 3.20.14: the tool ran; what it found is in the results
                "exitCode": int(found.exit_code),
                "exitCodeDescription": found.exit_code.name.lower(),
            }
        ],
        "automationDetails": {"id": f"edgekit/{found.verb}/"},
        "columnKind": "unicodeCodePoints",
        "results": rows,
    }
    return {"$schema": _SCHEMA, "version": "2.1.0", "runs": [run]}


def _result(row: Check) -> dict[str, Any]:
    result = _row(row.name, _LEVELS[row.outcome], row.text, file=row.file, line=row.line, about=row.target)
    result["properties"] = {
        key: value
        for key, value in {
            "target": row.target,
            "artifact": row.artifact,
            "outcome": row.outcome,
            "measured": row.measured,
            "limit": row.limit,
        }.items()
        if value
    }
    if row.outcome == "waived":
        result["suppressions"] = [
            {"kind": "external", "status": "accepted", "justification": row.reason}
        ]  # 3.35.2: persisted outside of the code that was analysed
    return result


def _finding(text: str, found: Checks) -> dict[str, Any]:
    return _row(
        "finding", "note", text, file=found.file, line=1 if found.verb == "release" else None, about=text
    )


def _row(rule: str, level: str, text: str, *, file: str, line: int | None, about: str) -> dict[str, Any]:
    place: dict[str, Any] = {"artifactLocation": _location(file)}
    if line is not None:
        place["region"] = {"startLine": line}
    return {
        "ruleId": rule,
        "ruleIndex": list(RULES).index(rule),
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
        "partialFingerprints": {
            "edgekit/v1": hashlib.sha256(f"{rule}\0{about}\0{PurePath(file).name}".encode()).hexdigest()
        },
    }


def _location(file: str) -> dict[str, str]:
    """3.4: relative to the repository, or absolute without a base; what has no file is about the recipe."""
    path = PurePath(file or "edgekit.toml")
    if path.is_absolute():
        return {"uri": f"file://{quote(path.as_posix())}"}
    return {"uri": quote(path.as_posix()), "uriBaseId": "%SRCROOT%"}
