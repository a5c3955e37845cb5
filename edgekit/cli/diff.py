"""``edgekit diff``: two releases -> what changed, better or worse."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit diff dist/digits-cnn-1.0.0 dist/digits-cnn-1.1.0",
    "edgekit diff last-release.json dist/digits-cnn-1.1.0 --max-drop 0.5 --report markdown",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.ACCURACY_GATE,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.INCONCLUSIVE,
    ExitCode.VERIFICATION_FAILED,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    old: Annotated[
        Path,
        typer.Argument(
            help="A bundle, the JSON report of a release, or an artifact (a file or `compile`'s folder).",
            show_default=False,
        ),
    ],
    new: Annotated[Path, typer.Argument(help="The same kinds of things.", show_default=False)],
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="Largest loss of the metric in percentage points.")
    ] = 1.0,
    max_latency: Annotated[
        float, typer.Option("--max-latency", min=0, help="Largest median latency as a multiple of OLD's.")
    ] = 1.1,
    max_size: Annotated[
        float, typer.Option("--max-size", min=0, help="Largest size and memory as a multiple of OLD's.")
    ] = 1.1,
    report: flags.Reports = None,
) -> ExitCode:
    """Say what changed from OLD to NEW for each target, and whether it got better or worse.

    Nothing is run. Accuracy is paired sample by sample where both are bundles that hold the evidence, else
    compared by intervals; latency and memory only where both were measured on the same machine.
    """
    reports = parse_reports(report or (), verb="diff")
    with console.working():
        from edgekit.pipeline import diff

        allowed = diff.Allowed(drop_pp=max_drop, latency=max_latency, size=max_size)
        result = diff.diff(old, new, allowed=allowed)
    return console.show(result, reports=reports)
