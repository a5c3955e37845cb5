"""``edgekit inspect``: file, artifact folder or bundle -> what is inside."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = ("edgekit inspect model.onnx", "edgekit inspect dist/digits-cnn-1.0.0")
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
    path: Annotated[
        Path, typer.Argument(metavar="FILE", help="Model file, artifact or bundle.", show_default=False)
    ],
) -> ExitCode:
    """Say what is inside a model file, an artifact or a bundle. Nothing is run."""
    with console.working():
        from edgekit.pipeline import inspect

        result = inspect.inspect(path)
    return console.show(result)
