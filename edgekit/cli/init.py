"""``edgekit init``: nothing -> a recipe, or a complete working example."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit init", "edgekit init --example digits-cnn my-model")
EXIT_CODES = (ExitCode.OK, ExitCode.INTERNAL, ExitCode.BAD_INPUT)


def run(
    console: Console,
    *,
    folder: Annotated[Path, typer.Argument(metavar="FOLDER", help="Where to write.")] = Path(),
    example: Annotated[
        str,
        typer.Option(
            "--example", help="A working example with model and data (digits-cnn), not a bare recipe."
        ),
    ] = "",
) -> ExitCode:
    """Write a commented edgekit.toml, or an example that runs as it is, without torch or a network."""
    with console.working():
        from edgekit.pipeline import init
        from edgekit.report.listing import InitResult

        files = init.init(folder, example=example)
    return console.show(InitResult(folder, example, files))
