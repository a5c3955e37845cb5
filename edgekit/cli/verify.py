"""``edgekit verify``: bundle -> hashes checked, golden vectors replayed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit verify dist/digits-cnn-1.0.0",
    "edgekit verify dist/digits-cnn-1.0.0 --target litert-cpu",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    bundle: Annotated[Path, typer.Argument(help="The folder that `release` wrote.", show_default=False)],
    target: flags.Targets = None,
) -> ExitCode:
    """Hash every file of a bundle again and replay its golden vectors on every runtime that is here."""
    with console.working() as progress:
        from edgekit.pipeline import verify

        result = verify.verify(bundle, targets=tuple(target or ()), progress=progress)
    return console.show(result)
