"""``edgekit validate``: artifacts x float reference x data -> verdict of each."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgekit.cli import flags
from edgekit.cli.console import Console
from edgekit.cli.reports import parse_reports
from edgekit.errors import ExitCode

EXAMPLES = (
    "edgekit validate q.onnx --reference model.onnx --data test.npz --max-drop 1.0",
    "edgekit validate model.tflite --reference model.onnx --data test.npz --report html:report.html",
    "edgekit validate dist/digits-1.0.0 --reference model.onnx --data test.npz",
)
EXIT_CODES = (
    ExitCode.OK,
    ExitCode.INTERNAL,
    ExitCode.BAD_INPUT,
    ExitCode.ACCURACY_GATE,
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
            metavar="ARTIFACT",
            help="Files (.onnx, .tflite, .xml), folders that `compile` wrote, bundles: all that they hold.",
            show_default=False,
        ),
    ],
    reference: Annotated[Path, typer.Option("--reference", help="The float ONNX model.")],
    data: Annotated[str, typer.Option("--data", help="Labelled data, as for --calibration-data.")],
    preprocess: flags.Preprocess = None,
    metric: flags.Metric = "top1",
    max_drop: Annotated[
        float, typer.Option("--max-drop", min=0, help="Largest loss of the metric in percentage points.")
    ] = 1.0,
    expected: flags.Expected = None,
    slices: Annotated[
        list[str] | None,
        typer.Option(
            "--slice", metavar="NAME", help="An array of the data that names each sample's group; repeatable."
        ),
    ] = None,
    max_group_drop: Annotated[
        float | None,
        typer.Option(
            "--max-group-drop", min=0, help="Largest loss of any class or slice; no gate by default."
        ),
    ] = None,
    samples: flags.Samples = None,
    cache_dir: flags.CacheDir = None,
    allow_fallback: flags.AllowFallback = False,
    report: flags.Reports = None,
) -> ExitCode:
    """Hold artifacts against their float reference: drift, task metric with a paired interval, verdict."""
    reports = parse_reports(report or (), verb="validate")
    with console.working() as progress:
        from edgekit.pipeline import validate

        result = validate.validate(
            tuple(artifacts),
            reference=reference,
            data=data,
            metric=metric,
            max_drop_pp=max_drop,
            samples=samples,
            progress=progress,
            preprocess=preprocess,
            expected=expected,
            slices=tuple(slices or ()),
            max_group_drop_pp=max_group_drop,
            cache_dir=cache_dir,
            allow_fallback=allow_fallback,
        )
    return console.show(result, reports=reports)
