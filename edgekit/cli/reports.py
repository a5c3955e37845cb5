"""``--report FORMAT[:PATH]`` -> a report file, written in one step."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgekit import drafts
from edgekit.errors import UnknownNameError
from edgekit.write_errors import cannot_write

# Format -> file extension. It repeats edgekit.report.FORMATS, whose import would cost every --help; a test
# holds them equal.
EXTENSIONS: dict[str, str] = {
    "json": "json",
    "markdown": "md",
    "html": "html",
    "junit": "xml",
    "sarif": "sarif",
    "csv": "csv",
}


@dataclass(frozen=True)
class ReportRequest:
    """One report that was asked for."""

    form: str
    path: Path


def parse_reports(values: Iterable[str], *, verb: str) -> tuple[ReportRequest, ...]:
    """The values of ``--report``; without a path the file is ``edgekit-<verb>.<extension>`` here.

    Raises:
        UnknownNameError: a format that does not exist.
    """
    return tuple(_parse(value, verb) for value in values)


def _parse(value: str, verb: str) -> ReportRequest:
    form, _, path = value.partition(":")
    if form not in EXTENSIONS:
        raise UnknownNameError("report format", form, EXTENSIONS, listing=f"edgekit {verb} --help")
    return ReportRequest(form, Path(path or f"edgekit-{verb}.{EXTENSIONS[form]}"))


def write_report(result: object, request: ReportRequest) -> Path:
    """Render ``result`` and put it at the path; a reader never sees half of it.

    Raises:
        OutputError: the path cannot be written.
    """
    from edgekit import report

    text = report.render(result, request.form)
    try:
        request.path.parent.mkdir(parents=True, exist_ok=True)
        with drafts.file(request.path) as draft:
            draft.write_text(text, "utf-8")
    except OSError as error:
        raise cannot_write(
            request.path, error, elsewhere="choose another path", size_bytes=len(text)
        ) from error
    return request.path
