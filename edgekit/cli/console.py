"""The common flags -> Console: where results, progress and reports of one run go.

    results -> stdout          progress, notes, errors -> stderr

While a stage works, stdout *is* stderr, down to the file descriptor: a model's own ``print``, an exporter's
banner or native code must not end up inside a JSON document.
"""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

import typer

from edgekit import settings
from edgekit.cli import progress, summary
from edgekit.cli.reports import ReportRequest, write_report
from edgekit.errors import ExitCode, OutputError
from edgekit.printable import printable
from edgekit.spec import Progress
from edgekit.write_errors import cannot_write


class Output(StrEnum):
    """How a result is printed."""

    TEXT = "text"
    JSON = "json"


@dataclass(frozen=True)
class Console:
    """What the common flags decided."""

    output: Output
    quiet: bool
    log_json: bool
    debug: bool

    @contextlib.contextmanager
    def working(self) -> Iterator[Progress]:
        """A stretch of work with its progress; nothing in it can write to stdout."""
        settings.silence_native_libraries()
        with _stdout_is_stderr(), warnings.catch_warnings():
            if not self.debug:
                warnings.simplefilter("ignore")
            with progress.shown(sys.stderr, quiet=self.quiet, log_json=self.log_json) as shown:
                yield shown

    def show(
        self, result: object, *, reports: Sequence[ReportRequest] = (), everything: bool = False
    ) -> ExitCode:
        """Write the reports, print the result (its short form, or ``everything``), give its exit code."""
        from edgekit import report

        for each in reports:
            path = write_report(result, each)
            self.note(f"report: {path}")
        failed = summary.append_result(result)
        if failed:
            self.note(failed)
        if self.output is Output.JSON:
            emit(report.json.text(report.json.document(result)))
        else:
            terminal = sys.stdout.isatty()
            width = shutil.get_terminal_size().columns if terminal else None
            emit(report.render_text(result, width=width, color=terminal, everything=everything))
        return report.json.exit_code(result)

    def note(self, text: str) -> None:
        """One line beside the result."""
        if not self.quiet:
            with contextlib.suppress(OSError):
                sys.stderr.write(f"{printable(text)}\n")


def open_console(
    *,
    output: Annotated[
        Output, typer.Option("--format", help="How to print the result on stdout.", rich_help_panel="Common")
    ] = Output.TEXT,
    quiet: Annotated[bool, typer.Option("-q", "--quiet", help="No progress and no notes on stderr.")] = False,
    log_json: Annotated[bool, typer.Option("--log-json", help="Progress as JSON lines on stderr.")] = False,
    debug: Annotated[
        bool, typer.Option("--debug", help="Show tracebacks and the warnings of libraries.")
    ] = False,
) -> Console:
    """The console of one run. Its parameters are the flags that every verb has."""
    return Console(output, quiet, log_json, debug)


def emit(text: str) -> None:
    """Write a result to stdout; a reader that has gone (``| head``) is no error of ours.

    Raises:
        OutputError: it cannot be written: a full disk (``> file``), a stdout that is closed (``>&-``).
    """
    if sys.stdout is None:
        raise _not_written(OSError(errno.EBADF, os.strerror(errno.EBADF)))
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError as error:
        # Python flushes stdout again at exit; that must not raise (docs.python.org, "Note on SIGPIPE")
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        if not isinstance(error, BrokenPipeError):
            raise _not_written(error) from error


def _not_written(error: OSError) -> OutputError:
    return cannot_write("the result on standard output", error, elsewhere="send it elsewhere")


@contextlib.contextmanager
def _stdout_is_stderr() -> Iterator[None]:
    sys.stdout.flush()
    with contextlib.ExitStack() as undo:
        try:
            kept = os.dup(1)
        except OSError:  # closed by the caller: then there is nothing to protect
            kept = -1
        if kept >= 0:
            undo.callback(os.close, kept)
            undo.callback(os.dup2, kept, 1)
            os.dup2(2, 1)
        undo.enter_context(contextlib.redirect_stdout(sys.stderr))
        yield
