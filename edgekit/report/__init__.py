"""Result values -> text, JSON, markdown, HTML, JUnit, SARIF, CSV. Renders what it is given, computes nothing.

    result --views--> Page --text | markdown | html--> str          result --json--> document
    result --checks--> Checks --junit | sarif--> str                result --csv--> str

Everything is written with the standard library and pydantic: the base install writes all formats.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from edgekit.pipeline import result as results
from edgekit.pipeline.clean import CleanResult
from edgekit.report import (
    checks,
    csv,
    html,
    json,
    junit,
    listing,
    markdown,
    sarif,
    text,
    view_debug,
    view_diff,
    view_inspect,
    view_release,
    view_verbs,
)
from edgekit.report.page import Page

# result type -> the function that lays it out; each takes exactly that type
VIEWS: Mapping[type, Callable[[Any], Page]] = {
    results.ReleaseResult: view_release.view,
    results.ExportResult: view_verbs.view_export,
    results.CalibrateResult: view_verbs.view_calibrate,
    results.QuantizeResult: view_verbs.view_quantize,
    results.CompileResult: view_verbs.view_compile,
    results.ValidateResult: view_verbs.view_validate,
    results.DebugResult: view_debug.view,
    results.BenchResult: view_verbs.view_bench,
    results.VerifyResult: view_verbs.view_verify,
    results.InspectResult: view_inspect.view,
    results.DiffResult: view_diff.view,
    results.DoctorResult: view_verbs.view_doctor,
    listing.TargetsResult: view_verbs.view_targets,
    listing.TargetResult: view_verbs.view_target,
    listing.InitResult: view_verbs.view_init,
    listing.SchemasResult: view_verbs.view_schemas,
    CleanResult: view_verbs.view_clean,
}

# report format -> file extension and writer
FORMATS: Mapping[str, tuple[str, Callable[[object], str]]] = {
    "json": ("json", lambda result: json.text(json.document(result))),
    "markdown": ("md", lambda result: markdown.render(page(result))),
    "html": ("html", lambda result: html.render(page(result))),
    "junit": ("xml", lambda result: junit.render(checks.checks(result))),
    "sarif": ("sarif", lambda result: sarif.render(checks.checks(result))),
    "csv": ("csv", csv.render),
}
BUNDLED = ("json", "markdown", "html")
"""The formats that travel in a bundle: the source, and what people read."""


def page(result: object) -> Page:
    """The blocks of a result, laid out but not drawn."""
    return VIEWS[type(result)](result)


def render(result: object, form: str) -> str:
    """A result in one of ``FORMATS``.

    Raises:
        InputError: junit, sarif or csv of a result that judges nothing.
    """
    _, write = FORMATS[form]
    return write(result)


def render_text(
    result: object, *, width: int | None = None, color: bool = False, everything: bool = False
) -> str:
    """A result for a terminal or a log: in its short form, or ``everything``."""
    return text.render(page(result), width=width, color=color, everything=everything)


def render_release(result: results.ReleaseResult) -> dict[str, bytes]:
    """The files of a bundle's ``report/`` folder: report.json, report.md, report.html."""
    written = {FORMATS[form] for form in BUNDLED}
    return {f"report.{extension}": write(result).encode() for extension, write in written}
