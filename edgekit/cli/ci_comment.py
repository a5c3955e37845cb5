"""Markdown report of a release -> one comment of the pull or merge request, kept current.

    python -m edgekit.cli.ci_comment REPORT.md [--recipe PATH]

    <!-- edgekit: PATH -->        K1 an invisible first line: the comment is found by it and written again
    verdict and table             K2 what comes before the first target's own heading
    <details> the rest            K3 folded; left out where the comment would be too long
    link to the job

K4 names come from models and recipes: the report has escaped markup, and here what a forge acts on (@people,
   #1, !2, addresses, a line that starts with "/") is broken by an invisible space
K5 a job without a request, or without the right to comment, says so on stderr and ends with 0: the verdict's
   own exit code is what makes a job red
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from edgekit import settings
from edgekit.cli.forge_github import GitHub
from edgekit.cli.forge_gitlab import GitLab
from edgekit.cli.forge_http import ForgeError
from edgekit.errors import EdgekitError, ExitCode

_BREAK = "\u200b"  # zero width space
_ACTS = re.compile(r"[@#!~%$](?=[\w\"])|&(?=[\d#])|:(?=//)|(?<=\bwww)\.")
_COMMAND = re.compile(r"^(\s*)/", re.MULTILINE)
_DETAILS = re.compile(r"^## ", re.MULTILINE)
_ROOM = 600  # characters for the marker, the link and the words around


class Forge(Protocol):
    """A place with requests, comments and releases."""

    limit: int
    token: str
    request: str
    tag: str
    job: str

    def comment(self, text: str, *, marker: str) -> str:
        """Write ``text`` over this job's comment that begins with ``marker``, or anew; what was done."""

    def attach(self, files: Mapping[str, Path], *, digests: Mapping[str, str]) -> list[str]:
        """Put files (name -> path) into the release of the tag; what was done, a line for each."""


def forge_of(environment: Mapping[str, str]) -> Forge | None:
    """The forge whose job this is, or None."""
    if environment.get("GITHUB_ACTIONS") or environment.get("GITHUB_REPOSITORY"):
        return GitHub(environment)
    return GitLab(environment) if environment.get("CI_API_V4_URL") else None


def quietened(text: str) -> str:
    """K4."""
    broken = _ACTS.sub(lambda found: found[0] + _BREAK, text)
    return _COMMAND.sub(lambda found: f"{found[1]}{_BREAK}/", broken)


def marker_of(recipe: str) -> str:
    """K1; two hyphens would end an HTML comment."""
    return f"<!-- edgekit: {re.sub('-+', '-', recipe)} -->".replace("\n", " ")


def body_of(report: str, *, marker: str, job: str, limit: int) -> str:
    """K1 to K4."""
    text = quietened(report)
    start = _DETAILS.search(text)
    head, rest = (text, "") if start is None else (text[: start.start()], text[start.start() :])
    room = limit - _ROOM
    left_out = len(head) + len(rest) > room
    if left_out:
        rest = ""
    if len(head) > room:
        head = head[:room].rpartition("\n")[0] + "\n"
    parts = [marker, head.strip()]
    if rest:
        parts.append(f"<details><summary>Details</summary>\n\n{rest.strip()}\n\n</details>")
    if left_out:
        parts.append("The details are in the job's report: they are too long for a comment.")
    if job:
        parts.append(f"[Job]({job})")
    return "\n\n".join(parts) + "\n"


def main(arguments: Sequence[str], environment: Mapping[str, str]) -> int:
    """Write the comment; the exit code."""
    parser = argparse.ArgumentParser(prog="python -m edgekit.cli.ci_comment")
    parser.add_argument("report", type=Path)
    parser.add_argument("--recipe", default="edgekit.toml")
    given = parser.parse_args(arguments)
    forge = forge_of(environment)
    said = "no CI of GitHub or GitLab" if forge is None else ""
    if forge is not None and not forge.request:
        said = "no pull or merge request: nothing to comment on"
    elif forge is not None and forge.token:
        said = f"{forge.token} is not set: nothing may be written"
    elif not given.report.is_file():
        said = f"{given.report} was not written: nothing to say"
    if forge is None or said:
        return _done(said)
    marker = marker_of(given.recipe)
    body = body_of(given.report.read_text("utf-8"), marker=marker, job=forge.job, limit=forge.limit)
    try:
        return _done(f"comment {forge.comment(body, marker=marker)}")
    except ForgeError as error:  # K5
        return _done(f"no comment: {error}")
    except EdgekitError as error:
        sys.stderr.write(f"{error}\n")
        return ExitCode.BAD_INPUT


def _done(said: str) -> int:
    sys.stderr.write(f"{said}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], settings.environment()))
