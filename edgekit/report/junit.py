"""Checks -> JUnit XML: one test case for each gate and target.

    <testsuites><testsuite name=target><testcase classname=target.candidate name=gate>

    pass          nothing inside, the figures in <system-out>
    waived        the same: it passes, and <system-out> says until when and why
    fail          <failure type="fail">            inconclusive   <failure type="inconclusive">
    error         <error type="error">             skipped        <skipped message=why/>

Form: the schema of Jenkins' xUnit plug-in (junit-10.xsd), which GitLab reads too. A gate takes no time of its
own, so ``time`` is left out. Characters that XML 1.0 cannot hold (section 2.2) are replaced.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from xml.etree import ElementTree as ET

from edgekit.report.checks import RED, Check, Checks

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def render(found: Checks) -> str:
    """The document, with its declaration."""
    counts = _counts(found.rows)
    del counts["skipped"]  # the schema has no such attribute here
    root = ET.Element("testsuites", {"name": _text(f"edgekit {found.verb} {found.title}"), **counts})
    for target in dict.fromkeys(row.target for row in found.rows):
        rows = [row for row in found.rows if row.target == target]
        suite = ET.SubElement(root, "testsuite", {"name": _text(target), **_counts(rows)})
        for row in rows:
            _case(suite, row)
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _counts(rows: Sequence[Check]) -> dict[str, str]:
    outcomes = [row.outcome for row in rows]
    return {
        "tests": str(len(rows)),
        "failures": str(sum(outcome in {"fail", "inconclusive"} for outcome in outcomes)),
        "errors": str(outcomes.count("error")),
        "skipped": str(outcomes.count("skipped")),
    }


def _case(suite: ET.Element, row: Check) -> None:
    # a dot separates packages for every reader: names of targets and files keep theirs out of it
    parts = [part.replace(".", "_") for part in (row.target, row.artifact) if part]
    case = ET.SubElement(suite, "testcase", {"name": row.name, "classname": _text(".".join(parts))})
    if row.outcome == "skipped":
        ET.SubElement(case, "skipped", {"message": _text(row.reason)})
        return
    if row.outcome in RED:
        tag = "error" if row.outcome == "error" else "failure"
        message = {"message": _text(row.measured or row.reason), "type": row.outcome}
        ET.SubElement(case, tag, message).text = _text(row.text)
        return
    ET.SubElement(case, "system-out").text = _text(row.text)


def _text(text: str) -> str:
    return _NOT_XML.sub("\ufffd", text)
