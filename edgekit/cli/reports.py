"""``--report FORMAT[:PATH]`` -> a report file, written in one step."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from edgekit.errors import OutputError, UnknownNameError

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
    temporary = request.path.with_name(f".{request.path.name}.{os.getpid()}.tmp")
    try:
        request.path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(text, "utf-8")
        temporary.replace(request.path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise OutputError(
            f"report {request.path} cannot be written", why=str(error), remedy="choose another path"
        ) from error
    return request.path
