"""``edgekit bench``: artifacts -> latencies, measured interleaved."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit bench model.onnx",
    "edgekit bench q.onnx model.tflite --baseline model.onnx --threads 1",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.LATENCY_OR_SIZE_GATE,
    ExitCode.BACKEND_MISSING,
    ExitCode.INCONCLUSIVE,
    ExitCode.INTERRUPTED,
)


def run(
    console: Console,
    *,
    artifacts: Annotated[
        list[Path],
        typer.Argument(
            metavar="ARTIFACT", help="Files or folders to measure side by side.", show_default=False
        ),
    ],
    baseline: Annotated[
        Path | None,
        typer.Option("--baseline", help="Judge the others against this one: slower is exit 4, undecided 7."),
    ] = None,
    threads: flags.Threads = None,
    seed: flags.Seed = 0,
    report: flags.Reports = None,
) -> ExitCode:
    """Measure latency at batch 1 on this machine, all artifacts interleaved, with intervals."""
    reports = parse_reports(report or (), verb="bench")
    with console.working() as progress:
        from edgekit.pipeline import bench

        result = bench.bench(
            tuple(artifacts), baseline=baseline, threads=threads, seed=seed, progress=progress
        )
    return console.show(result, reports=reports)
