"""Exception -> message on stderr, JSON document where asked for, and exit code.

| exception | exit code |
|---|---|
| EdgekitError | its own |
| typer's usage errors | 2 |
| KeyboardInterrupt (Ctrl-C, SIGTERM) | 130 |
| MemoryError | 1, with what to try |
| OSError: no room, denied, read-only, a broken disk | 2, with the path and what to try |
| anything else: a bug | 1, one line and how to report it; the traceback with ``--debug`` |

The flags are looked up in the raw arguments, because the error may be that they cannot be parsed.
"""

from __future__ import annotations

import contextlib
import sys
import traceback
from collections.abc import Sequence
from itertools import pairwise

import typer

from edgekit.cli import summary
from edgekit.errors import EdgekitError, ExitCode, InputError, OutputError
from edgekit.write_errors import explained

_INTERRUPTED = "interrupted; nothing half-written; run the same command again to resume"
_BUG_REPORT = "run it again with --debug and report the output as a bug"


def report(error: Exception, args: Sequence[str]) -> ExitCode:
    """Show ``error`` and say which exit code it has."""
    if "--debug" in args:
        traceback.print_exception(error)
    known, code = _explained(error, args)
    _write(known, code, args)
    failed = summary.append_error(known, code, verb=args[0] if args else "")
    if failed:
        _say(failed)
    return code


def interrupted(args: Sequence[str]) -> ExitCode:
    """Say that the run was interrupted."""
    _write(EdgekitError(_INTERRUPTED), ExitCode.INTERRUPTED, args)
    return ExitCode.INTERRUPTED


def _explained(error: Exception, args: Sequence[str]) -> tuple[EdgekitError, ExitCode]:
    if isinstance(error, EdgekitError):
        return error, error.exit_code
    if isinstance(error, typer.TyperException):
        return _usage(error, args), ExitCode.BAD_INPUT
    if isinstance(error, MemoryError):
        return _no_memory(error), ExitCode.INTERNAL
    if isinstance(error, OSError) and (refused := explained(error)) is not None:
        return refused, refused.exit_code
    what = f"internal error: {type(error).__name__}: {error}"
    return EdgekitError(what, why="this is a bug in edgekit", remedy=_BUG_REPORT), ExitCode.INTERNAL


def _no_memory(error: MemoryError) -> EdgekitError:
    """NumPy says how much it wanted; Python itself says nothing."""
    return EdgekitError(
        f"out of memory: {error}" if str(error) else "out of memory",
        why="the model and its data need more than this machine has left",
        remedy="close other programs, take fewer samples (--samples) or fewer targets at once",
    )


def _usage(error: typer.TyperException, args: Sequence[str]) -> InputError:
    """A command line that typer refuses, in four parts."""
    context = getattr(error, "ctx", None)
    verb = f"edgekit {args[0]}" if args and not args[0].startswith("-") else "edgekit"
    command = context.command_path if context else verb  # some of typer's errors have no context
    near = tuple(getattr(error, "possibilities", None) or ())
    hint = f"did you mean {', '.join(near)}? " if near else ""
    what = error.message if near else error.format_message()
    # typer shows pydantic's prefix as it is
    return InputError(
        what.replace("Value error, ", "").strip(), remedy=f"{hint}`{command} --help` lists all flags"
    )


def _write(error: EdgekitError, code: ExitCode, args: Sequence[str]) -> None:
    _say(str(error) if code is ExitCode.INTERRUPTED else f"error: {error}")
    if _wants_json(args):
        from edgekit.cli.console import emit
        from edgekit.report import json

        with contextlib.suppress(OutputError):  # perhaps that is the very error
            emit(json.text(json.error_document(error, code)))


def _say(text: str) -> None:
    """On stderr; where that is full or closed, the exit code says it alone."""
    with contextlib.suppress(OSError, AttributeError):
        sys.stderr.write(f"{text}\n")


def _wants_json(args: Sequence[str]) -> bool:
    return "--format=json" in args or ("--format", "json") in pairwise(args)
