"""``edgekit inspect``: file, artifact folder or bundle -> what is inside, and which targets would take it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli.console import Console
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit inspect model.onnx",
    "edgekit inspect model.tflite --all",
    "edgekit inspect dist/digits-cnn-1.0.0",
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
    path: Annotated[
        Path,
        typer.Argument(
            metavar="FILE",
            help="An .onnx, .tflite or OpenVINO .xml file, or a folder that `compile` or `release` wrote.",
            show_default=False,
        ),
    ],
    everything: Annotated[
        bool, typer.Option("--all", help="Show every layer and every reason, not the first ones only.")
    ] = False,
) -> ExitCode:
    """Show what is inside a model file, an artifact or a bundle, and which targets would take it.

    Inputs, outputs, operators, parameters, size and multiply-accumulates (MACs) of every layer; for an ONNX
    model also every target's verdict, with the reasons of a refusal; for a bundle what was measured of it.

    One MAC is one multiplication that is added to a sum: convolutions, matrix products, recurrent cells and
    attention. Elementwise operators, normalization and pooling count as none; the batch and every other open
    size count as 1.
    """
    with console.working() as progress:
        from edgekit.pipeline import inspect

        result = inspect.inspect(path, progress=progress)
    return console.show(result, everything=everything)
