"""Result values -> text, JSON, markdown, HTML, JUnit, SARIF, CSV. Renders what it is given, computes nothing.

    result --views--> Page --text | markdown | html--> str          result --json--> document
    result --checks--> Checks --junit | sarif--> str                result --csv--> str

Everything is written with the standard library and pydantic: the base install writes all formats.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import TYPE_CHECKING

from edgekit.printable import printable_value
from edgekit.report import json, text
from edgekit.report.page import Page

if TYPE_CHECKING:
    from edgekit.pipeline.result import ReleaseResult, SweepResult

# result type -> module and function that lay it out; each takes exactly that type, and is imported for it
VIEWS: Mapping[str, str] = {
    "ReleaseResult": "view_release:view",
    "ExportResult": "view_verbs:view_export",
    "PruneResult": "view_prune:view",
    "CalibrateResult": "view_verbs:view_calibrate",
    "QuantizeResult": "view_verbs:view_quantize",
    "CompileResult": "view_verbs:view_compile",
    "ValidateResult": "view_verbs:view_validate",
    "DebugResult": "view_debug:view",
    "BenchResult": "view_verbs:view_bench",
    "HistoryResult": "view_history:view",
    "SustainedResult": "view_sustained:view",
    "VerifyResult": "view_verbs:view_verify",
    "PackageResult": "view_package:view",
    "SweepResult": "view_sweep:view",
    "InspectResult": "view_inspect:view",
    "DiffResult": "view_diff:view",
    "DoctorResult": "view_verbs:view_doctor",
    "TargetsResult": "view_verbs:view_targets",
    "TargetResult": "view_verbs:view_target",
    "InitResult": "view_verbs:view_init",
    "SchemasResult": "view_verbs:view_schemas",
    "CleanResult": "view_verbs:view_clean",
}
# report format -> file extension
FORMATS: Mapping[str, str] = {
    "json": "json",
    "markdown": "md",
    "html": "html",
    "junit": "xml",
    "sarif": "sarif",
    "csv": "csv",
}
BUNDLED = ("json", "markdown", "html")
"""The formats that travel in a bundle: the source, and what people read."""


def page(result: object) -> Page:
    """The blocks of a result, laid out but not drawn; every text in them can be shown anywhere."""
    module, function = VIEWS[type(result).__name__].split(":")
    found: Page = getattr(import_module(f"edgekit.report.{module}"), function)(result)
    return printable_value(found)


def render(result: object, form: str) -> str:
    """A result in one of ``FORMATS``, whose module is imported for it.

    Raises:
        InputError: junit, sarif or csv of a result that judges nothing.
    """
    if form == "json":
        return json.text(json.document(result))
    module = import_module(f"edgekit.report.{form}")
    match form:
        case "markdown" | "html":
            written: str = module.render(page(result))
        case "junit" | "sarif":
            from edgekit.report import checks

            written = module.render(checks.checks(result))
        case _:
            written = module.render(result)
    return written


def render_text(
    result: object, *, width: int | None = None, color: bool = False, everything: bool = False
) -> str:
    """A result for a terminal or a log: in its short form, or ``everything``."""
    return text.render(page(result), width=width, color=color, everything=everything)


def render_release(result: ReleaseResult | SweepResult) -> dict[str, bytes]:
    """The files of a bundle's ``report/`` folder, or of a sweep's: report.json, report.md, report.html."""
    return {f"report.{FORMATS[form]}": render(result, form).encode() for form in BUNDLED}
