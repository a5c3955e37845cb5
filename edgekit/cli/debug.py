"""``edgekit debug``: artifact x float reference x data -> layers by damage, and what is wrong with them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit debug q.onnx --reference model.onnx --data test.npz",
    "edgekit debug dist/digits-cnn-1.0.0 --reference model.onnx --data digits --preprocess edgekit.toml",
    "edgekit debug model.tflite --reference model.onnx --data test.npz --apply edgekit.toml",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.BACKEND_MISSING,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    artifact: Annotated[
        Path,
        typer.Argument(
            help="A file (.onnx, .tflite, .xml), a folder that `compile` wrote, or a bundle.",
            show_default=False,
        ),
    ],
    reference: Annotated[Path, typer.Option("--reference", help="The float ONNX model.")],
    data: Annotated[str, typer.Option("--data", help="Data as for --calibration-data, labelled or not.")],
    preprocess: flags.Preprocess = None,
    metric: flags.Metric = "top1",
    samples: Annotated[
        int | None,
        typer.Option("--samples", min=1, help="At most so many samples; 64 by default, which is enough."),
    ] = None,
    target: flags.Targets = None,
    top: Annotated[
        int, typer.Option("--top", min=1, help="So many layers in the text; reports hold all of them.")
    ] = 10,
    apply: Annotated[
        Path | None,
        typer.Option(
            "--apply", metavar="RECIPE", help="Write the remedies of the causes into this edgekit.toml."
        ),
    ] = None,
    report: flags.Reports = None,
) -> ExitCode:
    """Find the layers of an artifact that cost it accuracy, on its real runtime, and say why."""
    reports = parse_reports(report or (), verb="debug")
    with console.working() as progress:
        from edgekit.pipeline import debug

        result = debug.debug(
            artifact,
            reference=reference,
            data=data,
            metric=metric,
            samples=samples,
            progress=progress,
            preprocess=preprocess,
            targets=tuple(target or ()),
            top=top,
            apply=apply,
        )
    return console.show(result, reports=reports)
