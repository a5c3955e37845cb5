"""Result -> the job's page on GitHub: markdown appended to the file that ``$GITHUB_STEP_SUMMARY`` names.

Only for results that judge something, and for the errors of such verbs: a red job says why on its first page.
The short form, as in a terminal; the step's file may hold 1 MiB, and what does not fit would lose all of it.
Source: docs.github.com, "Workflow commands: adding a job summary".
"""

from __future__ import annotations

from pathlib import Path

from edgekit import settings
from edgekit.errors import EdgekitError, ExitCode

MOST_BYTES = 1024 * 1024
JUDGING = ("release", "validate", "bench", "diff", "debug")
"""The verbs whose outcome a job stands or falls with."""


def append_result(result: object) -> str:
    """Add a result; gives a line for stderr where that failed, else ""."""
    path = settings.step_summary()
    if path is None:
        return ""
    from edgekit.report import checks, markdown, page

    if type(result) not in checks.CHECKED:
        return ""
    return _append(path, markdown.render(page(result), everything=False))


def append_error(error: EdgekitError, code: ExitCode, *, verb: str) -> str:
    """Add why there is no result; likewise."""
    path = settings.step_summary()
    if path is None or verb not in JUDGING:
        return ""
    from edgekit.report import markdown

    return _append(path, markdown.render_error(error, code, verb=verb))


def _append(path: Path, text: str) -> str:
    try:
        held = path.stat().st_size if path.exists() else 0
        if held + len(text.encode()) + 1 > MOST_BYTES:
            return f"not added to the job's summary: {path} would be above 1 MiB"
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{text}\n")
    except OSError as error:
        return f"not added to the job's summary: {path}: {error.strerror}"
    return ""
