"""``edgekit sweep``: MATRIX.toml -> rows made and measured on many workers, and their Pareto front."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

if TYPE_CHECKING:
    from edgekit.pipeline.result import SweepResult

EXAMPLES = (
    "edgekit sweep models/digits_sweep.toml -o dist/sweep",
    "edgekit sweep matrix.toml --jobs 4",
    "edgekit sweep matrix.toml --scheduler tcp://10.0.0.2:8786 --store s3://bucket/sweeps",
)
EXIT_CODES = tuple(ExitCode)


def run(
    console: Console,
    *,
    matrix: Annotated[
        Path, typer.Argument(metavar="MATRIX.toml", help="What is swept (docs/sweep.md).", show_default=False)
    ],
    out: Annotated[
        Path,
        typer.Option("-o", "--out", help="Folder for rows, locks and reports; a second run resumes there."),
    ] = Path("dist/sweep"),
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", min=1, help="Processes of this machine; as many as cores, 8 at most."),
    ] = None,
    scheduler: Annotated[
        str,
        typer.Option(
            "--scheduler",
            metavar="ADDRESS",
            help="A Dask scheduler in place of processes: tcp://host:port, or tls://host:port.",
        ),
    ] = "",
    store: Annotated[
        str,
        typer.Option(
            "--store",
            metavar="URL",
            help="Folder that all workers share, or a URL of fsspec: artifacts travel through it; OUT/store.",
        ),
    ] = "",
    wait: Annotated[
        float | None,
        typer.Option(
            "--wait", metavar="SECONDS", min=0, help="For a device that is away; in place of the matrix's."
        ),
    ] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            "--limit",
            metavar="SECONDS",
            min=0.1,
            help="For one task; a longer one is ended, and its rows are timed out. In place of the matrix's.",
        ),
    ] = None,
    update: Annotated[
        bool, typer.Option("--update", help="Do every row again, and choose anew instead of by the locks.")
    ] = False,
    cache_dir: flags.CacheDir = None,
    report: flags.Reports = None,
) -> ExitCode:
    """Run a matrix of recipes, targets, precisions and threads, and say which rows nobody beats.

    Each row is made, proved and measured as a release would, one at a time on a device; a row that fails is a
    row with its reason. What is done is kept: the same command resumes a run that was stopped. OUT gets the
    report (html, json, markdown), the artifact of every row, and the locks by which a later run gives the
    same bytes. The exit code is the gravest of the rows'.
    """
    reports = parse_reports(report or (), verb="sweep")
    with console.working() as progress:
        from edgekit.pipeline.sweep.run import Where, sweep

        result = sweep(
            matrix,
            out=out,
            where=Where(scheduler, jobs, store, wait, limit),
            update=update,
            cache_dir=cache_dir,
            progress=progress,
            render=_render,
        )
    return console.show(result, reports=reports)


def _render(result: SweepResult) -> Mapping[str, bytes]:
    from edgekit.report import render_release

    return render_release(result)
